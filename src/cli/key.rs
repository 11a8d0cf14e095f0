//! `sentinel key`: make, list and revoke API keys; by the API, or straight in the store, where the
//! first key is made before a server is open to others.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use sentinel_queue::{
    ApiKey, JobName, KeyId, KeyInfo, Millis, Namespace, Queue, QueueName, Scope, duration,
    keys::RequestRate,
    request::{self, NewKey},
};
use serde_json::{Map, Value, json};

use super::{
    ClientArgs, Output,
    client::{self, Client},
    out::{self, cell},
    pages::MOST,
    store::StoreArgs,
    table::{self, Column},
};

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key; it is printed this once
    Create(CreateArgs),
    /// List the keys, without what is secret of them
    List,
    /// Revoke a key for ever
    Revoke {
        /// The key's id, with which it begins
        id: KeyId,
    },
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// What people call it
    name: String,
    /// What it may ask for, with commas between: submit, read, operate, admin
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true)]
    scopes: Vec<Scope>,
    /// The one namespace that it is for [default: any, by --namespace]
    #[arg(long, value_name = "NAME")]
    for_namespace: Option<Namespace>,
    /// The jobs that it is for, with commas between [default: all]
    #[arg(long = "job", value_name = "JOB", value_delimiter = ',')]
    jobs: Vec<JobName>,
    /// The queues that it is for, with commas between [default: all]
    #[arg(long = "queue", value_name = "QUEUE", value_delimiter = ',')]
    queues: Vec<QueueName>,
    /// So many requests at once, and as many again in each such span, such as 100/1s
    #[arg(long, value_name = "REQUESTS/SPAN")]
    rate: Option<String>,
    /// How long it is valid, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
}

const COLUMNS: &[Column<'static>] = &[
    ("key", &|key| cell(&key["key_id"])),
    ("name", &|key| cell(&key["name"])),
    ("scopes", &|key| cell(&key["scopes"])),
    ("namespace", &|key| cell(&key["namespace"])),
    ("jobs", &|key| cell(&key["jobs"])),
    ("queues", &|key| cell(&key["queues"])),
    ("rate", &rate_cell),
    ("made", &|key| cell(&key["created_at"])),
    ("expires", &|key| cell(&key["expires_at"])),
    ("revoked", &|key| cell(&key["revoked_at"])),
];

pub(super) fn run(command: KeyCommand, store: &StoreArgs, client: ClientArgs) -> Result<ExitCode> {
    if !store.is_named() {
        return by_api(command, &client.resolve()?);
    }
    let json = client.output == Output::Json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(in_store(command, store, json))
}

fn by_api(command: KeyCommand, client: &Client) -> Result<ExitCode> {
    match command {
        KeyCommand::Create(args) => {
            let body = args.body(now())?;
            let answer = client.post("/v1/keys", Some(&body))?;
            show_made(&client::parse(&answer)?, client.json)?;
        }
        KeyCommand::List => list(client)?,
        KeyCommand::Revoke { id } => {
            let answer = client.delete(&format!("/v1/keys/{id}"))?;
            show_revoked(&client::parse(&answer)?, client.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All of them: a page is a line of JSON, a table is one.
fn list(client: &Client) -> Result<()> {
    let limit = MOST.to_string();
    let mut cursor: Option<String> = None;
    let mut keys = Vec::new();
    loop {
        let mut parameters = vec![("limit", &*limit)];
        parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let answer = client.get_with("/v1/keys", &parameters)?;
        let mut page = client::parse(&answer)?;
        if client.json {
            out::line(&answer)?;
        } else if let Value::Array(found) = page["keys"].take() {
            keys.extend(found);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None if client.json => return Ok(()),
            None => return table::print(&Value::from(keys), COLUMNS),
        }
    }
}

async fn in_store(command: KeyCommand, store: &StoreArgs, json: bool) -> Result<ExitCode> {
    match command {
        KeyCommand::Create(args) => {
            let new = request::new_key(&args.body(now())?.into())?;
            let (key, info) = make(&store.open_or_make()?, new).await?;
            let mut made = view(&info);
            made["key"] = key.expose().into();
            show_made(&made, json)?;
        }
        KeyCommand::List => {
            let keys = all(&store.open()?).await?;
            let keys: Vec<_> = keys.iter().map(view).collect();
            if json {
                out::line(json!({"keys": keys, "next_cursor": null}))?;
            } else {
                table::print(&Value::from(keys), COLUMNS)?;
            }
        }
        KeyCommand::Revoke { id } => {
            let queue = store.open()?;
            if queue.revoke_key(&id).await?.is_none() {
                bail!("no key has the id {id}");
            }
            let keys = all(&queue).await?;
            let key = keys.iter().find(|key| key.id == id).context("the key is gone")?;
            show_revoked(&view(key), json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn make(queue: &Queue, new: NewKey) -> Result<(ApiKey, KeyInfo)> {
    let key = ApiKey::generate();
    let mut info = KeyInfo {
        id: key.id().clone(),
        name: new.name,
        hash: key.hash(),
        grant: new.grant,
        created_at: Millis::default(),
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let created_at = queue.add_key(&info).await?;
    info.created_at = created_at.context("there are 10,000 keys: revoke those that nobody uses")?;
    Ok((key, info))
}

async fn all(queue: &Queue) -> Result<Vec<KeyInfo>> {
    Ok(queue.keys(None).await?.keys.unwrap_or_default())
}

impl CreateArgs {
    /// What the API is sent; and how the store's own way is checked.
    fn body(&self, now: Millis) -> Result<String> {
        let names = |names: Vec<&str>| (!names.is_empty()).then(|| Value::from(names));
        let rate = self.rate.as_deref().map(|text| rate(text).with_context(|| format!("--rate {text:?}")));
        let expires_at = self.expires_in.as_deref().map(|text| {
            let lifetime = duration::parse(text).context("--expires-in")?;
            Ok::<_, anyhow::Error>(time(Millis(now.0.saturating_add(millis(lifetime)))))
        });
        let fields = [
            ("name", Some(Value::from(&*self.name))),
            ("scopes", Some(Value::from_iter(self.scopes.iter().map(|scope| scope.as_str())))),
            ("namespace", self.for_namespace.as_ref().map(|namespace| namespace.as_str().into())),
            ("jobs", names(self.jobs.iter().map(JobName::as_str).collect())),
            ("queues", names(self.queues.iter().map(QueueName::as_str).collect())),
            ("rate", rate.transpose()?),
            ("expires_at", expires_at.transpose()?.map(Value::from)),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(Value::from(fields.collect::<Map<_, _>>()).to_string())
    }
}

fn rate(text: &str) -> Result<Value> {
    let (requests, per) = text.split_once('/').context("it must be REQUESTS/SPAN, such as 100/1s")?;
    let requests: u64 = requests.parse().context("the requests must be a number")?;
    Ok(json!({"requests": requests, "per": per}))
}

fn now() -> Millis {
    Millis(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// As the API writes it.
fn time(at: Millis) -> String {
    let at = i64::try_from(at.0).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::MAX))
}

/// A key as the API shows it.
fn view(key: &KeyInfo) -> Value {
    let KeyInfo { id, name, hash: _, grant, created_at, expires_at, revoked_at } = key;
    let rate = |RequestRate { requests, per }| json!({"requests": requests, "per": duration::format(per)});
    json!({
        "key_id": id.as_str(),
        "name": name,
        "scopes": grant.scopes,
        "namespace": grant.namespace.as_ref().map(Namespace::as_str),
        "jobs": grant.jobs.as_ref().map(|jobs| jobs.iter().map(JobName::as_str).collect::<Vec<_>>()),
        "queues": grant.queues.as_ref().map(|queues| queues.iter().map(QueueName::as_str).collect::<Vec<_>>()),
        "rate": grant.rate.map(rate),
        "created_at": time(*created_at),
        "expires_at": expires_at.map(time),
        "revoked_at": revoked_at.map(time),
    })
}

fn rate_cell(key: &Value) -> String {
    let rate = &key["rate"];
    if rate.is_null() { "-".into() } else { format!("{}/{}", rate["requests"], cell(&rate["per"])) }
}

/// The key alone, so that it can be put where it belongs.
fn show_made(made: &Value, json: bool) -> Result<()> {
    if json {
        return out::line(made);
    }
    let key = made["key"].as_str().context("the API told no key")?;
    eprintln!("the key {} ({}), which is told this once:", cell(&made["key_id"]), cell(&made["name"]));
    out::line(key)
}

fn show_revoked(key: &Value, json: bool) -> Result<()> {
    if json {
        return out::line(key);
    }
    out::line(format_args!("{}: revoked at {}", cell(&key["key_id"]), cell(&key["revoked_at"])))
}

//! The files that the configuration names, and whether it fits together.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use sentinel_api::Tls;
use sentinel_host::worker::GrantTable;

use crate::{
    cli::finding::Finding,
    config::{Config, Door, discreet},
    serve::open_redis,
};

/// Looks at all of them.
pub(in crate::cli) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![redis(config), door(config)];
    findings.extend(config.tls.as_ref().map(|files| tls(&files.cert, &files.key)));
    findings.extend(config.plugins.iter().map(|dir| plugins(dir)));
    findings.extend(grants(&config.jobs.grants, &config.plugins));
    findings
}

/// Whether the store's URL and the authority of its certificate can be used, before anything is connected.
fn redis(config: &Config) -> Finding {
    let ca = config.redis_ca.as_deref();
    let Some(url) = &config.redis else {
        return match ca {
            Some(ca) => Finding::warning(
                "redis",
                format!("redis-ca: {} is of no use without a Redis", ca.display()),
                "give redis, too, or leave out redis-ca",
            ),
            None => Finding::ok(
                "redis",
                format!("not set: `sentinel dev` keeps the store in {}", config.data_dir.display()),
            ),
        };
    };
    match open_redis(url, ca) {
        Ok(_) => Finding::ok("redis", format!("{} is a URL that can be used", discreet(url))),
        Err(error) => Finding::failed(
            "redis",
            format!("{error:#}"),
            "write redis://[user:password@]host:6379, or rediss:// with redis-ca naming a PEM file",
        ),
    }
}

/// Who may call, and from where.
fn door(config: &Config) -> Finding {
    let listen = config.listen;
    match config.door {
        Door::Said(sentinel_api::Auth::Nobody) if !listen.ip().to_canonical().is_loopback() => {
            Finding::warning(
                "auth",
                format!("none: whoever reaches {listen} may do anything"),
                "make a key (`sentinel key create`) and say auth = \"keys\", or listen on 127.0.0.1",
            )
        }
        Door::Said(sentinel_api::Auth::Nobody) => Finding::ok("auth", format!("none, on {listen} alone")),
        Door::Said(sentinel_api::Auth::Keys) => {
            Finding::ok("auth", format!("{listen} is for whoever has a key"))
        }
        Door::Said(sentinel_api::Auth::UntilKeys) => {
            Finding::ok("auth", format!("{listen} is for anybody on this machine until there is a key"))
        }
        Door::ThereMustBeAKey => Finding::ok(
            "auth",
            format!("{listen} can be reached from other machines: an API starts there once there is a key"),
        ),
    }
}

/// Whether the certificate and its key are there and belong together.
fn tls(cert: &Path, key: &Path) -> Finding {
    match Tls::open(cert, key) {
        Ok(_) => Finding::ok("tls", format!("{} and {} belong together", cert.display(), key.display())),
        Err(error) => Finding::failed(
            "tls",
            format!("tls-cert, tls-key: {error}"),
            "name a certificate chain and its own unencrypted key, both PEM and readable by this user",
        ),
    }
}

fn plugins(dir: &Path) -> Finding {
    match fs::read_dir(dir) {
        Ok(_) => Finding::ok("plugins", format!("{} is there", dir.display())),
        Err(error) => Finding::warning(
            "plugins",
            format!("plugins: {}: {error}", dir.display()),
            "make the directory, or name another: a worker without it has none of its jobs",
        ),
    }
}

/// Whether what is granted can be read, and is for jobs that are there.
fn grants(grants: &GrantTable, dirs: &[PathBuf]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(wrong) = grants.resolve() {
        let fix = "put it where the file says that it is, for the user that runs the worker";
        findings.push(Finding::failed("grants", wrong.to_string(), fix));
    }
    let absent: BTreeSet<_> = grants
        .jobs()
        .filter(|job| !dirs.iter().any(|dir| dir.join(format!("{job}.wasm")).is_file()))
        .collect();
    findings.extend(absent.iter().map(|job| {
        Finding::warning(
            "grants",
            format!("grants.{job}: there is no {job}.wasm in the plugins directories"),
            "check the job's name: what is granted to another is of no use to it",
        )
    }));
    if findings.is_empty() && grants.jobs().next().is_some() {
        findings
            .push(Finding::ok("grants", "all that is granted can be read and is for jobs that are there"));
    }
    findings
}

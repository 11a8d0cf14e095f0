//! What a job gets: what it asks for, as far as it is granted.
//!
//! Owns that decision. Invariants: what is asked for and not granted is withheld, and said; what is
//! granted and not asked for is not given.

use sentinel_queue::JobName;

use super::{
    grants::{Grant, Granted},
    manifest::Manifest,
};
use crate::{
    engine::{Excess, Grants, HttpGrant, Limits, Origin, Part, Plugin, Secrets},
    size,
};

/// A plugin under the limits and with the grants that its manifest asks for and the operator
/// allows.
pub(super) fn settle(plugin: &Plugin, manifest: &Manifest, granted: &Granted) -> Plugin {
    let config = plugin.engine().config();
    let job = plugin.name().as_str().parse::<JobName>();
    let nothing = Grant::default();
    let grant = job.ok().as_ref().and_then(|job| granted.to(job)).unwrap_or(&nothing);
    let limits = manifest.limits.over(&config.defaults);
    plugin
        .with_limits(&limits)
        .with_grants(grants(manifest, grant, &config.ceilings))
        .with_stdout(manifest.stdout)
}

/// Why the plugin could never begin under its limits, if that is so, and which one to raise. What no
/// manifest can ask for has been refused before.
pub(super) fn cannot_begin(plugin: &Plugin) -> Option<String> {
    let excess: Excess = plugin.excess()?;
    let (needed, allowed) = excess.amounts();
    let of = if excess.part == Part::Memory { "of memory" } else { "table elements" };
    Some(format!(
        "it begins with {needed} {of}, and its limit is {allowed}: let it begin with less, or raise `{}` in [limits] \
         of its manifest {}.toml to {needed}",
        excess.key(),
        plugin.name()
    ))
}

fn grants(manifest: &Manifest, grant: &Grant, ceilings: &Limits) -> Grants {
    let mut withheld = manifest.limits.above(ceilings);
    let mut http = Vec::new();
    for origin in &manifest.http {
        let met: Vec<_> = grant.http.iter().filter_map(|grant| meet(origin, grant)).collect();
        if !met.iter().any(|given| given.origin == *origin) {
            withheld.push(unmet(origin, &met));
        }
        http.extend(met);
    }
    let mut named = |kind: &str, names: &[String], has: &dyn Fn(&str) -> bool| {
        let missing = names.iter().filter(|name| !has(name));
        withheld.extend(missing.map(|name| format!("{kind} {name}")));
    };
    named("env", &manifest.env, &|name| grant.env.contains_key(name));
    named("secret", &manifest.secrets, &|name| grant.secrets.get(name).is_some());
    if let Some(asked) = manifest.scratch.filter(|asked| grant.scratch_bytes.unwrap_or(0) < *asked) {
        let asked = size::format(asked);
        withheld.push(grant.scratch_bytes.map_or_else(
            || format!("scratch {asked}"),
            |given| format!("scratch: asks for {asked}, gets {}", size::format(given)),
        ));
    }
    let given = |name: &String| Some((name.clone(), grant.secrets.get(name)?.clone()));
    Grants {
        http,
        env: manifest.env.iter().filter_map(|name| grant.env.get_key_value(name)).map(cloned).collect(),
        args: manifest.args.clone(),
        config: manifest.config.clone(),
        secrets: manifest.secrets.iter().filter_map(given).collect::<Secrets>(),
        scratch_bytes: manifest.scratch.zip(grant.scratch_bytes).map(|(asked, given)| asked.min(given)),
        withheld,
    }
}

fn cloned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

fn meet(asked: &Origin, grant: &HttpGrant) -> Option<HttpGrant> {
    Some(HttpGrant { origin: asked.meet(&grant.origin)?, private: grant.private })
}

fn unmet(asked: &Origin, met: &[HttpGrant]) -> String {
    let given: Vec<_> = met.iter().map(|given| given.origin.to_string()).collect();
    if given.is_empty() {
        format!("http {asked}")
    } else {
        format!("http {asked}: gets {} of it", given.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{engine::Secret, worker::grants::GrantTable};

    fn settled(manifest: &str, grant: &str) -> Grants {
        let manifest = Manifest::parse(manifest).unwrap();
        let table = format!("[job]\n{grant}").parse().unwrap();
        let granted = GrantTable::parse(&table).unwrap().resolve().unwrap();
        grants(&manifest, granted.to(&"job".parse().unwrap()).unwrap(), &Limits::default_ceilings())
    }

    const ALL: &str = r#"
        http = ["https://api.example.org", "https://*.example.net"]
        env = ["REGION"]
        secrets = ["key"]
        scratch = "2MiB"
        args = ["-v"]
        [config]
        a = "b"
    "#;

    #[test]
    fn what_is_not_granted_is_withheld_and_said() {
        let grants = settled(ALL, "");
        assert_eq!(
            grants.withheld,
            [
                "http https://api.example.org",
                "http https://*.example.net",
                "env REGION",
                "secret key",
                "scratch 2MiB"
            ]
        );
        assert!(grants.http.is_empty() && grants.env.is_empty() && grants.scratch_bytes.is_none());
        assert_eq!(grants.secrets, Secrets::default());
        // What concerns the job alone needs no grant.
        assert_eq!(grants.config, BTreeMap::from([("a".into(), "b".into())]));
        assert_eq!(grants.args, ["-v"]);
    }

    #[test]
    fn what_is_not_asked_for_is_not_given() {
        let grant = r#"
            http = ["https://api.example.org"]
            env = { REGION = "eu" }
            secrets = { key = { env = "HOME" } }
            scratch = "1MiB"
        "#;
        let grants = settled("", grant);
        assert!(grants.http.is_empty() && grants.env.is_empty() && grants.scratch_bytes.is_none());
        assert_eq!(grants.secrets, Secrets::default());
        assert!(grants.withheld.is_empty());
    }

    #[test]
    fn what_is_both_asked_for_and_granted_is_given() {
        let grant = r#"
            http = ["https://*.example.org", { origin = "https://intern.example.net", private = true }]
            env = { REGION = "eu", ZONE = "a" }
            secrets = { key = { env = "HOME" }, other = { env = "HOME" } }
            scratch = "1MiB"
        "#;
        let grants = settled(ALL, grant);
        let http: Vec<_> =
            grants.http.iter().map(|grant| (grant.origin.to_string(), grant.private)).collect();
        assert_eq!(
            http,
            [("https://api.example.org".into(), false), ("https://intern.example.net".into(), true)]
        );
        assert_eq!(grants.env, BTreeMap::from([("REGION".into(), "eu".into())]));
        assert_eq!(grants.secrets.get("key"), Some(&Secret::new(std::env::var("HOME").unwrap())));
        assert_eq!(grants.secrets.get("other"), None);
        assert_eq!(grants.scratch_bytes, Some(1 << 20));
        assert_eq!(
            grants.withheld,
            [
                "http https://*.example.net: gets https://intern.example.net of it",
                "scratch: asks for 2MiB, gets 1MiB"
            ]
        );
    }
}

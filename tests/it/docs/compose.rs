//! Commands of Docker Compose, as far as they can be looked at without it: the services that they
//! name must be in docker-compose.yml.

use std::fs;

use super::root;

/// Why a command of Docker Compose cannot be right; nothing of any other.
pub(super) fn wrong(command: &str) -> Option<String> {
    let file = fs::read_to_string(root().join("docker-compose.yml")).expect("docker-compose.yml");
    let services = services(&file);
    let absent = named(command)?.into_iter().find(|service| !services.contains(service))?;
    Some(format!("docker-compose.yml has no service {absent:?}: it has {services:?}"))
}

/// The services that a command names; none: it is not one of Docker Compose.
fn named(command: &str) -> Option<Vec<&str>> {
    let mut words = command.strip_prefix("docker compose ")?.split_whitespace();
    let verb = words.next()?;
    let mut named = Vec::new();
    while let Some(word) = words.next() {
        if word == "--scale" {
            let scaled = words.next().unwrap_or_default();
            named.push(scaled.split('=').next().unwrap_or_default());
        } else if !word.starts_with('-') {
            named.push(word);
            // What follows is a command for inside.
            if ["exec", "run"].contains(&verb) {
                break;
            }
        }
    }
    Some(named)
}

/// The services of the file: what is indented once below `services:`.
fn services(file: &str) -> Vec<&str> {
    let below = file.lines().skip_while(|line| *line != "services:").skip(1);
    let below = below.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let names = below.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    names.filter(|name| !name.starts_with([' ', '#'])).collect()
}

#[test]
fn a_service_that_is_not_there_is_told() {
    assert_eq!(wrong("docker compose up --build --scale worker=3 api"), None);
    assert_eq!(wrong("docker compose exec redis redis-cli ping"), None);
    assert_eq!(wrong("docker build ."), None);
    for command in ["docker compose up --scale workers=3", "docker compose restart web"] {
        assert!(wrong(command).is_some_and(|why| why.contains("worker")), "{command}");
    }
}

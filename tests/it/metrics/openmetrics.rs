//! Reads `OpenMetrics` text and refuses what is not, strictly.

use std::collections::{BTreeMap, BTreeSet};

/// One line of numbers.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// A family: what is told under one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) samples: Vec<Sample>,
}

/// Families by name; a counter's ends in `_total`, as its samples do.
pub(super) type Families = BTreeMap<String, Family>;

/// # Panics
///
/// If the text is not what it should be, saying where.
pub(super) fn parse(text: &str) -> Families {
    let body = text.strip_suffix("# EOF\n").expect("the last line is # EOF");
    let mut families = Families::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name) = (words.next().unwrap(), words.next().expect("a name"));
            let said = words.next().unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name), "{line}");
            if name != current {
                assert!(!families.contains_key(name), "the family {name} is told in two places");
                name.clone_into(&mut current);
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "after its samples: {line}");
            match what {
                "HELP" => said.clone_into(&mut family.help),
                "TYPE" => said.clone_into(&mut family.kind),
                "UNIT" => assert!(name.ends_with(&format!("_{said}")), "{line}"),
                _ => panic!("{line}"),
            }
        } else {
            let sample = sample(line);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("of no family: {line}"));
            let suffix =
                sample.name.strip_prefix(&current).unwrap_or_else(|| panic!("of another family: {line}"));
            let fits = match family.kind.as_str() {
                "counter" => suffix == "_total" && sample.value >= 0.0,
                "gauge" => suffix.is_empty(),
                "histogram" => ["_sum", "_count", "_bucket"].contains(&suffix) && sample.value >= 0.0,
                _ => false,
            };
            assert!(fits, "{line}");
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name}");
        let series: BTreeSet<_> =
            family.samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
        assert_eq!(series.len(), family.samples.len(), "{name} tells one thing twice");
        if family.kind == "histogram" {
            check_histograms(name, &family.samples);
        }
    }
    let named = families.into_iter().map(|(name, family)| match family.kind.as_str() {
        "counter" => (format!("{name}_total"), family),
        _ => (name, family),
    });
    named.collect()
}

/// Buckets grow, and the last holds all.
fn check_histograms(name: &str, samples: &[Sample]) {
    let mut counts: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").expect("a bucket has a bound");
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound is a number") };
        counts.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in counts {
        assert!(
            buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1),
            "{name} {labels:?} {buckets:?}"
        );
        let last = buckets.last().expect("a bucket");
        let count =
            samples.iter().find(|sample| sample.name == format!("{name}_count") && sample.labels == labels);
        assert_eq!((last.0, last.1), (f64::INFINITY, count.expect("a count").value), "{name} {labels:?}");
        let sum =
            samples.iter().any(|sample| sample.name == format!("{name}_sum") && sample.labels == labels);
        assert!(sum, "{name} {labels:?}");
    }
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (key, after) = inner.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(key), "{line}");
            let (value, after) = label_value(after).unwrap_or_else(|| panic!("{line}"));
            assert!(labels.insert(key.to_owned(), value).is_none(), "{line}");
            match after.split_at(1) {
                (",", after) => inner = after,
                ("}", after) => {
                    rest = after;
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    Sample { name: name.to_owned(), labels, value: value.unwrap_or_else(|| panic!("{line}")) }
}

/// A value up to its closing quote, and what follows.
fn label_value(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

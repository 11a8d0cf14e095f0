//! The charts of the overview: which numbers of the last hour they show, and in which words.

use std::time::Duration;

use sentinel_queue::ErrorKind;

use super::{
    chart::{self, Chart, Series},
    hour::{Hour, Minute, Spread},
    words,
};
use crate::wire;

/// So many kinds of failures have a colour of their own.
const KINDS: usize = 5;

/// What is counted of a minute.
type Count = fn(&Minute) -> u64;

/// A part of times that are spread.
type Part = fn(&Spread) -> Option<Duration>;

/// The charts, in their order.
pub(super) fn of(hour: &Hour) -> Vec<Chart> {
    vec![
        throughput(hour),
        failures(hour),
        times(
            "wait",
            "Waiting to start",
            "From when a task could start until it did",
            hour,
            |minute| minute.wait,
            hour.wait,
        ),
        times("run", "Running", "How long attempts took", hour, |minute| minute.run, hour.run),
        times(
            "whole",
            "End to end",
            "From acceptance to the end",
            hour,
            |minute| minute.end_to_end,
            hour.end_to_end,
        ),
    ]
}

fn throughput(hour: &Hour) -> Chart {
    let of = |value: fn(&Minute) -> u64| {
        hour.minutes.iter().map(|minute| float(value(minute))).collect::<Vec<_>>()
    };
    let accepted = of(|minute| minute.accepted);
    let ended: [(&str, &str, Count); 3] = [
        ("Completed", "completed", |minute| minute.completed),
        ("Failed", "failed", Minute::failures),
        ("Cancelled", "cancelled", |minute| minute.cancelled),
    ];
    let most = hour.minutes.iter().map(|minute| minute.ended().max(minute.accepted)).max().unwrap_or(0);
    let top = chart::rounded_up(float(most));
    let mut below = vec![0.0; hour.minutes.len()];
    let mut series: Vec<_> = ended
        .iter()
        .map(|(name, class, value)| Series {
            name: (*name).to_owned(),
            class: (*class).to_owned(),
            total: words::number(hour.minutes.iter().map(value).sum()),
            is_line: false,
            path: chart::bars(&of(*value), &mut below, top),
        })
        .collect();
    let sum: u64 = hour.minutes.iter().map(|minute| minute.accepted).sum();
    let is_any = sum > 0;
    series.push(Series {
        name: "Accepted".into(),
        class: "accepted".into(),
        total: words::number(sum),
        is_line: true,
        path: if is_any {
            chart::line(&accepted.iter().copied().map(Some).collect::<Vec<_>>(), top)
        } else {
            String::new()
        },
    });
    let all: u64 = hour.minutes.iter().map(Minute::ended).sum();
    let rows = busy(hour, |minute| minute.ended() + minute.accepted > 0).map(|minute| {
        let values = [minute.completed, minute.failures(), minute.cancelled, minute.accepted];
        (clock(minute), values.map(words::number).into())
    });
    Chart {
        id: "throughput",
        title: "Throughput",
        headline: format!("{} ended", words::number(all)),
        told: format!(
            "Tasks per minute in the last hour. {} ended: {}. {} were accepted. At most {} ended in a minute.",
            words::number(all),
            series[..3]
                .iter()
                .map(|one| format!("{} {}", one.total, one.name.to_lowercase()))
                .collect::<Vec<_>>()
                .join(", "),
            words::number(sum),
            words::number(hour.minutes.iter().map(Minute::ended).max().unwrap_or(0)),
        ),
        empty: "No task was accepted or ended in the last hour.",
        rows: rows.collect(),
        series,
        scale: [count(top), count(top / 2.0)],
        times: clocks(hour),
    }
}

fn failures(hour: &Hour) -> Chart {
    let kinds = hour.kinds();
    let (shown, rest) = kinds.split_at(kinds.len().min(KINDS));
    let rest: Vec<ErrorKind> = rest.iter().map(|(kind, _)| *kind).collect();
    let of = |minute: &Minute, kinds: &[ErrorKind]| -> u64 {
        let each = minute.failed.iter().chain(&minute.retried);
        each.filter(|(kind, _)| kinds.contains(kind)).map(|(_, count)| count).sum()
    };
    let mut groups: Vec<(String, Vec<ErrorKind>)> =
        shown.iter().map(|(kind, _)| (kind.to_string(), vec![*kind])).collect();
    if !rest.is_empty() {
        groups.push(("others".into(), rest));
    }
    let all = |minute: &Minute| groups.iter().map(|(_, kinds)| of(minute, kinds)).sum::<u64>();
    let top = chart::rounded_up(float(hour.minutes.iter().map(all).max().unwrap_or(0)));
    let mut below = vec![0.0; hour.minutes.len()];
    let series: Vec<_> = groups
        .iter()
        .enumerate()
        .map(|(number, (name, kinds))| {
            let values: Vec<_> = hour.minutes.iter().map(|minute| float(of(minute, kinds))).collect();
            Series {
                name: name.clone(),
                class: format!("s{number}"),
                total: words::number(hour.minutes.iter().map(|minute| of(minute, kinds)).sum()),
                is_line: false,
                path: chart::bars(&values, &mut below, top),
            }
        })
        .collect();
    let sum: u64 = kinds.iter().map(|(_, count)| count).sum();
    let rows = busy(hour, |minute| all(minute) > 0);
    let rows = rows.map(|minute| {
        (clock(minute), groups.iter().map(|(_, kinds)| words::number(of(minute, kinds))).collect())
    });
    Chart {
        id: "failures",
        title: "Failures by kind",
        headline: format!("{} attempts", words::number(sum)),
        told: format!(
            "Attempts that failed in the last hour, whether or not they were tried again: {}.",
            match &series[..] {
                [] => "none".to_owned(),
                all =>
                    all.iter().map(|one| format!("{} {}", one.total, one.name)).collect::<Vec<_>>().join(", "),
            }
        ),
        empty: "No attempt failed in the last hour.",
        rows: rows.collect(),
        series,
        scale: [count(top), count(top / 2.0)],
        times: clocks(hour),
    }
}

fn times(
    id: &'static str,
    title: &'static str,
    what: &str,
    hour: &Hour,
    spread: impl Fn(&Minute) -> Spread,
    whole: Spread,
) -> Chart {
    let spreads: Vec<_> = hour.minutes.iter().map(spread).collect();
    let each: [(&str, &str, Part); 3] = [
        ("p50", "q0", |spread| spread.p50),
        ("p95", "q1", |spread| spread.p95),
        ("p99", "q2", |spread| spread.p99),
    ];
    let most = spreads.iter().filter_map(|spread| spread.p99).max().unwrap_or_default();
    let top = chart::rounded_up(millis(most));
    let series = each.iter().map(|(name, class, part)| {
        let values: Vec<_> = spreads.iter().map(|spread| part(spread).map(millis)).collect();
        Series {
            name: (*name).to_owned(),
            class: (*class).to_owned(),
            total: told(part(&whole)),
            is_line: true,
            path: chart::line(&values, top),
        }
    });
    let series: Vec<_> = series.collect();
    let rows = hour.minutes.iter().zip(&spreads).filter(|(_, spread)| spread.count > 0);
    let rows = rows.map(|(minute, spread)| {
        (clock(minute), each.iter().map(|(_, _, part)| told(part(spread))).collect())
    });
    Chart {
        id,
        title,
        headline: format!("p95 {}", told(whole.p95)),
        told: format!(
            "{what}, in the last hour: half within {}, 95 % within {}, 99 % within {}.",
            told(whole.p50),
            told(whole.p95),
            told(whole.p99)
        ),
        empty: "No attempt ended in the last hour.",
        rows: rows.collect(),
        series,
        scale: [words::span(top), words::span(top / 2.0)],
        times: clocks(hour),
    }
}

/// The minutes for the table, the newest first.
fn busy(hour: &Hour, is_busy: impl Fn(&Minute) -> bool) -> impl Iterator<Item = &Minute> {
    hour.minutes.iter().rev().filter(move |minute| is_busy(minute))
}

fn told(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| words::span(millis(time)))
}

/// A minute on the clock, in UTC.
fn clock(minute: &Minute) -> String {
    wire::time(minute.at)[11..16].to_owned()
}

fn clocks(hour: &Hour) -> [String; 3] {
    let [first, .., last] = &hour.minutes[..] else { return Default::default() };
    [clock(first), hour.minutes.get(hour.minutes.len() / 2).map(clock).unwrap_or_default(), clock(last)]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
fn count(number: f64) -> String {
    if number.fract() > 0.0 { format!("{number:.1}") } else { words::number(number as u64) }
}

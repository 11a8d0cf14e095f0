//! When a schedule is due: a cron expression, read on the clocks of a time zone.
//!
//! Pure. The zones are those built into the program, so that every scheduler knows the same ones
//! whatever its machine has installed.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use super::cron::Cron;
use crate::names::Millis;

/// A time zone by its IANA name, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    clock: TimeZone,
}

/// Why some text names no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of a time zone in the IANA database, such as UTC or Europe/Berlin")]
pub struct BadZone;

impl Zone {
    /// Its name as the database spells it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The names of all zones.
    pub fn all() -> impl Iterator<Item = String> {
        jiff::tz::db().available().map(|name| name.as_str().to_owned())
    }
}

impl FromStr for Zone {
    type Err = BadZone;

    fn from_str(text: &str) -> Result<Self, BadZone> {
        let clock = TimeZone::get(text).map_err(|_| BadZone)?;
        let name = clock.iana_name().filter(|_| !clock.is_unknown()).ok_or(BadZone)?.to_owned();
        Ok(Self { name, clock })
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC".into(), clock: TimeZone::UTC }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A cron expression in a time zone.
///
/// Where clocks are changed, an expression that names times of day ([`Cron::is_fixed`]) has one
/// tick for each of them: a time that is skipped has it at the moment of the change, together with
/// all others that are skipped there; a time that comes twice has it the first time. Any other
/// expression has a tick whenever the clock shows a time that matches: none while it skips some,
/// and two for what it shows twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Which local times.
    pub cron: Cron,
    /// Whose clocks.
    pub zone: Zone,
}

impl Timing {
    /// The first tick after a point in time; none in the next thousands of years.
    pub fn next(&self, after: Millis) -> Option<Millis> {
        let after = Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let tick = if self.cron.is_fixed() { self.next_time(after) } else { self.next_shown(after) }?;
        u64::try_from(tick.as_millisecond()).ok().map(Millis)
    }

    /// The next ticks after a point in time.
    pub fn next_runs(&self, after: Millis, count: usize) -> Vec<Millis> {
        let ticks = std::iter::successors(self.next(after), |tick| self.next(*tick));
        ticks.take(count).collect()
    }

    /// The last of the ticks after `before`, up to and including `now`.
    pub(super) fn latest(&self, before: Millis, now: Millis) -> Option<Millis> {
        let is_past = |after: u64| self.next(Millis(after)).is_some_and(|tick| tick <= now);
        let (mut low, mut high) = (before.0, now.0);
        if low >= high || !is_past(low) {
            return None;
        }
        // What comes next after `low` is past, what comes next after `high` is not.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_past(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.next(Millis(low))
    }

    /// The next tick of an expression that names times of day. Later local times are never earlier
    /// ticks, so that the first one that is found is the next.
    fn next_time(&self, after: Timestamp) -> Option<Timestamp> {
        let mut local = whole(self.zone.clock.to_datetime(after));
        loop {
            local = self.cron.next(local, false)?;
            let tick = match self.zone.clock.to_ambiguous_timestamp(local).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
                AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
                AmbiguousOffset::Gap { before, .. } => {
                    let behind = before.to_timestamp(local).ok()?;
                    self.changed_at(behind).unwrap_or(behind)
                }
            };
            if tick > after {
                return Some(tick);
            }
        }
    }

    /// When clocks were last changed, at a point in time or before.
    fn changed_at(&self, at: Timestamp) -> Option<Timestamp> {
        let behind = at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
        self.zone.clock.preceding(behind).next().map(|change| change.timestamp())
    }

    /// The next moment at which the clock shows a time that matches: looked for from one change of
    /// clocks to the next.
    fn next_shown(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut from, mut included) = (after, false);
        loop {
            let offset = self.zone.clock.to_offset(from);
            let local = self.cron.next(whole(offset.to_datetime(from)), included)?;
            let tick = offset.to_timestamp(local).ok()?;
            match self.zone.clock.following(from).next() {
                Some(change) if change.timestamp() <= tick => (from, included) = (change.timestamp(), true),
                _ => return Some(tick),
            }
        }
    }
}

/// Without what is less than a second.
fn whole(local: DateTime) -> DateTime {
    let time = local.time();
    local.date().at(time.hour(), time.minute(), time.second(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(cron: &str, zone: &str) -> Timing {
        Timing { cron: cron.parse().unwrap(), zone: zone.parse().unwrap() }
    }

    fn at(time: &str) -> Millis {
        let at: Timestamp = time.parse().unwrap();
        Millis(u64::try_from(at.as_millisecond()).unwrap())
    }

    /// The ticks after a point in time, as the zone's clock shows them.
    fn ticks(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let timing = timing(cron, zone);
        let shown = |tick: &Millis| {
            let tick = Timestamp::from_millisecond(i64::try_from(tick.0).unwrap()).unwrap();
            let shown = tick.to_zoned(timing.zone.clock.clone());
            format!("{} {}", shown.strftime("%Y-%m-%dT%H:%M:%S%:z"), shown.strftime("%a"))
        };
        timing.next_runs(at(after), count).iter().map(shown).collect()
    }

    #[test]
    fn ticks_follow_the_clocks_of_the_zone() {
        assert_eq!(
            ticks("0 9 * * 1-5", "Europe/Berlin", "2026-01-02T08:00:00Z", 3),
            [
                "2026-01-05T09:00:00+01:00 Mon",
                "2026-01-06T09:00:00+01:00 Tue",
                "2026-01-07T09:00:00+01:00 Wed"
            ]
        );
        assert_eq!(
            ticks("30 23 * * *", "Asia/Kolkata", "2026-05-31T18:00:00Z", 2),
            ["2026-06-01T23:30:00+05:30 Mon", "2026-06-02T23:30:00+05:30 Tue"]
        );
        assert_eq!(ticks("@daily", "UTC", "2026-12-31T23:59:59.999Z", 1), ["2027-01-01T00:00:00+00:00 Fri"]);
    }

    #[test]
    fn the_next_tick_is_after_the_instant_and_not_at_it() {
        let every = timing("* * * * * *", "UTC");
        assert_eq!(every.next(Millis(5_000)), Some(Millis(6_000)));
        assert_eq!(every.next(Millis(4_999)), Some(Millis(5_000)));
        assert_eq!(every.next(Millis(0)), Some(Millis(1_000)));
        let fixed = timing("10 0 0 * * *", "UTC");
        assert_eq!(fixed.next(Millis(9_999)), Some(Millis(10_000)));
        assert_eq!(fixed.next(Millis(10_000)), Some(Millis(86_410_000)));
        assert_eq!(every.next(Millis(u64::MAX)), None);
    }

    #[test]
    fn a_time_that_is_skipped_has_its_tick_when_clocks_are_changed() {
        // Berlin: on 29 March 2026, 02:00 becomes 03:00.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
            [
                "2026-03-28T02:30:00+01:00 Sat",
                "2026-03-29T03:00:00+02:00 Sun",
                "2026-03-30T02:30:00+02:00 Mon"
            ]
        );
        // Times that are skipped together, and the one at the change, are one tick.
        assert_eq!(
            ticks("0,20,40 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
            [
                "2026-03-29T03:00:00+02:00 Sun",
                "2026-03-29T03:20:00+02:00 Sun",
                "2026-03-29T03:40:00+02:00 Sun"
            ]
        );
        // New York: on 8 March 2026, 02:00 becomes 03:00.
        assert_eq!(
            ticks("15 2 8 3 *", "America/New_York", "2026-03-08T00:00:00Z", 2),
            ["2026-03-08T03:00:00-04:00 Sun", "2027-03-08T02:15:00-05:00 Mon"]
        );
        // Lord Howe: by half an hour only.
        assert_eq!(
            ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
            ["2026-10-04T02:30:00+11:00 Sun", "2026-10-05T02:15:00+11:00 Mon"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_has_one_tick_the_first_time() {
        // Berlin: on 25 October 2026, 03:00 becomes 02:00.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T02:30:00+02:00 Sun", "2026-10-26T02:30:00+01:00 Mon"]
        );
        // Asked between the two: the second is none.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
            ["2026-10-26T02:30:00+01:00 Mon"]
        );
        assert_eq!(
            ticks("0,30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", 3),
            [
                "2026-11-01T01:00:00-04:00 Sun",
                "2026-11-01T01:30:00-04:00 Sun",
                "2026-11-02T01:00:00-05:00 Mon"
            ]
        );
    }

    #[test]
    fn an_interval_follows_what_the_clock_shows() {
        assert_eq!(
            ticks("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4),
            [
                "2026-03-29T01:30:00+01:00 Sun",
                "2026-03-29T03:00:00+02:00 Sun",
                "2026-03-29T03:30:00+02:00 Sun",
                "2026-03-29T04:00:00+02:00 Sun"
            ]
        );
        assert_eq!(
            ticks("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4),
            [
                "2026-10-25T02:30:00+02:00 Sun",
                "2026-10-25T02:00:00+01:00 Sun",
                "2026-10-25T02:30:00+01:00 Sun",
                "2026-10-25T03:00:00+01:00 Sun"
            ]
        );
        // Every hour is every hour.
        let hours = timing("@hourly", "America/New_York").next_runs(at("2026-01-01T00:00:00Z"), 24 * 365);
        assert!(hours.windows(2).all(|pair| pair[1].0 - pair[0].0 == 3_600_000));
        assert!(
            ticks("*/5 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 1)[0]
                .starts_with("2026-03-30T02:00")
        );
    }

    #[test]
    fn every_day_has_one_tick_of_a_daily_schedule_in_every_zone() {
        let zones =
            ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago"];
        for (zone, minute) in zones.iter().flat_map(|zone| (0..24 * 60).step_by(15).map(move |m| (zone, m))) {
            let timing = timing(&format!("{} {} * * *", minute % 60, minute / 60), zone);
            let runs = timing.next_runs(at("2026-01-01T12:00:00Z"), 370);
            let days: std::collections::BTreeSet<_> = runs
                .iter()
                .map(|run| {
                    let run = Timestamp::from_millisecond(i64::try_from(run.0).unwrap()).unwrap();
                    timing.zone.clock.to_datetime(run).date()
                })
                .collect();
            assert_eq!(days.len(), 370, "{zone} {minute}");
            assert!(runs.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn days_are_chosen_as_cron_does() {
        let days = |cron: &str| -> Vec<String> {
            let ticks = ticks(&format!("0 0 {cron}"), "UTC", "2026-01-31T12:00:00Z", 3);
            ticks.iter().map(|tick| format!("{} {}", &tick[5..10], &tick[tick.len() - 3..])).collect()
        };
        assert_eq!(days("L * *"), ["02-28 Sat", "03-31 Tue", "04-30 Thu"]);
        assert_eq!(days("LW * *"), ["02-27 Fri", "03-31 Tue", "04-30 Thu"]);
        assert_eq!(days("15W * *"), ["02-16 Mon", "03-16 Mon", "04-15 Wed"]);
        assert_eq!(days("* * 5#2"), ["02-13 Fri", "03-13 Fri", "04-10 Fri"]);
        assert_eq!(days("* * FRIL"), ["02-27 Fri", "03-27 Fri", "04-24 Fri"]);
        assert_eq!(days("* * SAT-SUN"), ["02-01 Sun", "02-07 Sat", "02-08 Sun"]);
        assert_eq!(days("? MAR 7"), ["03-01 Sun", "03-08 Sun", "03-15 Sun"]);
        // Either day is enough, unless the day of the week has a +.
        assert_eq!(days("5 * MON"), ["02-02 Mon", "02-05 Thu", "02-09 Mon"]);
        assert_eq!(days("13 * +FRI"), ["02-13 Fri", "03-13 Fri", "11-13 Fri"]);
    }

    #[test]
    fn the_leap_day_comes_every_fourth_year_but_in_2100() {
        assert_eq!(
            ticks("0 0 29 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z", 2),
            ["2028-02-29T00:00:00+01:00 Tue", "2032-02-29T00:00:00+01:00 Sun"]
        );
        assert_eq!(ticks("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00+00:00 Fri"]);
        assert_eq!(
            ticks("0 12 L 2 *", "America/New_York", "2027-01-01T00:00:00Z", 2),
            ["2027-02-28T12:00:00-05:00 Sun", "2028-02-29T12:00:00-05:00 Tue"]
        );
        // An interval looks from change to change.
        assert_eq!(
            ticks("*/30 * 29 2 +MON", "Europe/Berlin", "2026-01-01T00:00:00Z", 1),
            ["2044-02-29T00:00:00+01:00 Mon"]
        );
    }

    #[test]
    fn the_latest_tick_is_found_however_long_ago_the_first_was() {
        let every = timing("* * * * * *", "UTC");
        let now = at("2026-07-01T12:00:00.250Z");
        assert_eq!(every.latest(Millis(0), now), Some(at("2026-07-01T12:00:00Z")));
        let daily = timing("30 2 * * *", "Europe/Berlin");
        let before = at("2026-03-01T00:00:00Z");
        assert_eq!(daily.latest(before, at("2026-03-29T01:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
        assert_eq!(daily.latest(before, at("2026-03-29T00:59:59Z")), Some(at("2026-03-28T01:30:00Z")));
        assert_eq!(daily.latest(before, at("2026-03-01T00:00:00Z")), None);
        assert_eq!(daily.latest(before, at("2026-03-01T01:00:00Z")), None);
    }

    #[test]
    fn a_zone_is_known_by_its_name() {
        assert_eq!("europe/berlin".parse::<Zone>().unwrap().as_str(), "Europe/Berlin");
        assert_eq!("UTC".parse::<Zone>().unwrap(), Zone::default());
        for bad in ["", "Europe/Bern1", "+02:00", "../etc/passwd", "Etc/Unknown", "EST5EDT4,M3", "local"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
        assert!(Zone::all().any(|name| name == "Asia/Kolkata"));
    }
}

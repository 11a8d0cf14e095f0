//! Cron expressions: what they may say, where one is wrong, and which local times one matches.
//!
//! Pure, and without time zones: those come in with [`super::timing`].

use std::{fmt, str::FromStr};

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, date};

/// What an expression may have at most.
const LONGEST: usize = 200;

/// The expressions that have a name.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A cron expression that was checked and that happens at some time.
///
/// Five fields (minute, hour, day of month, month, day of week), or six with the second in front,
/// or a nickname such as `@daily`. A field is `*` or entries with commas between: a value, a range
/// `a-b`, a step `*/n` or `a-b/n`; months and days of the week have names; days of the month know
/// `L` (the last), `LW` and `15W` (the nearest weekday), days of the week `5#2` (the second
/// Friday) and `5L` (the last one). If both days are restricted either is enough, unless the day
/// of the week begins with `+`.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
    is_fixed: bool,
}

/// Why some text is not a cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// It has not five fields, nor six, nor is it a nickname.
    #[error(
        "must have 5 fields (minute, hour, day of month, month, day of week), or 6 with the second in front, \
         or be one of {}; it has {fields}",
        nicknames()
    )]
    Shape {
        /// How many fields it has.
        fields: usize,
    },
    /// It is too long.
    #[error("must not be longer than {LONGEST} characters; it has {length}")]
    Long {
        /// How long it is.
        length: usize,
    },
    /// An entry of a field is wrong.
    #[error("is wrong at character {at}, in the field {field}: {entry:?} {rule}")]
    Entry {
        /// Where the entry begins, counted in characters from 1.
        at: usize,
        /// Which field it is in.
        field: &'static str,
        /// The entry.
        entry: String,
        /// What it must be.
        rule: String,
    },
    /// No date is ever like that.
    #[error("never happens: no month that it allows has the day that it asks for")]
    Never,
}

fn nicknames() -> String {
    NICKNAMES.map(|(name, _)| name).join(", ")
}

impl Cron {
    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names times of day: neither its second nor its minute nor its hour has a `*`. See
    /// [`super::Timing`] for what that changes.
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// The first local time that matches, from `from` on or, if that is not `included`, behind it.
    pub(super) fn next(&self, from: DateTime, included: bool) -> Option<DateTime> {
        self.pattern.find_next_occurrence(&from, included).ok()
    }
}

impl FromStr for Cron {
    type Err = BadCron;

    fn from_str(text: &str) -> Result<Self, BadCron> {
        let length = text.chars().count();
        if text.len() > LONGEST {
            return Err(BadCron::Long { length });
        }
        let nickname = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
        let expression = nickname.map_or(text, |(_, expression)| expression);
        let entries: Vec<_> = words(expression).collect();
        let fields = match entries.len() {
            5 => &FIELDS[1..],
            6 => &FIELDS[..],
            fields => return Err(BadCron::Shape { fields }),
        };
        for (field, &(at, word)) in fields.iter().zip(&entries) {
            field.check(at, word)?;
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser.parse(expression).map_err(|error| BadCron::Entry {
            at: 1,
            field: "any",
            entry: text.to_owned(),
            rule: error.to_string(),
        })?;
        // The days, which come last, have a say of their own.
        let mut times = entries.iter().take(fields.len() - 3);
        let is_fixed = times.all(|(_, word)| !word.contains('*'));
        let cron = Self { text: text.to_owned(), pattern, is_fixed };
        // Dates repeat after 400 years; the search ends by itself some centuries later.
        match cron.next(date(2000, 1, 1).at(0, 0, 0, 0), true) {
            Some(_) => Ok(cron),
            None => Err(BadCron::Never),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

/// The words of a text, and where each begins, in characters from 1.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 1;
    text.split(|c: char| c.is_ascii_whitespace()).filter_map(move |word| {
        let begins = at;
        at += word.chars().count() + 1;
        (!word.is_empty()).then_some((begins, word))
    })
}

/// What a field may hold.
struct Field {
    name: &'static str,
    first: u16,
    last: u16,
    /// Names of its values from the first on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    Field { name: "second", first: 0, last: 59, names: &[] },
    Field { name: "minute", first: 0, last: 59, names: &[] },
    Field { name: "hour", first: 0, last: 23, names: &[] },
    Field { name: "day of month", first: 1, last: 31, names: &[] },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    // 7 is Sunday again.
    Field {
        name: "day of week",
        first: 0,
        last: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

impl Field {
    /// Checks a field, which begins at that character.
    fn check(&self, mut at: usize, word: &str) -> Result<(), BadCron> {
        let mut entries = word;
        if self.is_weekday()
            && let Some(rest) = word.strip_prefix('+')
        {
            (at, entries) = (at + 1, rest);
        }
        if entries == "?" && (self.is_weekday() || self.is_day()) {
            return Ok(());
        }
        for entry in entries.split(',') {
            self.check_entry(entry).map_err(|rule| BadCron::Entry {
                at,
                field: self.name,
                entry: entry.to_owned(),
                rule,
            })?;
            at += entry.chars().count() + 1;
        }
        Ok(())
    }

    fn is_weekday(&self) -> bool {
        self.last == 7
    }

    fn is_day(&self) -> bool {
        self.last == 31
    }

    fn check_entry(&self, entry: &str) -> Result<(), String> {
        if entry.is_empty() {
            return Err("is empty: a comma stands between two entries".into());
        }
        let upper = entry.to_ascii_uppercase();
        if self.is_day() && (upper == "L" || upper == "LW") {
            return Ok(());
        }
        if let Some(day) = upper.strip_suffix('W').filter(|_| self.is_day()) {
            return self.value(day).map(drop);
        }
        if self.is_weekday() {
            if let Some((days, nth)) = upper.split_once('#') {
                self.range(days)?;
                return if ["1", "2", "3", "4", "5", "L"].contains(&nth) {
                    Ok(())
                } else {
                    Err("must have 1 to 5, or L for the last, behind the #".into())
                };
            }
            if let Some(day) = upper.strip_suffix('L') {
                return self.value(day).map(drop);
            }
        }
        match upper.split_once('/') {
            None => self.range(&upper),
            Some((range, step)) => {
                if range != "*" && !range.contains('-') {
                    let (first, last) = (self.first, self.last);
                    return Err(format!(
                        "must have * or a range before the /, such as {first}-{last}/{step}"
                    ));
                }
                self.range(range)?;
                let span = self.last - self.first + u16::from(!self.is_weekday());
                match number(step) {
                    Some(step) if (1..=span).contains(&step) => Ok(()),
                    _ => Err(format!("must have a step from 1 to {span} behind the /")),
                }
            }
        }
    }

    fn range(&self, range: &str) -> Result<(), String> {
        if range == "*" {
            return Ok(());
        }
        let Some((from, to)) = range.split_once('-') else { return self.value(range).map(drop) };
        let (first, mut last) = (self.value(from)?, self.value(to)?);
        if self.is_weekday() && to == "SUN" {
            last = 7;
        }
        if first <= last {
            return Ok(());
        }
        Err(format!(
            "goes down: write {from}-{},{}-{to}",
            self.last - u16::from(self.is_weekday()),
            self.first
        ))
    }

    fn value(&self, text: &str) -> Result<u16, String> {
        if let Some(index) = self.names.iter().position(|name| *name == text) {
            return Ok(self.first + u16::try_from(index).unwrap_or_default());
        }
        let value = number(text).filter(|value| (self.first..=self.last).contains(value));
        value.ok_or_else(|| {
            let (first, last) = (self.first, self.last);
            match self.names {
                [] => format!("must be made of *, numbers from {first} to {last}, and , - /"),
                [a, .., z] => {
                    format!("must be made of *, numbers from {first} to {last}, {a} to {z}, and , - /")
                }
                [_] => unreachable!("fields with names have several"),
            }
        })
    }
}

/// A number of one or two digits.
fn number(text: &str) -> Option<u16> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Cron>().expect_err(text).to_string()
    }

    #[test]
    fn what_cron_knows_is_understood() {
        for text in [
            "* * * * *",
            "0 9 * * 1-5",
            "*/15 0-6,22,23 1,15 JAN-MAR mon,WED,fri",
            "0-59/5 * * * *",
            "30 * * * * *",
            "  0\t9 * * 7 ",
            "0 0 L * *",
            "0 0 LW * *",
            "0 0 15W * *",
            "0 0 * * 5#2",
            "0 0 * * MON-FRI#1",
            "0 0 * * 5#L",
            "0 0 * * FRIL",
            "0 0 1 * +MON",
            "0 0 ? * SAT-SUN",
            "0 0 29 2 *",
            "@daily",
            "@Hourly",
            " @midnight ",
        ] {
            assert!(text.parse::<Cron>().is_ok(), "{text}: {}", error(text));
        }
    }

    #[test]
    fn an_error_says_where() {
        for (text, at, field) in [
            ("60 * * * *", 1, "minute"),
            ("0 24 * * *", 3, "hour"),
            ("0 9,25 * * *", 5, "hour"),
            ("0 9 0 * *", 5, "day of month"),
            ("0  9  *  13 *", 10, "month"),
            ("0 9 * * 8", 9, "day of week"),
            ("0 9 * * MON-FRY", 9, "day of week"),
            ("0 9 * * FRI-MON", 9, "day of week"),
            ("0 MON * * *", 3, "hour"),
            ("0 9 * JANFEB *", 7, "month"),
            ("0 9 * * +MON,9", 14, "day of week"),
            ("61 0 9 * * *", 1, "second"),
            ("5/10 * * * *", 1, "minute"),
            ("/10 * * * *", 1, "minute"),
            ("*/0 * * * *", 1, "minute"),
            ("*/61 * * * *", 1, "minute"),
            ("1,,2 * * * *", 3, "minute"),
            (", * * * *", 1, "minute"),
            ("1-2-3 * * * *", 1, "minute"),
            ("9-5 * * * *", 1, "minute"),
            ("-1 * * * *", 1, "minute"),
            ("+1 * * * *", 1, "minute"),
            ("0 0 32W * *", 5, "day of month"),
            ("0 0 W * *", 5, "day of month"),
            ("0 0 L-3 * *", 5, "day of month"),
            ("0 0 * * 5#6", 9, "day of week"),
            ("0 0 * * L", 9, "day of week"),
            ("? * * * *", 1, "minute"),
            ("ß ä * * *", 1, "minute"),
            ("0 ä * * *", 3, "hour"),
            ("001 * * * *", 1, "minute"),
            ("@daily * * * *", 1, "minute"),
        ] {
            match text.parse::<Cron>() {
                Err(BadCron::Entry { at: found, field: named, .. }) => {
                    assert_eq!((found, named), (at, field), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(
            error("0 9,25 * * *"),
            "is wrong at character 5, in the field hour: \"25\" must be made of *, numbers from 0 to 23, and , - /"
        );
        assert_eq!(
            error("0 9 * * FRI-MON"),
            "is wrong at character 9, in the field day of week: \"FRI-MON\" goes down: write FRI-6,0-MON"
        );
    }

    #[test]
    fn another_number_of_fields_is_refused() {
        for (text, count) in [("", 0), ("*", 1), ("* * * *", 4), ("* * * * * * *", 7), ("@never", 1)] {
            assert_eq!(text.parse::<Cron>().unwrap_err(), BadCron::Shape { fields: count }, "{text}");
        }
        let long = format!("{} * * * *", "1,".repeat(100));
        assert_eq!(long.parse::<Cron>().unwrap_err(), BadCron::Long { length: 208 });
    }

    #[test]
    fn what_never_happens_is_refused_and_soon() {
        let since = std::time::Instant::now();
        for text in [
            "0 0 30 2 *",
            "0 0 31 2,4,6,9,11 *",
            "0 0 30 FEB +MON",
            "0 0 30W 2 *",
            "* * * 31 4 *",
            "0 0 31 6 ?",
        ] {
            assert_eq!(text.parse::<Cron>().unwrap_err(), BadCron::Never, "{text}");
        }
        assert!(since.elapsed().as_millis() < 1000, "{:?}", since.elapsed());
        // With OR either day is enough.
        assert!("0 0 30 2 MON".parse::<Cron>().is_ok());
    }

    #[test]
    fn a_time_of_day_is_told_from_an_interval() {
        for fixed in ["0 9 * * *", "0,30 2-4 * * *", "@daily", "5 0 9 * * *", "0-59/5 2 * * *"] {
            assert!(fixed.parse::<Cron>().unwrap().is_fixed(), "{fixed}");
        }
        for interval in ["0 * * * *", "*/5 2 * * *", "0 */2 * * *", "@hourly", "* 0 9 * * *"] {
            assert!(!interval.parse::<Cron>().unwrap().is_fixed(), "{interval}");
        }
    }
}

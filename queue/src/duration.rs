//! Durations as people write them: `<integer><ms|s|m|h|d>`.

use std::time::Duration;

use crate::names::Invalid;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration, such as `250ms` or `10m`.
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = number.parse::<u64>().ok().and_then(|number| {
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*scale)
    });
    millis.map(Duration::from_millis).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Invalid::new("duration", shown, "must be <integer><ms|s|m|h|d>, such as 250ms or 10m")
    })
}

/// Writes a duration in the largest unit that holds it exactly; less than a millisecond is cut.
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, scale) =
        UNITS.iter().rev().find(|(_, scale)| millis >= *scale && millis % scale == 0).unwrap_or(&UNITS[0]);
    format!("{}{unit}", millis / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0ms", "1ms", "1500ms", "2s", "90s", "3m", "36h", "3650d"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "5", "s", "-1s", "1.5s", "1 s", "1S", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

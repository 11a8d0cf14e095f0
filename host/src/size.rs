//! Numbers of bytes as people write them: `64KiB`.

const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads `<integer><B|KiB|MiB|GiB>`.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// A number of bytes in the largest unit that holds it exactly.
pub fn format(bytes: u64) -> String {
    let fits = |(_, scale): &&(&str, u64)| bytes >= *scale && bytes.is_multiple_of(*scale);
    let (unit, scale) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
    format!("{}{unit}", bytes / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for text in ["1B", "1500B", "64KiB", "256MiB", "3GiB"] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
        assert_eq!(parse("2048KiB").map(format).as_deref(), Some("2MiB"));
        for text in ["", "1", "B", "1 MiB", "1MB", "-1B", "1.5GiB", "99999999999999999999B", "17179869184GiB"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

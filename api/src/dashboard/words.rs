//! Numbers, times and texts as people read them.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use sentinel_queue::Millis;

/// Now, by this server's clock.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long before now something was, or how long it is still to come.
pub(crate) fn from_now(at: Millis, now: Millis) -> String {
    match at.0.cmp(&now.0) {
        std::cmp::Ordering::Greater => format!("in {}", rough(at.0 - now.0)),
        _ => format!("{} ago", rough(now.0 - at.0)),
    }
}

/// A length of time in one unit, for what is far away.
fn rough(millis: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let (scale, unit) = UNITS.into_iter().find(|(scale, _)| millis >= *scale).unwrap_or((1000, "s"));
    format!("{} {unit}", millis / scale)
}

/// A length of time to be compared with others: two units, or three digits.
pub(crate) fn span(millis: f64) -> String {
    let two = |large: f64, unit: &str, small: f64, small_unit: &str| {
        if small < 1.0 {
            format!("{large:.0} {unit}")
        } else {
            format!("{large:.0} {unit} {small:.0} {small_unit}")
        }
    };
    let seconds = (millis / 1000.0).round();
    match millis {
        _ if millis < 1.0 => format!("{millis:.2} ms"),
        _ if millis < 10.0 => format!("{millis:.1} ms"),
        _ if millis < 999.5 => format!("{millis:.0} ms"),
        _ if millis < 9_995.0 => format!("{:.2} s", millis / 1000.0),
        _ if millis < 59_950.0 => format!("{:.1} s", millis / 1000.0),
        _ if seconds < 3600.0 => two((seconds / 60.0).floor(), "min", seconds % 60.0, "s"),
        _ if seconds < 86_400.0 => {
            two((seconds / 3600.0).floor(), "h", ((seconds % 3600.0) / 60.0).floor(), "min")
        }
        _ => two((seconds / 86_400.0).floor(), "d", ((seconds % 86_400.0) / 3600.0).floor(), "h"),
    }
}

/// A number of milliseconds.
#[expect(clippy::cast_precision_loss, reason = "nothing lasts 285 years")]
pub(crate) fn span_of(millis: u64) -> String {
    span(millis as f64)
}

/// A number of microseconds.
#[expect(clippy::cast_precision_loss, reason = "nothing lasts 285 years")]
pub(crate) fn micros(micros: u64) -> String {
    span(micros as f64 / 1000.0)
}

/// A size.
#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1023.95 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if size < 9.95 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// A whole number, in groups of three.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `2 tasks`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// The beginning of a text, with an ellipsis if there was more.
pub(crate) fn short(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A text of a guest's as it is shown: what would move the cursor, colour a terminal or turn the
/// direction of writing around is seen instead of done.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' => {}
            // The pictures of the control characters stand in their order.
            '\0'..='\x1f' => shown.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('�')),
            '\x7f' => shown.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                write!(shown, "\\u{{{:x}}}", u32::from(c)).expect("a string takes all");
            }
            _ => shown.push(c),
        }
    }
    shown
}

/// A text as it stands in an address.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_people_use() {
        let now = Millis(1_000_000_000);
        for (at, told) in [
            (1_000_000_000, "0 s ago"),
            (999_988_000, "12 s ago"),
            (999_880_000, "2 min ago"),
            (992_800_000, "2 h ago"),
            (568_000_000, "5 d ago"),
            (1_000_090_000, "in 1 min"),
        ] {
            assert_eq!(from_now(Millis(at), now), told);
        }
        for (millis, told) in [
            (0.123, "0.12 ms"),
            (1.26, "1.3 ms"),
            (42.4, "42 ms"),
            (999.7, "1.00 s"),
            (1234.0, "1.23 s"),
            (12_340.0, "12.3 s"),
            (59_999.0, "1 min"),
            (200_000.0, "3 min 20 s"),
            (3_900_000.0, "1 h 5 min"),
            (93_600_000.0, "1 d 2 h"),
        ] {
            assert_eq!(span(millis), told);
        }
    }

    #[test]
    fn numbers_and_sizes_are_short() {
        assert_eq!(
            [number(0), number(999), number(1_000), number(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [size(1023), size(1536), size(20 << 20), size(1 << 40)],
            ["1023 B", "1.5 KiB", "20 MiB", "1.0 TiB"]
        );
        assert_eq!([counted(1, "task", "tasks"), counted(2000, "task", "tasks")], ["1 task", "2,000 tasks"]);
    }

    #[test]
    fn what_would_act_is_seen() {
        assert_eq!(visible("a\tb\r\nc"), "a\tb\nc");
        assert_eq!(visible("\x1b[31mred\0\x7f"), "␛[31mred␀␡");
        assert_eq!(visible("user\u{202e}nimda"), "user\\u{202e}nimda");
    }

    #[test]
    fn a_short_text_is_cut_between_characters() {
        assert_eq!([short("äöü", 3), short("äöüß", 3)], ["äöü", "äöü…"]);
    }
}

//! JSON for reading: indented, and otherwise as it is. No number, string or key is written anew, so that
//! what is shown is what was submitted.

/// The beginning of a JSON text, indented, and whether that is all of it.
///
/// The text was checked when it was accepted; what is no JSON comes out as it is.
pub(super) fn pretty(json: &str, longest: usize) -> (String, bool) {
    let mut out = String::with_capacity(json.len().min(longest) + 64);
    let mut depth = 0_usize;
    let mut rest = json.trim();
    while let Some(first) = rest.chars().next() {
        if out.len() >= longest {
            return (out, false);
        }
        let taken = match first {
            '"' => string_length(rest),
            '{' | '[' => {
                let inner = rest[1..].trim_start();
                let close = if first == '{' { '}' } else { ']' };
                out.push(first);
                if inner.starts_with(close) {
                    out.push(close);
                    rest = inner[1..].trim_start();
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                    rest = inner;
                }
                continue;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(first);
                rest = rest[1..].trim_start();
                continue;
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
                rest = rest[1..].trim_start();
                continue;
            }
            ':' => {
                out.push_str(": ");
                rest = rest[1..].trim_start();
                continue;
            }
            // A number or a word.
            _ => rest
                .find([',', ':', ']', '}', ' ', '\n', '\r', '\t'])
                .unwrap_or(rest.len())
                .max(first.len_utf8()),
        };
        let room = longest.saturating_sub(out.len());
        let (token, left) = rest.split_at(taken);
        if token.len() > room {
            out.push_str(&token[..token.floor_char_boundary(room)]);
            return (out, false);
        }
        out.push_str(token);
        rest = left.trim_start();
    }
    (out, true)
}

/// How long the string is that a text begins with.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(json: &str) -> String {
        let (text, is_all) = pretty(json, usize::MAX);
        assert!(is_all);
        text
    }

    #[test]
    fn what_stands_there_stays_as_it_is() {
        assert_eq!(
            whole(
                r#" {"a":1.0e+05,"b": 12345678901234567890123,"c":[1,-0.0 , "x\"}\u00e9,"],"d":{},"e":[ ]} "#
            ),
            "{\n  \"a\": 1.0e+05,\n  \"b\": 12345678901234567890123,\n  \"c\": [\n    1,\n    -0.0,\n    \
             \"x\\\"}\\u00e9,\"\n  ],\n  \"d\": {},\n  \"e\": []\n}"
        );
        for json in ["null", "\"\"", "-1e9", "\"a: {b}, [c]\""] {
            assert_eq!(whole(json), json);
        }
    }

    #[test]
    fn it_is_cut_where_there_is_no_room() {
        let json = format!("{{\"a\":\"{}\"}}", "é".repeat(1000));
        let (text, is_all) = pretty(&json, 100);
        assert!(!is_all && text.len() <= 100 && text.starts_with("{\n  \"a\": \"éé"), "{text}");
        let long = format!("[{}1]", "1,".repeat(10_000));
        let (text, is_all) = pretty(&long, 1000);
        assert!(!is_all && text.len() < 1100);
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for text in ["", "}", "]]]", "{\"a", "\"\\", "[,:", "é"] {
            let (shown, is_all) = pretty(text, 1000);
            assert!(is_all, "{text}: {shown}");
        }
    }
}

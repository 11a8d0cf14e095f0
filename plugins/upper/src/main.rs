//! `upper`: a plain command that is a Sentinel job. `{"job": "upper", "text": "abc"}` gives `"ABC"`.
//!
//! The payload is its standard input, what it prints its result, standard error its log, and a code
//! other than zero a failure.

use std::io;

use serde_json::Value;

fn main() -> Result<(), String> {
    let payload: Value = serde_json::from_reader(io::stdin()).map_err(|error| error.to_string())?;
    let text = payload["text"].as_str().ok_or("no `text` in the payload")?;
    eprintln!("{} letters", text.len());
    println!("{}", Value::from(text.to_uppercase()));
    Ok(())
}

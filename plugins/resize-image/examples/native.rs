//! The same job without a sandbox, to compare with: `cargo xtask bench --native`.
//!
//! `native payload` prints a payload with a picture of a megapixel; `native run` reads one from
//! standard input, runs the job again and again, and prints the middle of the times in microseconds.

use std::{
    env,
    error::Error,
    io::{self, Cursor, Write},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use image::{ImageFormat, Rgb, RgbImage};

#[path = "../src/lib.rs"]
mod job;

const LONG_ENOUGH: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("payload") => Ok(write!(io::stdout(), "{}", payload()?)?),
        Some("run") => run(&io::read_to_string(io::stdin())?),
        _ => Err("say `payload` or `run`".into()),
    }
}

/// A megapixel with some detail in it.
fn payload() -> Result<String, Box<dyn Error>> {
    let picture = RgbImage::from_fn(1024, 1024, |x, y| {
        let [r, g, b, _] = (x * x / 97 + y * y / 61 + ((x ^ y) & 15) * 3).to_le_bytes();
        Rgb([r, g.wrapping_mul(16), b.wrapping_add(r / 2)])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Jpeg)?;
    let image = BASE64_STANDARD.encode(file.into_inner());
    Ok(format!(r#"{{"job":"resize-image","width":128,"image":"{image}"}}"#))
}

fn run(payload: &str) -> Result<(), Box<dyn Error>> {
    let mut payload: serde_json::Value = serde_json::from_str(payload)?;
    payload.as_object_mut().ok_or("no object")?.remove("job");
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < LONG_ENOUGH {
        // What the SDK does for a job counts, too.
        let text = payload.to_string();
        let once = Instant::now();
        let output = job::run(serde_json::from_str(&text)?).map_err(|failure| format!("{failure:?}"))?;
        let result = serde_json::to_string(&output)?;
        times.push(once.elapsed());
        assert!(!result.is_empty(), "a result");
    }
    times.sort_unstable();
    writeln!(io::stdout(), "{}", times[times.len() / 2].as_micros())?;
    Ok(())
}

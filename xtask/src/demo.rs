//! The demo: everything from nothing, with real tasks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

use crate::{
    dev::Dev,
    guests,
    shell::{self, cargo, root, step},
};

/// Builds, serves, submits, shows.
pub(crate) fn run() -> Result<()> {
    step("build the jobs (WebAssembly components)", guests::build)?;
    step("build sentinel (takes minutes the first time)", || {
        shell::run(&mut cargo(&["build", "--locked", "--workspace"]))
    })?;
    let data = tempfile::tempdir()?;
    let dev = Dev::start(&root(), data.path())?;
    println!("\nsentinel dev serves {} with its embedded store\n", dev.url);

    dev.show("the jobs that its worker runs", &["job", "list"], "")?;
    let greeting =
        ["submit", "example-task", r#"{"name":"Ada","numbers":[3,1,2]}"#, "--priority", "5", "--wait"];
    dev.show("a task and its result", &greeting, "")?;
    dev.watch("some seconds of CPU work, with its progress", "count-primes", r#"{"limit":4000000000}"#)?;
    let picture = format!(r#"{{"image":"{}","width":64}}"#, BASE64.encode(picture()?));
    dev.show(
        "an image of 640 × 480, made into a thumbnail",
        &["submit", "resize-image", "-", "--wait"],
        &picture,
    )?;
    dev.show("the workers", &["worker", "list"], "")?;
    dev.show("the queues", &["queue", "list"], "")?;
    println!("── GET /stats\n{}\n", dev.stats()?);
    dev.stop()?;

    println!("That was a server of its own, which has ended. To go on:\n");
    println!("  cargo run -- dev          then http://127.0.0.1:8000/docs has the API's documentation");
    println!("  cargo run -- submit example-task '{{\"name\":\"you\"}}' --wait");
    Ok(())
}

impl Dev {
    /// Runs a client command and shows what it prints.
    fn show(&self, what: &str, args: &[&str], input: &str) -> Result<()> {
        let shown =
            args.iter().map(|arg| if arg.starts_with('{') { format!("'{arg}'") } else { (*arg).into() });
        println!("── {what}\n$ sentinel {}", shown.collect::<Vec<_>>().join(" "));
        let since = Instant::now();
        let output = self.output(args, input)?;
        let shown: String = output.trim_end().chars().take(600).collect();
        let cut = if shown.len() < output.trim_end().len() { " …" } else { "" };
        println!("{shown}{cut}\n({:.0} ms)\n", since.elapsed().as_secs_f64() * 1000.0);
        Ok(())
    }

    /// Submits a task and shows how far it says it has come, then its result.
    fn watch(&self, what: &str, job: &str, payload: &str) -> Result<()> {
        println!("── {what}\n$ sentinel submit {job} '{payload}'");
        let submitted = self.output(&["submit", job, payload], "")?;
        let id = submitted.split(' ').next().context("submit printed no id")?;
        println!("{}\n$ sentinel task get {id}", submitted.trim_end());
        let mut told = String::new();
        loop {
            let task: Value =
                serde_json::from_str(&self.output(&["task", "get", id, "--output", "json"], "")?)?;
            if task.get("finished_at").is_some() {
                println!("{} {}\n", task["status"].as_str().unwrap_or_default(), task["result"]);
                return Ok(());
            }
            let progress = &task["progress"];
            let message = progress["message"].as_str().unwrap_or_default();
            let now = format!("{} % {message}", progress["percent"]);
            if !progress.is_null() && now != told {
                println!("IN_PROGRESS {now}");
                told = now;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn stats(&self) -> Result<String> {
        self.output(&["stats"], "")
    }
}

/// A picture with something to see, as PNG.
fn picture() -> Result<Vec<u8>> {
    const WIDTH: u32 = 640;
    const HEIGHT: u32 = 480;
    let mut pixels = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let ring = (x.abs_diff(WIDTH / 2).pow(2) + y.abs_diff(HEIGHT / 2).pow(2)) / 400 % 256;
            pixels.extend(
                [x * 255 / WIDTH, y * 255 / HEIGHT, ring].map(|value| u8::try_from(value).unwrap_or(255)),
            );
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}

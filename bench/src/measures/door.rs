//! How soon a server answers while very many connections say nothing.

use std::{io::ErrorKind, time::Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{
    Options,
    load::number,
    report::{Sample, sample, spread},
    rig::Rig,
};

const SILENT: u64 = 2000;
const REQUESTS: u64 = 5000;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let silent = options.many(SILENT);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    if limit.maximum.is_some_and(|most| most < silent + 100) {
        bail!("{silent} connections need as many descriptors: raise `ulimit -n`");
    }
    let rig = Rig::start(options).await?;
    let mut held = Vec::new();
    for _ in 0..silent {
        held.push(TcpStream::connect(rig.address()).await.context("a silent connection")?);
    }
    let mut times = Vec::new();
    for _ in 0..options.many(REQUESTS) {
        // Each comes through the door by itself.
        let asked = Instant::now();
        let answer: Value = rig.client().await?.get("/healthz").await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        if answer["status"] != "ok" {
            bail!("GET /healthz: {answer}");
        }
    }
    // The server closes them when they have been silent for too long.
    let open = held.iter().filter(|stream| match stream.try_read(&mut [0]) {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    });
    let mut samples = vec![sample("still silent at the end", number(open.count() as u64), "")];
    samples.extend(spread(times, "ms"));
    Ok(samples)
}

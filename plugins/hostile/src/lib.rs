//! `hostile`: a job that misbehaves on request, to test the engine with.
//!
//! `{"job": "hostile", "do": "loop"}` loops for ever, and so on through [`Act`]. Where the host is
//! meant to answer with an error, the error's text is the result, and the job succeeds.
//!
//! It is written without the SDK, which would not let it return what is not JSON.

// A native build is empty: no native linker takes the name of a component's export.
#![cfg(target_family = "wasm")]

mod http;
mod scratch;

use std::{
    arch::wasm32::memory_grow,
    collections::BTreeMap,
    fs,
    hint::black_box,
    io::{self, Write},
    mem,
    net::{TcpStream, ToSocketAddrs},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::{
    cli::{stdin::get_stdin, stdout::get_stdout},
    clocks::monotonic_clock,
    io::poll,
    random,
};

use bindings::{
    exports::sentinel::job::handler::{Failure, Guest, Task},
    sentinel::job::{parents, progress},
    wasi::config::store,
};

#[allow(missing_docs, clippy::pedantic, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit", "wit"],
        inline: "
            package sentinel:hostile;
            world hostile {
                include sentinel:job/dependent-job@0.1.0;
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        world: "sentinel:hostile/hostile",
        generate_all,
    });
}

const MIB: usize = 1 << 20;

/// The size of a page of linear memory's host backing: touching one byte of each is enough to
/// make the host provide it.
const PAGE: usize = 4096;

/// What to do. Names are those of the payload's `do`, the fields those beside it.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Act {
    /// Returns `"ok"`.
    Ok,
    /// Returns the payload.
    Echo,

    /// Executes `unreachable`.
    Trap,
    /// Panics, saying `message`.
    Panic { message: Option<String> },
    /// Exits the process.
    Exit { code: i32 },

    /// Loops for ever.
    Loop,
    /// Uses the CPU for so many milliseconds of the clock.
    Spin { ms: u64 },
    /// Sleeps in the host.
    #[serde(alias = "sleep-then-ok")]
    Sleep { ms: u64 },
    /// Sleeps in the host, again and again.
    SleepForever,

    /// Takes memory without end; being refused any, it aborts.
    Memory,
    /// Takes so much memory, then returns how much.
    MemoryTo { mib: usize },
    /// Takes memory until it is refused, then carries on and returns how many MiB it got.
    MemoryRefused,
    /// Recurses without end in small frames, which fill the engine's stack.
    Recurse,
    /// Recurses without end in large frames, which run out of the stack that the guest itself
    /// keeps in its memory: an access out of bounds, not an overflow that the engine can name.
    RecurseWide,
    /// Keeps every resource handle it can get, without end.
    LeakHandles,
    /// Waits for the same far-off time, named so many times in one call.
    Poll { times: usize },
    /// Keeps so many sets of headers of so many bytes each; returns how many.
    Headers { sets: usize, bytes: usize },
    /// Asks its stdin for everything, its stdout for all zeroes there are, and each for what the other
    /// has; returns how many bytes moved.
    Streams,
    /// Looks for as many keys of the configuration that are not there.
    ConfigMisses { times: u32 },

    /// Returns a JSON string so many bytes long, quotes included.
    ReturnBig { bytes: usize },
    /// Returns text that is not JSON.
    ReturnNotJson,
    /// Writes so many bytes to stdout, and as many to stderr.
    FloodLog { bytes: usize },
    /// Reports progress so many times.
    Progress { times: u32 },
    /// Reports progress with a message of so many bytes; once, unless `times` says otherwise.
    BigString { bytes: usize, times: Option<u32> },
    /// Asks for so many random bytes at once; returns how many came.
    Random { bytes: u64 },

    /// Fails so.
    Retryable,
    /// Fails so, with a delay.
    RetryAfter { ms: u64 },
    /// Fails so.
    Permanent { message: Option<String> },
    /// Fails so that it is tried again, until this attempt; from then on returns the attempt's
    /// number.
    OkFrom { attempt: u32 },

    /// Returns `[{"job": …, "status": …, "result": …}]` of the task's parents.
    Parents,
    /// Returns the result of any task, or null.
    ResultOf { id: String },

    /// Returns a file's text, or the error.
    ReadFile { path: String },
    /// Returns `"connected"` to an `address` like `1.2.3.4:80`, or the error.
    Socket { address: String },
    /// Returns a host's addresses, or the error.
    Resolve { name: String },
    /// Returns `{"env": {…}, "args": […]}`.
    Env,
    /// Sends a request.
    Http(http::Fetch),
    /// Sends a request, and keeps this up without reading what comes: returns how many were taken.
    HoldConnections { url: String },
    /// Returns the value of a key of the configuration, or null.
    Config { key: String },
    /// Returns all of the configuration.
    ConfigAll,
    /// Gives a secret away.
    Tell { secret: String, by: By },
    /// Fills the scratch directory, with so many MiB at most.
    FillScratch { with: scratch::Fill, mib: usize },
    /// Writes a file and returns what it reads then.
    WriteFile { path: String, text: String },
    /// Returns the names in a directory, sorted.
    List { path: String },
    /// Makes a link to a path and returns what can be read by it.
    ReadByLink { to: String },
    /// Opens files in the scratch directory without end; returns how many.
    OpenFiles,
    /// Counts in a global variable, and returns the count: 1 in a fresh instance.
    Global,
}

/// How something is told.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    Stdout,
    Stderr,
    /// By a failure.
    Failure,
    /// By what a panic says.
    Panic,
    Progress,
    Result,
}

struct Hostile;
bindings::export!(Hostile with_types_in bindings);

impl Guest for Hostile {
    fn run(task: Task) -> Result<String, Failure> {
        let act =
            serde_json::from_str(&task.payload).map_err(|error| Failure::Permanent(error.to_string()))?;
        act_out(act, task)
    }
}

fn act_out(act: Act, task: Task) -> Result<String, Failure> {
    let result = match act {
        Act::Ok => json!("ok"),
        Act::Echo => return Ok(task.payload),

        Act::Trap => process::abort(),
        Act::Panic { message } => panic!("{}", message.as_deref().unwrap_or("as asked")),
        Act::Exit { code } => process::exit(code),

        Act::Loop => loop {
            black_box(());
        },
        Act::Spin { ms } => spin(Duration::from_millis(ms)),
        Act::Sleep { ms } => {
            thread::sleep(Duration::from_millis(ms));
            json!("ok")
        }
        Act::SleepForever => loop {
            thread::sleep(Duration::from_hours(1));
        },

        Act::Memory => loop {
            mem::forget(touched(vec![0; MIB]));
        },
        Act::MemoryTo { mib } => json!(touched(vec![0; mib * MIB]).len() / MIB),
        Act::MemoryRefused => json!(memory_until_refused()),
        Act::Recurse => json!(recurse(0)),
        Act::RecurseWide => json!(recurse_wide(&[0; PAGE])),
        Act::LeakHandles => loop {
            mem::forget(monotonic_clock::subscribe_duration(u64::MAX));
            mem::forget(get_stdout());
        },

        Act::Poll { times } => {
            let never = monotonic_clock::subscribe_duration(u64::MAX);
            json!(poll::poll(&vec![&never; times]))
        }
        Act::Headers { sets, bytes } => json!(http::keep_headers(sets, bytes)),
        Act::Streams => streams(),
        Act::ConfigMisses { times } => {
            (0..times).for_each(|time| _ = black_box(store::get(&time.to_string())));
            json!("ok")
        }

        Act::ReturnBig { bytes } => return Ok(format!("\"{}\"", text(bytes.saturating_sub(2)))),
        Act::ReturnNotJson => return Ok("this is not JSON".into()),
        Act::FloodLog { bytes } => {
            flood(io::stdout(), bytes);
            flood(io::stderr(), bytes);
            json!("ok")
        }
        Act::Progress { times } => {
            for time in 0..times {
                progress::report((time % 101) as u8, &format!("report {time}"));
            }
            json!("ok")
        }
        Act::BigString { bytes, times } => {
            let message = text(bytes);
            for _ in 0..times.unwrap_or(1) {
                progress::report(50, &message);
            }
            json!("ok")
        }
        Act::Random { bytes } => json!(random::random::get_random_bytes(bytes).len()),

        Act::Retryable => return Err(Failure::Retryable("as asked".into())),
        Act::RetryAfter { ms } => return Err(Failure::RetryAfter((ms, "as asked".into()))),
        Act::Permanent { message } => {
            return Err(Failure::Permanent(message.unwrap_or_else(|| "as asked".into())));
        }
        Act::OkFrom { attempt } if task.attempt < attempt => {
            return Err(Failure::Retryable("as asked".into()));
        }
        Act::OkFrom { .. } => json!(task.attempt),

        Act::Parents => all_parents(),
        Act::ResultOf { id } => json!(parents::result_of(&id)),

        Act::ReadFile { path } => or_error(fs::read_to_string(path)),
        Act::Socket { address } => or_error(TcpStream::connect(address).map(|_| "connected".into())),
        Act::Resolve { name } => or_error((name, 80).to_socket_addrs().map(|addresses| {
            addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        })),
        Act::Env => json!({
            "env": std::env::vars().collect::<BTreeMap<_, _>>(),
            "args": std::env::args().collect::<Vec<_>>(),
        }),
        Act::Http(request) => http::fetch(request),
        Act::HoldConnections { url } => http::hold(&url),
        Act::Config { key } => json!(store::get(&key).unwrap_or_default()),
        Act::ConfigAll => json!(store::get_all().unwrap_or_default()),
        Act::Tell { secret, by } => return tell(&secret, &by),
        Act::FillScratch { with, mib } => scratch::fill(with, mib),
        Act::WriteFile { path, text } => {
            or_error(fs::write(&path, text).and_then(|()| fs::read_to_string(&path)))
        }
        Act::List { path } => or_error(list(&path)),
        Act::ReadByLink { to } => scratch::read_by_link(&to),
        Act::OpenFiles => {
            let open = || fs::File::create("/scratch/file").map(mem::forget).is_ok();
            json!((0..10_000).take_while(|_| open()).count())
        }
        Act::Global => {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            json!(COUNT.fetch_add(1, Ordering::Relaxed) + 1)
        }
    };
    Ok(result.to_string())
}

fn all_parents() -> Value {
    parents::all()
        .iter()
        .map(|parent| {
            let result = parents::result_of(&parent.id);
            let result: Option<Value> = result.map(|json| serde_json::from_str(&json).unwrap_or_default());
            json!({"job": parent.job, "status": format!("{:?}", parent.status), "result": result})
        })
        .collect()
}

fn streams() -> Value {
    let (input, output) = (get_stdin(), get_stdout());
    let read = input.blocking_read(u64::MAX).map_or(0, |bytes| bytes.len() as u64);
    let moved = output.blocking_splice(&input, u64::MAX).unwrap_or(0);
    // More than the stream says it takes is a trap.
    output.write_zeroes(u64::MAX >> 1).map_or(json!(null), |()| json!(read + moved))
}

fn tell(secret: &str, by: &By) -> Result<String, Failure> {
    let value = store::get(&format!("secret.{secret}")).ok().flatten().unwrap_or_default();
    match by {
        By::Stdout => println!("it is {value}."),
        By::Stderr => eprintln!("it is {value}."),
        By::Failure => return Err(Failure::Permanent(format!("it is {value}."))),
        By::Panic => panic!("it is {value}."),
        By::Progress => progress::report(50, &format!("it is {value}.")),
        By::Result => return Ok(json!(value).to_string()),
    }
    Ok(value.len().to_string())
}

/// The names in a directory.
fn list(path: &str) -> io::Result<String> {
    let entries = fs::read_dir(path)?.flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names.join(" "))
}

fn spin(time: Duration) -> Value {
    let start = Instant::now();
    while start.elapsed() < time {
        // Many times as much work as asking for the time is.
        (0..100_000).for_each(|number| _ = black_box(number));
    }
    json!("ok")
}

/// Makes every page of `memory` real. Zeroes alone may be memory that nobody has touched.
fn touched(mut memory: Vec<u8>) -> Vec<u8> {
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    black_box(memory)
}

fn memory_until_refused() -> usize {
    let pages_of_a_mib = MIB / 65_536;
    let mut mib = 0;
    while memory_grow::<0>(pages_of_a_mib) != usize::MAX {
        mib += 1;
    }
    mib
}

/// What comes after the call, and cannot be known before it, keeps this from becoming a loop.
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    recurse(black_box(depth) + 1) ^ depth
}

#[allow(unconditional_recursion)]
fn recurse_wide(outer: &[u8; PAGE]) -> u8 {
    let mut frame = *black_box(outer);
    frame[0] ^= 1;
    recurse_wide(black_box(&frame)) ^ frame[1]
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Lines, so that a log that is kept by line has some to keep.
fn flood(mut stream: impl Write, bytes: usize) {
    let line = [[b'x'; 79].as_slice(), b"\n"].concat();
    let mut left = bytes;
    while left > 0 {
        let part = &line[..line.len().min(left)];
        // A log that takes no more is the host's business, and no reason to stop trying.
        _ = stream.write_all(part);
        left -= part.len();
    }
}

fn or_error(result: io::Result<String>) -> Value {
    result.unwrap_or_else(|error| error.to_string()).into()
}

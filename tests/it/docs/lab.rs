//! Where a chapter is tried: a shell, servers, a Redis if one is spoken of, and what stands there for
//! what the docs name.

use std::{fs, process::Output};

use sentinel_testkit::{Authority, RedisServer, free_port};

use super::{
    blocks::{Chapter, Typed},
    compose,
    mapping::{self, Counterparts, Given},
    servers::Servers,
    shell::{LONGEST, Shell, told, without_assignments},
    units,
};

const BUNDLED: &[&str] = &["example-task", "noop", "count-primes", "resize-image"];

pub(crate) struct Lab {
    shell: Shell,
    servers: Servers,
    redis: Option<RedisServer>,
    /// The ports of two API servers.
    api: [u16; 2],
    other_redis: u16,
    known: Known,
}

/// What commands told of last.
#[derive(Default)]
struct Known {
    task: String,
    key: String,
    key_id: String,
}

/// How a chapter went.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) ran: usize,
    pub(crate) failures: Vec<String>,
}

impl Lab {
    /// Types all commands of a chapter in a lab of its own.
    pub(crate) fn play_all(chapter: &Chapter<'_>) -> Played {
        let mut lab = Self::new(chapter);
        let mut played = lab.play(chapter);
        played.failures.extend(lab.end());
        played
    }

    /// Where nothing was typed yet.
    pub(crate) fn new(chapter: &Chapter<'_>) -> Self {
        let names = |word: &str| chapter.blocks.iter().any(|block| block.text.contains(word));
        let needs_redis = names("redis") || units_of(chapter).iter().any(|unit| uses_redis(unit));
        let redis =
            needs_redis.then(|| RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]));
        let (first, rest) = BUNDLED.split_at(2);
        let plugins: Vec<_> = first.iter().chain(rest.iter().filter(|job| names(job))).copied().collect();
        let api = [free_port(), free_port()];
        let shell = Shell::new(api[0], redis.as_ref().map(RedisServer::port), &plugins);
        let (servers, known) = (Servers::new(api[0]), Known::default());
        let lab = Self { shell, servers, redis, api, other_redis: free_port(), known };
        for given in givens(chapter) {
            match given {
                Given::Certificate => {
                    let issued = Authority::new().issue(&["localhost"]);
                    lab.shell.write("cert.pem", &issued.cert);
                    lab.shell.write("key.pem", &issued.key);
                }
                Given::Files(files) => {
                    for (name, text) in files {
                        lab.shell.write(name, text);
                    }
                }
                // They come later: when a command wants them.
                Given::Units(_) => {}
            }
        }
        lab
    }

    /// The first Redis and the second one.
    ///
    /// # Panics
    ///
    /// If nobody speaks of Redis.
    pub(crate) fn redis_urls(&self) -> [String; 2] {
        let redis = self.redis.as_ref().expect("a chapter that speaks of Redis");
        [redis.url(), format!("redis://127.0.0.1:{}", self.other_redis)]
    }

    /// Types the commands of a chapter, one after the other.
    pub(crate) fn play(&mut self, chapter: &Chapter<'_>) -> Played {
        let mut played = Played::default();
        let mut commands = Vec::new();
        for block in &chapter.blocks {
            match block.commands() {
                Ok(found) => commands.extend(found),
                Err(failure) => played.failures.push(failure),
            }
        }
        played.failures.extend(self.prepare(chapter, &commands).err());
        for typed in &commands {
            match self.try_one(typed) {
                Ok(ran) => played.ran += usize::from(ran),
                Err(failure) => {
                    let typed = format!("{}: `{}`", typed.place, typed.text.trim());
                    played.failures.push(format!("{typed}\n{failure}"));
                }
            }
        }
        played
    }

    /// Starts what a chapter takes for granted, unless it begins by starting servers itself.
    fn prepare(&mut self, chapter: &Chapter<'_>, commands: &[Typed]) -> Result<(), String> {
        let first = commands.iter().find(|typed| listed(&typed.text).is_none());
        let Some(first) = first.filter(|_| self.servers.is_empty()) else { return Ok(()) };
        let units = units_of(chapter);
        if !units.is_empty() {
            let starts_them = matches!(units_started(&first.text), Some(("start", _)));
            return if starts_them {
                Ok(())
            } else {
                units.iter().try_for_each(|unit| self.serve_unit(unit))
            };
        }
        if is_server(&self.counterpart(&first.text)) { Ok(()) } else { self.serve("sentinel dev") }
    }

    /// Runs a command, or looks at one that cannot run; whether it ran.
    fn try_one(&mut self, typed: &Typed) -> Result<bool, String> {
        if let Some((verb, units)) = units_started(&typed.text) {
            for unit in units {
                if verb != "start" {
                    self.servers.stop_unit(unit)?;
                }
                if verb != "stop" {
                    self.serve_unit(unit)?;
                }
            }
            return Ok(true);
        }
        if let Some(reason) = listed(&typed.text) {
            println!("{}: not run, since it {reason}: {}", typed.place, typed.text.trim());
            return self.look_at(&typed.text).map(|()| false);
        }
        if typed.text.contains("<task_id>") && self.known.task.is_empty() {
            let text = "sentinel submit example-task".to_owned();
            self.run(&Typed { place: typed.place.clone(), text, shown: Vec::new() })?;
        }
        let text = self.counterpart(&typed.text);
        self.refuse_paths_outside(&text)?;
        let command = without_assignments(&text).1;
        if is_server(&text) {
            self.serve(&text)?;
        } else if mapping::GOES_ON.iter().any(|follower| command.starts_with(follower)) {
            self.servers.follow(&text, &self.shell);
        } else {
            let program = command.split_whitespace().next().unwrap_or_default();
            let name = program.split_once('=').map_or("", |(name, _)| name);
            let is_assignment =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !program.is_empty() && !is_assignment && !mapping::RUNS.contains(&program) {
                return Err(format!("`{program}` is not known: it is neither run nor listed"));
            }
            self.run(typed)?;
        }
        Ok(true)
    }

    /// Looks at a command that is not run.
    fn look_at(&self, text: &str) -> Result<(), String> {
        let command = text.split(" #").next().unwrap_or_default().trim();
        if let Some(asked) = command.strip_prefix("cargo xtask ") {
            let usage = fs::read_to_string(super::root().join("xtask/src/main.rs")).expect("xtask");
            let name = asked.split(' ').next().unwrap_or_default();
            let is_there = usage.contains(&format!("\n  {name} "));
            return is_there.then_some(()).ok_or_else(|| format!("xtask's usage has no command {name:?}"));
        }
        if let Some(wrong) = compose::wrong(command) {
            return Err(wrong);
        }
        if without_assignments(command).1.starts_with("sentinel ") {
            let said = self.shell.run(&format!("{} --help", self.counterpart(command)));
            return said.status.success().then_some(()).ok_or_else(|| told(&said));
        }
        Ok(())
    }

    /// Runs a command to its end, and compares what the page shows of its answer.
    fn run(&mut self, typed: &Typed) -> Result<(), String> {
        let text = self.counterpart(&typed.text);
        let said = self.shell.run(&text);
        let expected = mapping::ENDS_WITH.iter().find(|(prefix, _)| typed.text.starts_with(prefix));
        let expected = expected.map_or(0, |(_, code)| *code);
        match said.status.code() {
            Some(code) if code == expected => {}
            Some(124) => {
                return Err(format!("it did not end within {LONGEST} s: does it go on?\n{}", told(&said)));
            }
            _ => return Err(format!("it was run as `{}`\n{}", text.trim(), self.why(&said))),
        }
        let stdout = String::from_utf8_lossy(&said.stdout).into_owned();
        self.known.learn(&stdout);
        let shown = typed.shown.join("\n");
        if !shows(&stdout, &shown) {
            return Err(format!("the page shows\n{shown}\nand it answered\n{stdout}"));
        }
        Ok(())
    }

    fn why(&self, said: &Output) -> String {
        let log = self.shell.log();
        let skipped = log.lines().count().saturating_sub(10);
        let end: Vec<_> = log.lines().skip(skipped).collect();
        format!("{}\nthe end of the servers' log:\n{}", told(said), end.join("\n"))
    }

    /// Types something of one's own; what it says on standard output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub(crate) fn say(&self, text: &str) -> String {
        let said = self.shell.run(text);
        assert!(said.status.success(), "{text}: {}", self.why(&said));
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Starts a server, in the place of another that listens where it does.
    pub(crate) fn serve(&mut self, text: &str) -> Result<(), String> {
        self.servers.serve(text, None, &self.shell)
    }

    /// Starts what a unit of the docs starts.
    pub(crate) fn serve_unit(&mut self, unit: &str) -> Result<(), String> {
        let text = units::command(unit).ok_or_else(|| format!("{} has no unit {unit}", mapping::UNITS))?;
        let text = self.counterpart(&text);
        self.servers.serve(&text, Some(unit), &self.shell)
    }

    /// Ends all workers.
    pub(crate) fn stop_workers(&mut self) -> Result<(), String> {
        self.servers.stop_workers()
    }

    /// Ends everything; what did not end as it should.
    pub(crate) fn end(&mut self) -> Vec<String> {
        self.servers.end()
    }

    /// The text with what stands here for what the docs name.
    pub(crate) fn counterpart(&self, text: &str) -> String {
        let redis = self.redis.as_ref();
        let stands_for = mapping::stands_for(&Counterparts {
            api: self.api,
            redis: [redis.map_or(0, RedisServer::port), self.other_redis],
            redis_dir: redis.and_then(|redis| redis.dir().to_str()).unwrap_or_default(),
            dir: self.shell.path(),
            task: &self.known.task,
            key: &self.known.key,
            key_id: &self.known.key_id,
        });
        let mut mapped = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let fits = stands_for.iter().find(|(of, _)| rest.starts_with(of));
            let (skipped, with) = fits.map_or((next.len_utf8(), None), |(of, with)| (of.len(), Some(with)));
            mapped.push_str(with.map_or(&rest[..skipped], String::as_str));
            rest = &rest[skipped..];
        }
        mapped
    }

    /// No command of a page touches anything outside of its lab.
    fn refuse_paths_outside(&self, text: &str) -> Result<(), String> {
        let redis = self.redis.as_ref().and_then(|redis| redis.dir().to_str()).unwrap_or("/dev/null");
        let ours = [self.shell.path(), redis, "/dev/null"];
        let is_ours =
            |word: &str| !word.starts_with(['/', '~']) || ours.iter().any(|dir| word.starts_with(dir));
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
        let between = |c: char| c.is_whitespace() || "'\"=@<>".contains(c);
        let outside = lines.flat_map(|line| line.split(between)).find(|word| !is_ours(word));
        outside.map_or(Ok(()), |word| {
            Err(format!("{word} is outside of the test: say in STANDS_FOR what stands for it"))
        })
    }
}

impl Known {
    /// Keeps the task and the key of which something is said.
    fn learn(&mut self, said: &str) {
        let mut words = said.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        if let Some(id) = words.clone().find(|word| word.len() == 36 && word.matches('-').count() == 4) {
            id.clone_into(&mut self.task);
        }
        let key = words.find(|word| word.starts_with("sentinel_") && word.matches('_').count() == 2);
        if let Some(key) = key {
            key.clone_into(&mut self.key);
            key.split('_').nth(1).unwrap_or_default().clone_into(&mut self.key_id);
        }
    }
}

/// What a chapter is given.
fn givens(chapter: &Chapter<'_>) -> Vec<Given> {
    let of_page: Vec<_> = mapping::GIVEN.iter().filter(|(page, ..)| *page == chapter.page).collect();
    let own: Vec<_> = of_page.iter().filter(|(_, heading, _)| *heading == Some(chapter.heading)).collect();
    let chosen = if own.is_empty() {
        of_page.iter().filter(|(_, heading, _)| heading.is_none()).collect()
    } else {
        own
    };
    chosen.iter().map(|(.., given)| *given).collect()
}

/// The units that a chapter is given.
fn units_of(chapter: &Chapter<'_>) -> Vec<&'static str> {
    let units = givens(chapter).into_iter().filter_map(|given| match given {
        Given::Units(units) => Some(units),
        _ => None,
    });
    units.flatten().copied().collect()
}

fn uses_redis(unit: &str) -> bool {
    units::command(unit).is_some_and(|text| text.contains("redis://"))
}

fn is_server(text: &str) -> bool {
    let command = without_assignments(text).1;
    let is_question = command.starts_with("sentinel worker list");
    !is_question && mapping::IS_A_SERVER.iter().any(|server| command.starts_with(server))
}

/// Why a command is not run; none: it is.
fn listed(text: &str) -> Option<&'static str> {
    let listed = mapping::LISTED.iter().find(|(prefix, _)| text.trim_start().starts_with(prefix));
    listed.map(|(_, reason)| *reason)
}

/// What systemd is asked to do with units of ours.
fn units_started(text: &str) -> Option<(&str, Vec<&str>)> {
    let command = text.split(" #").next().unwrap_or_default();
    let mut words = command.split_whitespace();
    let verb = words.by_ref().nth(1).filter(|_| command.trim_start().starts_with("systemctl "))?;
    let is_known = ["start", "stop", "restart"].contains(&verb);
    let units: Vec<_> = words.collect();
    let are_ours = !units.is_empty() && units.iter().all(|unit| units::command(unit).is_some());
    (is_known && are_ours).then_some((verb, units))
}

/// Whether an answer has what a page shows of it, in this order; `…` stands for anything.
fn shows(answer: &str, shown: &str) -> bool {
    let shown = mapping::ANY.iter().fold(shown.to_owned(), |shown, any| shown.replace(any, "…"));
    let mut rest = answer;
    shown.split(['…', '\n']).map(str::trim).filter(|piece| !piece.is_empty()).all(|piece| {
        let found = rest.find(piece).map(|at| &rest[at + piece.len()..]);
        rest = found.unwrap_or_default();
        found.is_some()
    })
}

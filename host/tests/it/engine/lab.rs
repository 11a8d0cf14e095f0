//! Where components are run: one engine, and the two runtimes that a worker has.

use std::{
    env,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use sentinel_host::{
    engine::{
        Call, Deadlines, Engine, EngineConfig, Failure, Fault, GuestTask, Interrupt, Limits, Outcome, Plugin,
        Report,
    },
    guests,
};
use tokio::runtime::{Builder, Runtime};

/// What a busy test machine may add to a deadline before a test calls it missed.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) hostile: Plugin,
    pub(crate) guests: Runtime,
    pub(crate) deadlines: Deadlines,
    _control: Runtime,
}

/// The one lab of all tests, which run beside each other in it.
pub(crate) fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let engine = Engine::new(EngineConfig::new(slots(100))).expect("an engine");
        let hostile = engine.admit(&built("hostile")).expect("hostile.wasm is admitted");
        let control = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let guests = guests::runtime(NonZeroUsize::MIN.saturating_add(1)).expect("a runtime");
        let deadlines = Deadlines::start(control.handle());
        Lab { engine, hostile, guests, deadlines, _control: control }
    })
}

pub(crate) fn slots(slots: u32) -> NonZeroU32 {
    NonZeroU32::new(slots).expect("more than none")
}

/// The file of a plugin that was built in `plugins/`.
pub(crate) fn built(name: &str) -> PathBuf {
    let dir = env::var_os("SENTINEL_TEST_PLUGINS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/target/wasm32-wasip2/release"),
        PathBuf::from,
    );
    let file = dir.join(format!("{name}.wasm"));
    assert!(
        file.exists(),
        "{} is missing: run `cargo build --release --target wasm32-wasip2` in plugins/",
        file.display()
    );
    file
}

pub(crate) fn task(payload: &str, timeout: Duration) -> GuestTask {
    GuestTask {
        id: "0198c5f0-0000-7000-8000-000000000000".into(),
        job: "hostile".into(),
        queue: "default".into(),
        priority: 0,
        attempt: 1,
        max_attempts: 3,
        timeout,
        payload: payload.into(),
    }
}

/// An attempt at the hostile job: what it is to do, as JSON fields, and under which limits.
pub(crate) struct Act {
    payload: String,
    limits: Limits,
}

/// `{"do": …}` with the fields of `act`.
pub(crate) fn act(act: &str) -> Act {
    Act { payload: format!("{{\"job\":\"hostile\",\"do\":{act}}}"), limits: Limits::default() }
}

impl Act {
    pub(crate) fn limited(mut self, limit: impl FnOnce(&mut Limits)) -> Self {
        limit(&mut self.limits);
        self
    }

    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }

    pub(crate) fn call(&self) -> Call {
        Call {
            task: task(&self.payload, self.limits.wall),
            limits: self.limits.clone(),
            progress: std::sync::Arc::default(),
            interrupt: Interrupt::new(),
            parents: None,
            durable: None,
            http_requests: 0,
            place: None,
        }
    }

    /// Runs it alone.
    pub(crate) fn run(&self) -> Report {
        lab().run(&lab().hostile, self.call())
    }

    /// Runs it alone, as another plugin.
    pub(crate) fn run_with(&self, plugin: &Plugin) -> Report {
        lab().run(plugin, self.call())
    }

    /// Runs it among ten neighbours. It must end in time, they must complete, and its plugin
    /// must run afterwards.
    pub(crate) fn run_among_neighbours(&self) -> Report {
        let lab = lab();
        let neighbours: Vec<_> = (0..10)
            .map(|number| {
                let well_behaved = if number % 2 == 0 { "\"spin\",\"ms\":20" } else { "\"sleep\",\"ms\":30" };
                lab.guests.spawn(lab.hostile.run(act(well_behaved).call(), &lab.deadlines))
            })
            .collect();
        let began = Instant::now();
        let report = self.run();
        let took = began.elapsed();
        assert!(took < self.limits.wall + MARGIN, "took {took:?} of {:?}", self.limits.wall);
        for neighbour in neighbours {
            let report = lab.guests.block_on(neighbour).expect("no panic");
            assert_eq!(report.outcome, Outcome::Completed("\"ok\"".into()));
        }
        assert_eq!(act("\"ok\"").run().outcome, Outcome::Completed("\"ok\"".into()));
        report
    }

    /// Runs it among neighbours; it must fail.
    pub(crate) fn fails(&self) -> Failure {
        failure(self.run_among_neighbours())
    }

    /// Runs it; it must complete, with this result.
    pub(crate) fn returns(&self) -> String {
        self.returns_with(&lab().hostile)
    }

    /// Runs it as another plugin; it must complete, with this result.
    pub(crate) fn returns_with(&self, plugin: &Plugin) -> String {
        match self.run_with(plugin).outcome {
            Outcome::Completed(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

impl Lab {
    pub(crate) fn run(&self, plugin: &Plugin, call: Call) -> Report {
        // A task of its own: `block_on` would poll it on the test's thread, not among the guests.
        let attempt = self.guests.spawn(plugin.run(call, &self.deadlines));
        self.guests.block_on(attempt).expect("no panic")
    }
}

pub(crate) fn failure(report: Report) -> Failure {
    match report.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.payload)
    }
}

/// That a failure is of this kind.
pub(crate) fn assert_fault(failure: &Failure, fault: Fault) {
    assert_eq!(failure.fault, fault, "{failure:?}");
}

//! What a job says of itself, if it exports `sentinel:job/describe`.
//!
//! Owns that one call: in a store of its own, with nothing granted, and little time. Does not judge
//! what is said. Invariant: whatever the guest does, the call ends.

use std::{sync::Arc, time::Duration};

use wasmtime::component::{ComponentType, Lift};

use super::{
    attempt::{self, GuestTask},
    calls::Calls,
    cpu::CpuMeter,
    effects::Buffer,
    host::{Host, Sandbox},
    interrupt::Interrupt,
    limits::Limits,
    log::LogSink,
    plugin::Plugin,
};

/// The interface. A later 0.1 matches too.
const DESCRIBE: &str = "sentinel:job/describe@0.1.0";

/// What the call may take, of the processor and in all.
const CPU: Duration = Duration::from_secs(1);
const WALL: Duration = Duration::from_secs(5);

/// What a job says of itself.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct Said {
    /// What it does.
    pub summary: String,
    /// A JSON Schema of its payload, as text.
    #[component(name = "payload-schema")]
    pub payload_schema: Option<String>,
    /// A JSON Schema of its result, as text.
    #[component(name = "result-schema")]
    pub result_schema: Option<String>,
}

impl Plugin {
    /// Asks the job what it is: nothing if it does not say, an error if it fails to. To be polled on
    /// a tokio runtime with time enabled.
    pub async fn describe(&self) -> Result<Option<Said>, String> {
        match tokio::time::timeout(WALL, self.ask()).await {
            Ok(said) => said.map_err(|error| format!("{:#}", error.root_cause())),
            Err(_) => Err(format!("it took longer than {} s", WALL.as_secs())),
        }
    }

    async fn ask(&self) -> wasmtime::Result<Option<Said>> {
        let pre = self.instance_pre();
        let component = pre.component();
        let Some((_, interface)) = component.get_export(None, DESCRIBE) else { return Ok(None) };
        let Some((_, function)) = component.get_export(Some(&interface), "describe") else { return Ok(None) };
        let limits = Limits { wall: WALL, cpu: Some(CPU), ..self.limits().clone() };
        let nobody = GuestTask {
            id: String::new(),
            job: self.name().to_string(),
            queue: String::new(),
            priority: 0,
            attempt: 0,
            max_attempts: 0,
            timeout: WALL,
            payload: String::new(),
        };
        let log = LogSink::new(0);
        let sandbox = Sandbox {
            limits: &limits,
            grants: &Arc::default(),
            task: &nobody,
            http_requests: 0,
            calls: &Calls::default(),
            scratch: None,
            log: &log,
            stdout: None,
        };
        let meter = Arc::new(CpuMeter::default());
        let host = Host::new(
            &sandbox,
            Arc::clone(&meter),
            Interrupt::new(),
            Arc::default(),
            None,
            Buffer::default(),
        )?;
        let mut store = attempt::store(self, &limits, host);
        let running = self.engine().ticker().running();
        let said = meter.measure(async {
            let instance = pre.instantiate_async(&mut store).await?;
            let function = instance.get_typed_func::<(), (Said,)>(&mut store, &function)?;
            let (said,) = function.call_async(&mut store, ()).await?;
            wasmtime::Result::Ok(Some(said))
        });
        let said = said.await;
        drop(running);
        said
    }
}

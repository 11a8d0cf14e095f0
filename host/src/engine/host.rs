//! What the host keeps of one attempt while its guest runs.
//!
//! Owns the data of the attempt's store: what the imports write to and what the epoch callback
//! reads. Does not outlive the attempt. Invariant: a guest reaches nothing of the host that is
//! not in here, and nothing in here was used by another attempt.

use std::{sync::Arc, time::Duration};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{
    cpu::CpuMeter,
    effects::Buffer,
    imports::{Parents, ProgressCell},
    interrupt::Interrupt,
    limiter::Limiter,
    limits::Limits,
    log::LogSink,
};

/// Random bytes per call. They are made at 4 ns each while no other guest runs on the thread, so
/// this much keeps it for 16 ms.
const RANDOM_BYTES: usize = 4 << 20;

/// The data of an attempt's store.
pub(crate) struct Host {
    wasi: WasiCtx,
    resources: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) meter: Arc<CpuMeter>,
    pub(crate) cpu_limit: Duration,
    pub(crate) interrupt: Interrupt,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) parents: Option<Arc<dyn Parents>>,
    pub(crate) effects: Buffer,
    /// Bytes that our own imports carried.
    pub(crate) imported_bytes: u64,
}

impl Host {
    pub(crate) fn new(
        limits: &Limits,
        meter: Arc<CpuMeter>,
        interrupt: Interrupt,
        progress: Arc<ProgressCell>,
        parents: Option<Arc<dyn Parents>>,
        effects: Buffer,
        log: &LogSink,
    ) -> Self {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(limits.handles);
        Self {
            wasi: sealed_wasi(limits, log),
            resources,
            limiter: Limiter::new(limits.memory_bytes, limits.table_elements),
            meter,
            cpu_limit: limits.cpu(),
            interrupt,
            progress,
            parents,
            effects,
            imported_bytes: 0,
        }
    }

    pub(crate) fn count_imported(&mut self, bytes: usize) {
        self.imported_bytes = self.imported_bytes.saturating_add(bytes as u64);
    }
}

/// WASI with nothing granted: no environment, no arguments, no directories, no network.
fn sealed_wasi(limits: &Limits, log: &LogSink) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(log.stdout())
        .stderr(log.stderr())
        // Without these a guest is refused each address, but gets a file descriptor per socket.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(limits.transfer_bytes.min(RANDOM_BYTES) as u64);
    wasi.build()
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

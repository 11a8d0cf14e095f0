//! What the host keeps of one attempt while its guest runs.
//!
//! Owns the data of the attempt's store: what the imports write to and what the epoch callback
//! reads. Does not outlive the attempt. Invariant: a guest reaches nothing of the host that is
//! not in here, and nothing in here was used by another attempt.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    filesystem::{FsPerms, WasiFilesystemCtxView},
    p2::pipe::MemoryInputPipe,
};

use super::{
    attempt::GuestTask,
    calls::Calls,
    cpu::CpuMeter,
    effects::Buffer,
    grants::Grants,
    imports::{Http, Parents, ProgressCell, Quota},
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
    pub(crate) http: Http,
    scratch: Option<Quota>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) limiter: Limiter,
    pub(crate) meter: Arc<CpuMeter>,
    /// None: as long as the wall time, which then is what ends the attempt.
    pub(crate) cpu_limit: Option<Duration>,
    pub(crate) interrupt: Interrupt,
    pub(crate) progress: Arc<ProgressCell>,
    pub(crate) parents: Option<Arc<dyn Parents>>,
    pub(crate) effects: Buffer,
    /// Bytes that our own imports carried.
    pub(crate) imported_bytes: u64,
}

/// What a guest gets.
pub(crate) struct Sandbox<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) grants: &'a Arc<Grants>,
    pub(crate) task: &'a GuestTask,
    /// How many HTTP requests have been numbered before this attempt.
    pub(crate) http_requests: u64,
    /// What it asks is noted there.
    pub(crate) calls: &'a Calls,
    /// Its directory, and how many bytes it may hold.
    pub(crate) scratch: Option<(&'a Path, u64)>,
    pub(crate) log: &'a LogSink,
    /// Where a command's standard output goes instead of the log.
    pub(crate) stdout: Option<&'a LogSink>,
}

impl Host {
    pub(crate) fn new(
        sandbox: &Sandbox<'_>,
        meter: Arc<CpuMeter>,
        interrupt: Interrupt,
        progress: Arc<ProgressCell>,
        parents: Option<Arc<dyn Parents>>,
        effects: Buffer,
    ) -> wasmtime::Result<Self> {
        let Sandbox { limits, grants, task, http_requests, calls, scratch, .. } = *sandbox;
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(limits.handles);
        Ok(Self {
            wasi: wasi(sandbox)?,
            resources,
            scratch: scratch.map(|(_, limit)| Quota::new(limit)),
            http: Http::new(grants, &task.id, limits, http_requests, calls),
            grants: Arc::clone(grants),
            limiter: Limiter::new(limits.memory_bytes, limits.table_elements),
            meter,
            cpu_limit: Some(limits.cpu()).filter(|cpu| *cpu < limits.wall),
            interrupt,
            progress,
            parents,
            effects,
            imported_bytes: 0,
        })
    }

    /// Bytes that crossed the boundary by imports.
    pub(crate) fn carried_bytes(&self) -> u64 {
        self.imported_bytes.saturating_add(self.http.carried_bytes())
    }

    pub(crate) fn filesystem_and_scratch(&mut self) -> (WasiFilesystemCtxView<'_>, Option<&mut Quota>) {
        let view = WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.resources };
        (view, self.scratch.as_mut())
    }

    pub(crate) fn http_and_resources(&mut self) -> (&mut Http, &mut ResourceTable) {
        (&mut self.http, &mut self.resources)
    }

    pub(crate) fn count_imported(&mut self, bytes: usize) {
        self.imported_bytes = self.imported_bytes.saturating_add(bytes as u64);
    }
}

/// WASI with no more than was granted: its own name for the first argument, no sockets.
fn wasi(sandbox: &Sandbox<'_>) -> wasmtime::Result<WasiCtx> {
    let Sandbox { limits, grants, task, scratch, log, stdout, .. } = sandbox;
    let mut wasi = WasiCtx::builder();
    wasi.arg(&task.job).args(&grants.args);
    for (name, value) in &grants.env {
        wasi.env(name, value);
    }
    if let Some((dir, _)) = scratch {
        wasi.preopened_dir(dir, "/scratch", FsPerms::ReadWrite)?;
    }
    if stdout.is_some() {
        wasi.stdin(MemoryInputPipe::new(Bytes::copy_from_slice(task.payload.as_bytes())));
    }
    wasi.stdout(stdout.unwrap_or(log).stdout())
        .stderr(log.stderr())
        // Without these a guest is refused each address, but gets a file descriptor per socket.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(limits.transfer_bytes.min(RANDOM_BYTES) as u64);
    Ok(wasi.build())
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

//! The store of `sentinel dev`, looked at without opening it to write.

use std::{path::Path, sync::Arc};

use rustix::fs::{Access, access};
use sentinel_queue::{
    Queue,
    store::embedded::{CannotRead, Embedded, ReadOnly},
};

use super::{Examined, port::Listener};
use crate::cli::finding::Finding;

pub(super) fn look(dir: &Path, listener: Listener) -> Examined {
    let only = |finding| Examined { findings: vec![finding], queue: None };
    if let Some(finding) = unwritable(dir) {
        return only(finding);
    }
    let file = dir.join(Embedded::FILE);
    if !file.exists() {
        return only(Finding::ok("store", format!("{} is made at the first start", file.display())));
    }
    match ReadOnly::open(dir) {
        Ok(store) => Examined {
            findings: vec![Finding::ok(
                "store",
                format!("{} is whole, and nobody has it open", file.display()),
            )],
            queue: Some(Queue::new(Arc::new(store))),
        },
        Err(CannotRead::Held) if listener == Listener::Sentinel => {
            only(Finding::ok("store", format!("{} is open in the server that runs", file.display())))
        }
        Err(CannotRead::Held) => only(Finding::warning(
            "store",
            format!("{} is open in another process, which does not listen here", file.display()),
            "stop that process before you start another server, or choose another --data-dir",
        )),
        Err(error @ CannotRead::NotClosed) => only(Finding::warning(
            "store",
            format!("{}: {error}", file.display()),
            "nothing is to be done, but that start takes longer",
        )),
        Err(CannotRead::Unfit(error)) => only(Finding::failed(
            "store",
            format!("{}: {error}", file.display()),
            "check that this user may read it; if it is damaged, put back a copy",
        )),
    }
}

/// What stands in the way of writing there; nothing is written to find out.
fn unwritable(dir: &Path) -> Option<Finding> {
    // What is not there is made, in the nearest that is.
    let there = dir.ancestors().find(|dir| dir.exists()).filter(|dir| !dir.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    let error = access(there, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(Finding::failed(
        "store",
        format!("data-dir: {}: {error}", there.display()),
        "let this user write there, or choose another --data-dir",
    ))
}

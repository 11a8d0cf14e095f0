//! Room on the disk of the data directory: the embedded store, compiled plugins, scratch.

use std::path::Path;

use indicatif::BinaryBytes;
use rustix::fs::statvfs;

use crate::cli::finding::Finding;

const LITTLE: u64 = 1 << 30;
const NONE: u64 = 64 << 20;

pub(super) fn look(dir: &Path) -> Finding {
    let there = dir.ancestors().find(|dir| dir.exists()).filter(|dir| !dir.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    match statvfs(there) {
        Ok(disk) => judge(dir, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::warning(
            "disk",
            format!("data-dir: {}: {error}", there.display()),
            "choose another --data-dir",
        ),
    }
}

fn judge(dir: &Path, free: u64) -> Finding {
    let says = format!("{} free for {}", BinaryBytes(free), dir.display());
    let fix = "make room, or choose another --data-dir";
    match free {
        ..NONE => Finding::failed("disk", says, fix),
        NONE..LITTLE => Finding::warning("disk", says, fix),
        _ => Finding::ok("disk", says),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;

    #[test]
    fn little_room_is_told_before_there_is_none() {
        for (free, verdict) in [(0, Verdict::Failed), (NONE, Verdict::Warning), (LITTLE, Verdict::Ok)] {
            assert_eq!(judge(Path::new("data"), free).verdict, verdict);
        }
    }
}

//! Messages between this program and the children that are the same program: each is its length and
//! itself.

use std::io::{self, Read, Write};

use rustix::process::{Pid, getppid};
use serde::{Serialize, de::DeserializeOwned};

/// What a message may have, in bytes: more than a report's log and result, or a hundred parents'
/// results, can grow to.
const MAX_MESSAGE: u32 = 256 << 20;

/// Writes a message: its length, and itself as JSON.
pub(crate) fn write_message(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    write_bytes(to, &serde_json::to_vec(message)?)
}

/// Reads a message; that there is none left is an error.
pub(crate) fn read_message<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    Ok(serde_json::from_slice(&read_bytes(from, MAX_MESSAGE)?)?)
}

/// Writes bytes, led by how many there are.
pub(crate) fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// Reads bytes, no more than `limit`.
pub(crate) fn read_bytes(from: &mut impl Read, limit: u32) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > limit {
        return Err(io::Error::other(format!("a message of {length} bytes; {limit} are allowed")));
    }
    let mut bytes = Vec::new();
    // Room is made as the bytes come, whatever was said.
    from.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(length) { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// That the process that started this one is still there: it may have died before its death was to
/// end this one, too.
pub(crate) fn check_parent(parent: u32) -> io::Result<()> {
    match getppid().map(Pid::as_raw_pid).and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) if pid == parent => Ok(()),
        _ => Err(io::Error::other("the worker that started this process is gone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_off_or_is_too_long_is_no_message() -> io::Result<()> {
        let mut pipe = Vec::new();
        write_message(&mut pipe, &"Begun")?;
        pipe.pop();
        assert!(read_message::<String>(&mut pipe.as_slice()).is_err());
        assert!(read_message::<String>(&mut [0xff; 8].as_slice()).is_err());
        assert!(read_message::<String>(&mut [].as_slice()).is_err());
        Ok(())
    }
}

//! What can be tried with a directory.

use std::{
    fs::{self, File},
    io::{self, Write},
    mem,
};

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::filesystem::preopens;

/// How the directory is filled.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fill {
    /// With one file that grows.
    OneFile,
    /// With empty files.
    EmptyFiles,
    /// With empty directories.
    Directories,
    /// With files that have lost their names and are kept open.
    Unlinked,
    /// With one file, at its far end.
    Sparse,
    /// With one file, by setting its size.
    SetSize,
    /// With files whose names are taken over.
    Renamed,
    /// With files that are removed, of so many bytes in all.
    Removed,
    /// With one file that is cut to nothing and written again.
    Truncated,
}

const MIB: usize = 1 << 20;

/// Fills `/scratch` until that fails, but at most `limit` MiB: `{"mib": …, "count": …, "error": …}`.
pub(crate) fn fill(how: Fill, limit: usize) -> Value {
    let (mut written, mut count) = (0, 0);
    let (mut one, block) = (None, vec![b'x'; MIB]);
    let error = loop {
        if written >= limit * MIB || count >= 1_000_000 {
            break None;
        }
        match step(how, count, &block, &mut one) {
            Ok(bytes) => {
                written += bytes;
                count += 1;
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    json!({ "mib": written / MIB, "count": count, "error": error })
}

fn step(how: Fill, count: usize, block: &[u8], one: &mut Option<File>) -> io::Result<usize> {
    let path = format!("/scratch/{count}");
    match how {
        Fill::OneFile => {
            if one.is_none() {
                *one = Some(File::create("/scratch/one")?);
            }
            one.as_mut().map_or(Ok(()), |file| file.write_all(block))?;
            return Ok(MIB);
        }
        Fill::EmptyFiles => {
            File::create(path)?;
            return Ok(0);
        }
        Fill::Directories => {
            fs::create_dir(path)?;
            return Ok(0);
        }
        Fill::Unlinked => {
            let mut file = File::create(&path)?;
            fs::remove_file(&path)?;
            file.write_all(block)?;
            mem::forget(file);
        }
        Fill::Sparse => {
            use io::Seek;
            let mut file = File::create("/scratch/one")?;
            file.seek(io::SeekFrom::Start((1 << (20 + count.min(30))) - 1))?;
            file.write_all(b"x")?;
            return Ok(MIB << count.min(20));
        }
        Fill::SetSize => {
            File::create("/scratch/one")?.set_len(1 << (20 + count.min(30)))?;
            return Ok(MIB << count.min(20));
        }
        Fill::Renamed => {
            fs::write(&path, block)?;
            fs::rename(&path, "/scratch/one")?;
        }
        Fill::Removed => {
            fs::write(&path, block)?;
            fs::remove_file(&path)?;
        }
        Fill::Truncated => fs::write("/scratch/one", block)?,
    }
    Ok(MIB)
}

/// Makes a link in `/scratch` that points to `to`, and reads through it; the text, or the error.
pub(crate) fn read_by_link(to: &str) -> Value {
    let directories = preopens::get_directories();
    let Some((scratch, _)) = directories.first() else { return "there is no directory".into() };
    if let Err(error) = scratch.symlink_at(to, "link") {
        return format!("no link: {error:?}").into();
    }
    fs::read_to_string("/scratch/link").unwrap_or_else(|error| error.to_string()).into()
}

//! A compressed file, uncompressed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::{Cancelled, Result};

use super::{check_ratio, check_size, Decompressor, Limits, Media, BUFFER};

/// Writes what `source` holds, uncompressed, to the new file `target`; gives
/// the number of bytes. What is not compressed is copied; what unfolds beyond
/// the limits of a layer is refused.
pub fn decompress_file(source: &Path, target: &Path, cancelled: Cancelled<'_>) -> Result<u64> {
    let name = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let (from, to) = (name(source), name(target));
    let open = |path, flags| fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600)).map(File::from);
    let mut source = open(source, OFlags::RDONLY).map_err(Error::step("open", &from))?;
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut target = open(target, new).map_err(Error::step("make", &to))?;
    let errno = |error: &std::io::Error| Errno::from_io_error(error).unwrap_or(Errno::IO);
    let mut input = vec![0; BUFFER];
    let mut output = Vec::with_capacity(4 * BUFFER);
    let mut stage: Option<Decompressor> = None;
    let limits = Limits::default();
    let (mut taken, mut written) = (0, 0);
    loop {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        // A regular file gives as much as is asked for, but for its last bytes.
        let count = match source.read(&mut input) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::step("read", &from)(errno(&error))),
        };
        taken += count as u64;
        let mut data = &input[..count];
        let stage = match &mut stage {
            Some(stage) => stage,
            None => stage.insert(Decompressor::new(Media::of(data)?)?),
        };
        if count == 0 {
            stage.finish()?;
            return Ok(written);
        }
        loop {
            let read = stage.step(data, &mut output)?;
            data = &data[read..];
            let more = !data.is_empty() || output.len() == output.capacity();
            target.write_all(&output).map_err(|error| Error::step("write", &to)(errno(&error)))?;
            written += output.len() as u64;
            check_ratio(taken, written, &limits)?;
            check_size(written, &limits)?;
            output.clear();
            if !more {
                break;
            }
        }
    }
}

//! The log format and the file that is written.
//!
//! A log is a file `path` and its rotated elders `path.1`, `path.2` and so on,
//! none longer than its bound. Each begins with [`MAGIC`] and the number of
//! output bytes that came before it (so that a follower whom rotation has
//! passed knows how much it missed), then records:
//! `time i64, length u32, stream u8, zero u8 x 3, bytes` in little endian.
//! Stream 1 is standard output or the terminal, 2 standard error, and 0 says
//! that output was lost, its 8 bytes being how many (the disk was full). Those
//! count as output bytes that came before the next file; no other record is
//! empty, so the zeroes that a power failure may leave are no records.
//!
//! The log of a container that is started again is continued: what a keeper
//! that was killed had written in part is cut off, and the offsets go on.

mod file;
#[cfg(test)]
mod tests;

pub use file::LogFile;

/// What a log file begins with; the last byte is the version.
pub const MAGIC: [u8; 8] = *b"ARDLOG\x00\x01";
/// The file's header: [`MAGIC`] and an offset.
pub const FILE_HEADER: usize = 16;
/// The record's header.
pub const RECORD_HEADER: usize = 16;
/// Smallest bound of a file that is accepted.
pub const MIN_SIZE: u64 = 256;
/// Most files of one log.
pub const MAX_FILES: u32 = 100;

/// One record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Wall clock, ns since 1970.
    pub time: i64,
    /// 1, 2, or 0 for a loss.
    pub stream: u8,
    /// What was written.
    pub data: &'a [u8],
}

/// The records of a log file's bytes and the offset it begins at. A torn tail
/// is cut.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<(u64, Vec<Record<'_>>)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (offset, mut rest) = rest.split_first_chunk::<8>()?;
    if *magic != MAGIC {
        return None;
    }
    let mut records = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let Some((time, length, stream)) = record_head(head) else { break };
        if length > after.len() {
            break;
        }
        let (data, after) = after.split_at(length);
        records.push(Record { time, stream, data });
        rest = after;
    }
    Some((u64::from_le_bytes(*offset), records))
}

/// Time, length and stream of a record's header, if it is one.
fn record_head(head: &[u8; RECORD_HEADER]) -> Option<(i64, usize, u8)> {
    let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, stream, zeroes @ ..] = *head;
    let time = i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let fits = match stream {
        0 => length == 8,
        1 | 2 => length > 0,
        _ => false,
    };
    (fits && zeroes == [0; 3]).then_some((time, length, stream))
}

fn header(offset: u64) -> Vec<u8> {
    [&MAGIC[..], &offset.to_le_bytes()].concat()
}

/// Records at the beginning of some bytes, those that are whole: header and
/// data of each.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; RECORD_HEADER], &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
        let (data, rest) = rest.split_at_checked(record_head(head)?.1)?;
        bytes = rest;
        Some((head, data))
    })
}

/// How long the whole ones are together.
fn whole_records(bytes: &[u8]) -> usize {
    records(bytes).map(|(_, data)| RECORD_HEADER + data.len()).sum()
}

/// Output bytes in a run of whole records, those included that they say were
/// lost.
fn payload(bytes: &[u8]) -> u64 {
    records(bytes).map(|(head, data)| output_bytes(head[12], data.len(), data)).sum()
}

/// Output bytes that a record stands for.
fn output_bytes(stream: u8, length: usize, data: &[u8]) -> u64 {
    match (stream, data.first_chunk::<8>()) {
        (0, Some(lost)) => u64::from_le_bytes(*lost),
        (0, None) => 0,
        _ => length as u64,
    }
}

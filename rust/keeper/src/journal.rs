//! The run folder's journal: what a keeper has launched and how it ended.
//!
//! Written so that the next engine can account for the containers of a keeper
//! that is dead: record them `lost`, or with the exit that the keeper recorded
//! before it could tell, and kill survivors through their control groups.
//!
//! The file is a header and records, each `length u32, crc32 u32, MessagePack`
//! in little endian. A torn tail is cut by the reader.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::message::Exit;

/// What a journal begins with; the last byte is the version of the records.
pub const MAGIC: [u8; 8] = *b"ARDJRNL\x01";
/// Longest record: a blob of 16 KiB, or an exit with what it carries inline.
pub const MAX_RECORD: usize = 128 * 1024;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "r", rename_all = "snake_case")]
pub enum Record {
    /// Written before anything is made for it.
    Launch {
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// The engine's own record.
        blob: ByteBuf,
        /// Parent and name of its control group.
        cgroup: Option<(String, String)>,
        /// Its scratch directory beneath `/store`.
        scratch: Option<String>,
    },
    /// The program runs.
    Started {
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// Its process id.
        pid: i32,
        /// Field 22 of /proc/PID/stat, 0 where not read.
        start_ticks: u64,
        /// Wall clock, ns since 1970.
        started_at: i64,
        /// `CLOCK_BOOTTIME`, ns.
        #[serde(default)]
        started_boot: i64,
    },
    /// The launch failed; the engine was told.
    Failed {
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
    },
    /// The program has ended.
    Exited {
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// How.
        exit: Exit,
    },
    /// The engine has these exits safe.
    Acked {
        /// (container, exec) pairs.
        ids: Vec<(String, Option<String>)>,
    },
}

/// The start of a program, as far as the journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Its process id.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat, 0 where not read.
    pub start_ticks: u64,
    /// Wall clock, ns since 1970.
    pub started_at: i64,
    /// `CLOCK_BOOTTIME`, ns.
    pub started_boot: i64,
}

/// The last known state of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Its start.
    pub started: Option<Begin>,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// A container as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The engine's own record.
    pub blob: Vec<u8>,
    /// Parent and name of its control group.
    pub cgroup: Option<(String, String)>,
    /// Its scratch directory beneath `/store`.
    pub scratch: Option<String>,
    /// Its first program.
    pub state: State,
    /// Its unacknowledged execs.
    pub execs: Vec<(String, State)>,
}

/// Appends a record's bytes.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    // Writing to a Vec does not fail, and the records hold nothing that
    // MessagePack has no form for.
    if record.serialize(&mut serializer).is_err() {
        out.truncate(start);
        return;
    }
    let length = (out.len() - start - 8) as u32;
    let crc = crc32(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The records of a journal's bytes, up to the first one that is not whole.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        return records;
    };
    while let Some((record, after)) = first(rest) {
        records.push(record);
        rest = after;
    }
    records
}

fn first(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_RECORD || length > rest.len() {
        return None;
    }
    let (body, after) = rest.split_at(length);
    if crc32(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some((rmp_serde::from_slice(body).ok()?, after))
}

/// Reads the journal of a keeper that is dead: its containers that are not
/// acknowledged, in the order of their launch. A file that does not exist is
/// an empty journal.
pub fn read_journal(path: &Path) -> io::Result<Vec<Container>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(replay(decode(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What a sequence of records comes to.
#[must_use]
pub fn replay(records: Vec<Record>) -> Vec<Container> {
    let mut containers: HashMap<String, (usize, Container)> = HashMap::new();
    let state = |containers: &mut HashMap<String, (usize, Container)>,
                 id: &str,
                 exec: Option<&str>,
                 change: &dyn Fn(&mut State)| {
        let Some((_, container)) = containers.get_mut(id) else { return };
        match exec {
            None => change(&mut container.state),
            Some(exec) => {
                if let Some((_, state)) = container.execs.iter_mut().find(|(id, _)| id == exec) {
                    change(state);
                }
            }
        }
    };
    for (order, record) in records.into_iter().enumerate() {
        match record {
            Record::Launch { id, exec: Some(exec), .. } => {
                // A compacted journal may say the same twice.
                let container = containers.get_mut(&id).map(|(_, container)| container);
                if let Some(container) = container.filter(|c| c.execs.iter().all(|(known, _)| *known != exec)) {
                    container.execs.push((exec, State::default()));
                }
            }
            Record::Launch { id, exec: None, blob, cgroup, scratch } => {
                let container = Container {
                    id: id.clone(),
                    blob: blob.into_vec(),
                    cgroup,
                    scratch,
                    state: State::default(),
                    execs: Vec::new(),
                };
                containers.insert(id, (order, container));
            }
            Record::Started { id, exec, pid, start_ticks, started_at, started_boot } => {
                state(&mut containers, &id, exec.as_deref(), &|state| {
                    state.started = Some(Begin { pid, start_ticks, started_at, started_boot });
                });
            }
            Record::Exited { id, exec, exit } => {
                state(&mut containers, &id, exec.as_deref(), &|state| state.exit = Some(exit.clone()));
            }
            Record::Failed { id, exec } => forget(&mut containers, &id, exec.as_deref()),
            Record::Acked { ids } => {
                for (id, exec) in ids {
                    forget(&mut containers, &id, exec.as_deref());
                }
            }
        }
    }
    let mut containers: Vec<_> = containers.into_values().collect();
    containers.sort_by_key(|(order, _)| *order);
    containers.into_iter().map(|(_, container)| container).collect()
}

fn forget(containers: &mut HashMap<String, (usize, Container)>, id: &str, exec: Option<&str>) {
    match exec {
        None => drop(containers.remove(id)),
        Some(exec) => {
            if let Some((_, container)) = containers.get_mut(id) {
                container.execs.retain(|(id, _)| id != exec);
            }
        }
    }
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// CRC-32 as in zip and Ethernet.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(id: &str) -> Record {
        Record::Launch {
            id: id.into(),
            exec: None,
            blob: ByteBuf::from(b"blob".to_vec()),
            cgroup: Some(("ardock-0/k1".into(), id.into())),
            scratch: None,
        }
    }

    fn exited(id: &str) -> Record {
        let exit = Exit {
            code: 3,
            signal: None,
            oom: false,
            finished_at: 9,
            stdout_total: 1,
            stderr_total: 0,
            stdout: ByteBuf::from(b"x".to_vec()),
            stderr: ByteBuf::new(),
            seq: 1,
            duration_ns: 4,
        };
        Record::Exited { id: id.into(), exec: None, exit }
    }

    #[test]
    fn crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_at_the_last_whole_record() {
        let records = [launch("a"), launch("b"), exited("a"), Record::Acked { ids: vec![("a".into(), None)] }];
        let mut bytes = MAGIC.to_vec();
        let mut ends = vec![];
        for record in &records {
            encode(record, &mut bytes);
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(decode(&bytes[..cut]), records[..whole], "cut at {cut}");
        }
        for at in MAGIC.len()..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let whole = ends.iter().filter(|end| **end <= at).count();
            assert_eq!(decode(&bad), records[..whole], "byte {at} changed");
        }
    }

    #[test]
    fn replay_keeps_what_is_not_acknowledged() {
        let exec = Record::Launch {
            id: "b".into(),
            exec: Some("e".into()),
            blob: ByteBuf::new(),
            cgroup: None,
            scratch: None,
        };
        let started =
            Record::Started { id: "b".into(), exec: None, pid: 7, start_ticks: 8, started_at: 9, started_boot: 10 };
        let left = replay(vec![
            launch("c"),
            launch("a"),
            launch("b"),
            exited("a"),
            started,
            exec,
            exited("c"),
            Record::Acked { ids: vec![("a".into(), None)] },
            launch("d"),
            Record::Failed { id: "d".into(), exec: None },
        ]);
        assert_eq!(left.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(left[0].state.exit.as_ref().map(|exit| exit.code), Some(3));
        let begin = Begin { pid: 7, start_ticks: 8, started_at: 9, started_boot: 10 };
        assert_eq!(left[1].state, State { started: Some(begin), exit: None });
        assert_eq!(left[1].execs, [("e".to_string(), State::default())]);
    }
}

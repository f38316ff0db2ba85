//! Taking in a launch or an exec: what is refused at once, and what stands in
//! the tables and the journal before a launcher hears of it.

use std::os::fd::OwnedFd;
use std::time::Instant;

use serde_bytes::ByteBuf;

use crate::core::Keeper;
use crate::journal::Record;
use crate::log;
use crate::message::Reply;
use crate::pool::{Job, MAX_HELD};
use crate::pump::MAX_TAPS;
use crate::requests::{not_found, refuse, Refusal};
use crate::server::PacketFds;
use crate::slab::Key;
use crate::unit::{Phase, Unit, MAX_ATTACHED, MAX_DESCRIPTORS, MAX_EXECS};
use crate::wire::{self, GlanceScratch, RawLaunch, WireError};

/// A launch's deadline where the spec says 0, and the longest, ms.
const DEADLINE: u32 = 10_000;
const MAX_DEADLINE: u32 = 600_000;

impl Keeper {
    /// `launch` and `exec`.
    pub(crate) fn launch(
        &mut self,
        connection: Key,
        raw: &RawLaunch<'_>,
        fds: &mut PacketFds,
        since: Instant,
    ) -> Result<(), WireError> {
        let fds = fds.take(raw.fds)?;
        if let Err((code, message)) = self.admit(connection, raw, fds, since) {
            self.reply(connection, Reply::Error { req: raw.req, code: code.into(), message }, Vec::new());
        }
        Ok(())
    }

    fn admit(
        &mut self,
        connection: Key,
        raw: &RawLaunch<'_>,
        fds: Vec<OwnedFd>,
        since: Instant,
    ) -> Result<(), Refusal> {
        let glance = wire::glance(raw.spec).map_err(|error| ("invalid", format!("the spec: {error}")))?;
        let held = self.pool.held();
        if held >= MAX_HELD {
            return refuse("busy", format!("{held} launches before this one hang in the kernel"));
        }
        if self.descriptors.capacity() == 0 {
            return refuse("busy", "the keeper's descriptors are used up; start another keeper");
        }
        let attach = raw.output.attach && !raw.output.direct;
        if attach && self.taps.len() >= MAX_TAPS {
            return refuse("busy", format!("{MAX_TAPS} readers are attached; start another keeper"));
        }
        let log = raw.output.log.clone();
        if log
            .as_ref()
            .is_some_and(|log| log.max_size < log::MIN_SIZE || log.max_files == 0 || log.max_files > log::MAX_FILES)
        {
            return refuse("invalid", "a log has at least 256 bytes a file and 1 to 100 files");
        }
        let container = match raw.exec {
            None if self.ids.contains_key(raw.id) => {
                return refuse("exists", format!("there is a container {}", raw.id))
            }
            None => None,
            Some(exec) => {
                let Some(&key) = self.ids.get(raw.id) else { return not_found(raw.id, None) };
                let unit = self.units.get(key).filter(|unit| unit.is_running());
                let Some(unit) = unit else {
                    return refuse("not_running", format!("container {} does not run", raw.id));
                };
                if unit.execs.len() >= MAX_EXECS {
                    return refuse("busy", format!("container {} has {MAX_EXECS} execs", raw.id));
                }
                if self.find(raw.id, Some(exec)).is_some() {
                    return refuse("exists", format!("there is an exec {exec} of container {}", raw.id));
                }
                Some(key)
            }
        };
        let scratch = Self::own_scratch(&glance.root.scratch)?;
        let cgroup = match glance.cgroup {
            // Clean-up touches only what is this engine's.
            Some(cgroup) if !self.config.owns_cgroup(&cgroup.parent) => {
                return refuse("invalid", format!("control group {} is not this engine's", cgroup.parent));
            }
            cgroup => cgroup.map(|cgroup| (cgroup.parent, cgroup.name)),
        };
        let mut unit = Unit {
            id: raw.id.into(),
            exec: raw.exec.map(Into::into),
            container,
            execs: Vec::new(),
            blob: raw.blob.to_vec(),
            owner: Some(connection),
            asked_by: connection,
            req: raw.req,
            phase: Phase::Queued,
            started: None,
            exit: None,
            recorded: false,
            told_start: false,
            told_end: false,
            to_tell: false,
            acked: false,
            hold_ms: raw.hold_ms,
            signal: None,
            since,
            waited: 0,
            pid: 0,
            pidfd: None,
            mount_ns: None,
            cgroup,
            scratch,
            shared_pids: raw.exec.is_none() && !glance.namespaces.pid.is_new(),
            output: raw.output.clone(),
            log: None,
            log_full: false,
            awaits_log: false,
            stdin: None,
            terminal: false,
            streams: [None, None],
            handed: false,
            watch_oom: raw.watch_oom && raw.exec.is_none(),
            oom_watch: None,
            oom_kills: 0,
            told_kills: 0,
            attached: Vec::new(),
            reserved: 0,
        };
        let most = MAX_DESCRIPTORS + if attach { MAX_ATTACHED } else { 0 };
        self.descriptors.set(&mut unit.reserved, most);
        self.journal.push(&Record::Launch {
            id: unit.id.clone(),
            exec: unit.exec.clone(),
            blob: ByteBuf::from(unit.blob.clone()),
            cgroup: unit.cgroup.clone(),
            scratch: unit.scratch.clone(),
        });
        let key = self.units.insert(unit);
        if let Some(log) = log {
            let log = self.writers.open(key, log);
            if let Some(unit) = self.units.get_mut(key) {
                unit.log = Some(log);
            }
        }
        match container.and_then(|key| self.units.get_mut(key)) {
            Some(container) => container.execs.push(key),
            None => drop(self.ids.insert(raw.id.into(), key)),
        }
        let deadline_ms = if glance.deadline_ms == 0 { DEADLINE } else { glance.deadline_ms.min(MAX_DEADLINE) };
        let ticket = self.journal.next_ticket();
        self.pool.enqueue(Job { unit: key, spec: raw.spec.to_vec(), fds, deadline_ms, ticket });
        Ok(())
    }

    /// A scratch directory that goes with its container, as a path beneath the
    /// store. Only below `scratch` does the keeper remove anything; one that is
    /// kept may lie anywhere in the store, and is none of the keeper's.
    fn own_scratch(scratch: &GlanceScratch) -> Result<Option<String>, Refusal> {
        let Some(dir) = &scratch.dir else { return Ok(None) };
        let plain = |path: &&str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let path = dir.strip_prefix("/store/").filter(plain);
        match path.filter(|path| scratch.keep || path.starts_with("scratch/")) {
            Some(_) if scratch.keep => Ok(None),
            Some(path) => Ok(Some(path.into())),
            None if scratch.keep => refuse("invalid", "a scratch directory lies below /store"),
            None => refuse("invalid", "a scratch directory lies below /store/scratch"),
        }
    }
}

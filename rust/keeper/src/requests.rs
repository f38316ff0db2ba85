//! What each request does.

use std::os::fd::{AsFd, OwnedFd};

use ardock_launch::cgroup::Hierarchies;
use rustix::io::Errno;
use rustix::process::{pidfd_send_signal, Signal};
use rustix::termios::{tcsetwinsize, Winsize};
use serde_bytes::ByteBuf;

use crate::core::Keeper;
use crate::journal::Record;
use crate::message::{Fds, Reply, Request, MAX_PACKET, VERSION};
use crate::pool::WINDOW;
use crate::pump::MAX_TAPS;
use crate::server::PacketFds;
use crate::signals;
use crate::slab::Key;
use crate::unit::{Phase, Unit};
use crate::wire::WireError;

/// Seccomp programs that are kept, and bytes of one (4,096 instructions).
const MAX_PROGRAMS: usize = 256;
const MAX_PROGRAM: usize = 4096 * 8;
/// Bytes of a `piece`.
const PIECE: usize = MAX_PACKET - 1024;

/// Why a request is refused: a code and a sentence.
pub(crate) type Refusal = (&'static str, String);

pub(crate) fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, message.into()))
}

/// Sends a signal to a program. A profile of AppArmor's that says nothing of
/// signals keeps even root's away, and its container must end all the same:
/// `group` is killed then, where it is of version 2.
pub(crate) fn send(
    cgroups: &Hierarchies,
    pidfd: &OwnedFd,
    signal: Signal,
    group: Option<&(String, String)>,
) -> Result<(), Errno> {
    match (pidfd_send_signal(pidfd, signal), group) {
        (Err(Errno::ACCESS), Some((parent, name))) if signal == Signal::KILL && cgroups.kill_at_once(parent, name) => {
            Ok(())
        }
        (sent, _) => sent,
    }
}

fn explained(error: Errno) -> String {
    if error == Errno::ACCESS {
        // Root may signal everything else.
        return "its AppArmor profile keeps signals away: it needs the rule `signal (receive) peer=unconfined,`".into();
    }
    error.to_string()
}

impl Keeper {
    pub(crate) fn hello(&mut self, key: Key, version: u32) -> Result<(), WireError> {
        if version != VERSION {
            let message = format!("this keeper speaks version {VERSION}, not {version}");
            self.reply(key, Reply::Error { req: 0, code: "version".into(), message }, Vec::new());
            return Err(WireError::Expected("another version"));
        }
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        connection.greeted = true;
        self.served = true;
        let reply = Reply::Welcome {
            version: VERSION,
            pid: std::process::id() as i32,
            window: WINDOW as u32,
            capacity: self.descriptors.capacity(),
            containers: self.ids.len() as u32,
            next_root: self.roots.next(),
        };
        self.reply(key, reply, Vec::new());
        Ok(())
    }

    /// A container or exec that is known.
    pub(crate) fn find(&self, id: &str, exec: Option<&str>) -> Option<Key> {
        let container = *self.ids.get(id)?;
        let Some(exec) = exec else { return Some(container) };
        let execs = &self.units.get(container)?.execs;
        execs.iter().copied().find(|key| self.units.get(*key).is_some_and(|unit| unit.exec.as_deref() == Some(exec)))
    }

    /// Every other request.
    pub(crate) fn request(&mut self, connection: Key, request: Request, fds: &mut PacketFds) -> Result<(), WireError> {
        let (req, answer) = match request {
            Request::Hello { .. } => return Err(WireError::Expected("`hello` once")),
            Request::Sealed {} => return Err(WireError::Expected("`sealed` alone in its packet")),
            Request::Launch { .. } | Request::Exec { .. } => return Err(WireError::Expected("the tag `t` first")),
            Request::Program { hash, code } => (0, self.program(hash, code.into_vec())),
            Request::Root { key, fds: share } => {
                let mut mount = fds.take(share)?;
                let mount = mount.pop().filter(|_| mount.is_empty());
                (0, self.root(connection, key, mount))
            }
            Request::Unroot { key } => {
                self.roots.remove(key);
                (0, self.home.remove_root(key).map(|()| None).map_err(|error| ("system", error.to_string())))
            }
            Request::Signal { req, id, exec, signal } => {
                (req, self.signal(&id, exec.as_deref(), signal).map(done(req)))
            }
            Request::Resize { req, id, exec, rows, cols } => {
                (req, self.resize(&id, exec.as_deref(), rows, cols).map(done(req)))
            }
            Request::CloseStdin { req, id, exec } => (req, self.close_stdin(&id, exec.as_deref()).map(done(req))),
            Request::Attach { req, id, exec } => (req, self.attach(connection, req, &id, exec.as_deref())),
            Request::List { req } => (req, self.list(connection, req)),
            Request::Captured { req, id, exec, stream, offset } => {
                (req, self.captured(req, &id, exec.as_deref(), stream, offset))
            }
            Request::Ack { ids } => {
                self.ack(ids);
                return Ok(());
            }
            Request::Info { req } => (req, Ok(Some((self.info(req), Vec::new())))),
        };
        match answer {
            Ok(Some((reply, fds))) => self.reply(connection, reply, fds),
            Ok(None) => {}
            Err((code, message)) => {
                self.reply(connection, Reply::Error { req, code: code.into(), message }, Vec::new());
            }
        }
        Ok(())
    }

    fn program(&mut self, hash: String, code: Vec<u8>) -> Answer {
        if hash.len() != 64 || code.is_empty() || code.len() > MAX_PROGRAM || !code.len().is_multiple_of(8) {
            return refuse("invalid", "a seccomp program has a SHA-256 and 1 to 4,096 instructions");
        }
        if self.pool.programs.iter().any(|(known, _)| *known == hash) {
            return Ok(None);
        }
        if self.pool.programs.len() >= MAX_PROGRAMS {
            return refuse("busy", format!("the keeper has {MAX_PROGRAMS} seccomp programs"));
        }
        self.pool.programs.push((hash, code));
        Ok(None)
    }

    fn root(&mut self, connection: Key, key: u32, mount: Option<OwnedFd>) -> Answer {
        let Some(mount) = mount else { return refuse("invalid", "a root is one descriptor") };
        self.home.add_root(key, mount.as_fd()).map_err(|error| ("system", error.to_string()))?;
        self.roots.add(key, connection);
        Ok(None)
    }

    fn signal(&mut self, id: &str, exec: Option<&str>, number: i32) -> Result<(), Refusal> {
        let Some(signal) = signals::from_number(number) else {
            return refuse("invalid", format!("there is no signal {number}"));
        };
        let Some(key) = self.find(id, exec) else { return not_found(id, exec) };
        let Some(unit) = self.units.get_mut(key) else { return not_found(id, exec) };
        match (&unit.phase, &unit.pidfd) {
            (Phase::Running, Some(pidfd)) => {
                // An exec has no group of its own.
                send(self.home.cgroups(), pidfd, signal, unit.cgroup.as_ref())
                    .map_err(|error| ("system", explained(error)))?;
            }
            // It is sent once there is somebody to send it to; a KILL is
            // never replaced by a milder one.
            (Phase::Queued | Phase::Launching, _) => {
                let killed = unit.signal == Some(Signal::KILL.as_raw());
                unit.signal = Some(if killed { Signal::KILL.as_raw() } else { number });
            }
            _ => return refuse("not_running", format!("{} does not run", name(id, exec))),
        }
        Ok(())
    }

    fn resize(&mut self, id: &str, exec: Option<&str>, rows: u16, cols: u16) -> Result<(), Refusal> {
        let Some(key) = self.find(id, exec) else { return not_found(id, exec) };
        let unit = self.units.get(key).filter(|unit| unit.terminal);
        let terminal = unit.and_then(|unit| unit.streams[0].as_ref()?.fd.as_ref());
        let Some(terminal) = terminal else {
            return refuse("invalid", format!("{} has no terminal", name(id, exec)));
        };
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal, size).map_err(|error| ("system", error.to_string()))?;
        Ok(())
    }

    fn close_stdin(&mut self, id: &str, exec: Option<&str>) -> Result<(), Refusal> {
        let Some(key) = self.find(id, exec) else { return not_found(id, exec) };
        if let Some(unit) = self.units.get_mut(key) {
            if unit.stdin.take().is_some() {
                self.descriptors.free(&mut unit.reserved, 1);
            }
        }
        Ok(())
    }

    fn attach(&mut self, connection: Key, req: u64, id: &str, exec: Option<&str>) -> Answer {
        let Some(key) = self.find(id, exec) else { return not_found(id, exec) };
        let Some(unit) = self.units.get_mut(key) else { return not_found(id, exec) };
        if matches!(unit.phase, Phase::Queued | Phase::Launching | Phase::Failed(_)) {
            return refuse("not_running", format!("{} does not run yet", name(id, exec)));
        }
        let failed = |error: rustix::io::Errno| ("system", error.to_string());
        if unit.output.direct {
            // Whoever has the descriptors reads them; two readers would each
            // get half.
            unit.owner = Some(connection);
            unit.handed = true;
            self.watch_stream(key, 0);
            self.watch_stream(key, 1);
            let (streams, fds) = self.direct_fds(key).map_err(failed)?;
            return Ok(Some(attached(req, streams, fds)));
        }
        if self.taps.len() >= MAX_TAPS {
            return refuse("busy", format!("{MAX_TAPS} readers are attached"));
        }
        let (streams, fds) = self.readers(key).map_err(failed)?;
        Ok(Some(attached(req, streams, fds)))
    }

    /// A copy of a unit's input, and pipes that get a copy of its output from
    /// now on, with which they are.
    pub(crate) fn readers(&mut self, key: Key) -> Result<(u8, Vec<OwnedFd>), rustix::io::Errno> {
        let (mut streams, mut fds) = (0, Vec::new());
        let Some(unit) = self.units.get(key) else { return Ok((streams, fds)) };
        let terminal = unit.streams[0].as_ref().filter(|_| unit.terminal).and_then(|stream| stream.fd.as_ref());
        if let Some(input) = terminal.or(unit.stdin.as_ref()) {
            streams |= 1;
            fds.push(rustix::io::fcntl_dupfd_cloexec(input, 0)?);
        }
        for (index, bit) in [(0, 2), (1, 4)] {
            if self.units.get(key).is_some_and(|unit| unit.streams[index].is_some()) {
                fds.push(self.tap(key, index)?);
                streams |= bit;
            }
        }
        Ok((streams, fds))
    }

    /// Copies of a unit's own descriptors, and which they are.
    pub(crate) fn direct_fds(&self, key: Key) -> Result<(u8, Vec<OwnedFd>), rustix::io::Errno> {
        let Some(unit) = self.units.get(key) else { return Ok((0, Vec::new())) };
        let stream = |index: usize| unit.streams[index].as_ref().and_then(|stream| stream.fd.as_ref());
        let all = [(1, unit.stdin.as_ref()), (if unit.terminal { 8 } else { 2 }, stream(0)), (4, stream(1))];
        let (mut streams, mut fds) = (0, Vec::new());
        for (bit, fd) in all {
            if let Some(fd) = fd {
                streams |= bit;
                fds.push(rustix::io::fcntl_dupfd_cloexec(fd, 0)?);
            }
        }
        Ok((streams, fds))
    }

    fn list(&mut self, connection: Key, req: u64) -> Answer {
        // Whoever asks what there is takes over what nobody has.
        for key in self.units.keys() {
            let orphaned = |unit: &&mut Unit| unit.owner.is_none() && !matches!(unit.phase, Phase::Lingering);
            if let Some(unit) = self.units.get_mut(key).filter(orphaned) {
                unit.owner = Some(connection);
                unit.req = 0;
            }
        }
        let Some(connection) = self.connections.get_mut(connection) else { return Ok(None) };
        if connection.listing.is_some() {
            return refuse("busy", "a list is under way");
        }
        connection.listing = Some((req, 0));
        Ok(None)
    }

    fn captured(&self, req: u64, id: &str, exec: Option<&str>, stream: u8, offset: u64) -> Answer {
        let Some(unit) = self.find(id, exec).and_then(|key| self.units.get(key)) else { return not_found(id, exec) };
        let Some(index) = stream.checked_sub(1).map(usize::from).filter(|index| *index < 2) else {
            return refuse("invalid", "stream is 1 or 2");
        };
        let captured = unit.streams[index].as_ref().map_or(&[][..], |stream| &stream.captured);
        let start = (offset as usize).min(captured.len());
        let end = (start + PIECE).min(captured.len());
        Ok(Some((Reply::Piece { req, data: ByteBuf::from(captured[start..end].to_vec()) }, Vec::new())))
    }

    fn ack(&mut self, ids: Vec<(String, Option<String>)>) {
        let known: Vec<_> = ids.into_iter().filter(|(id, exec)| self.acknowledge(id, exec.as_deref())).collect();
        if !known.is_empty() {
            self.journal.push(&Record::Acked { ids: known });
        }
    }

    fn info(&self, req: u64) -> Reply {
        let counters = &self.counters;
        let pool = &self.pool;
        let all = [
            ("containers", self.ids.len() as u64),
            ("units", self.units.len() as u64),
            ("capacity", u64::from(self.descriptors.capacity())),
            ("queued", pool.queue.len() as u64),
            ("launchers", pool.launchers.len() as u64),
            ("launchers_idle", pool.idle.len() as u64),
            ("launchers_held", pool.held() as u64),
            ("orphans", self.orphans.len() as u64),
            ("roots", self.roots.len() as u64),
            ("attached", self.taps.len() as u64),
            ("lingering", self.lingering as u64),
            ("captured_bytes", self.captures.used as u64),
            ("dying", self.janitor.dying() as u64),
            ("given_up", self.janitor.given_up()),
            ("journal_bytes", self.journal.size()),
            ("journal_in_memory", u64::from(self.journal.is_in_memory())),
            ("write_errors", self.journal.errors + self.writers.errors()),
            ("started", counters.started),
            ("failed", counters.failed),
            ("late", counters.late),
            ("exits", counters.exits),
            ("faults", counters.faults),
            ("wakeups", counters.wakeups),
            ("packets", counters.packets),
            // A score is -1000 to 1000; told as its distance from -1000.
            ("oom_score_adj_above_lowest", self.config.oom_score_above_lowest),
        ];
        Reply::Info { req, counters: all.into_iter().map(|(name, value)| (name.to_string(), value)).collect() }
    }
}

/// An answer with its descriptors, if there is one to be given now.
type Answer = Result<Option<(Reply, Vec<OwnedFd>)>, Refusal>;

/// The answer to what has none but that it was done.
fn done(req: u64) -> impl FnOnce(()) -> Option<(Reply, Vec<OwnedFd>)> {
    move |()| Some((Reply::Done { req }, Vec::new()))
}

fn attached(req: u64, streams: u8, fds: Vec<OwnedFd>) -> (Reply, Vec<OwnedFd>) {
    let count = fds.len() as u32;
    (Reply::Attached { req, streams, fds: Fds(0, count) }, fds)
}

fn name(id: &str, exec: Option<&str>) -> String {
    exec.map_or_else(|| format!("container {id}"), |exec| format!("exec {exec} of container {id}"))
}

pub(crate) fn not_found<T>(id: &str, exec: Option<&str>) -> Result<T, Refusal> {
    refuse("not_found", format!("there is no {}", name(id, exec)))
}

//! A program that the keeper is the parent of: a container's first process, or
//! one that an exec has joined to it. Data only; what happens to it is in
//! `pool`, `exits`, `pump` and `tell`.

use std::os::fd::OwnedFd;
use std::time::Instant;

use ardock_launch::cgroup::OomWatch;
use ardock_launch::LaunchError;
use serde_bytes::ByteBuf;

use crate::message::{Exit, Output, Started};
use crate::pump::Stream;
use crate::slab::Key;
use crate::writers::LogHandle;

/// Captured bytes that an exit message and its record carry; the rest is
/// fetched. Both streams, a blob and the execs of a list entry fit a packet.
pub const INLINE_CAPTURE: usize = 12 * 1024;
/// Most bytes captured of a stream, whatever the engine asks for.
pub const MAX_CAPTURE: u64 = 64 * 1024 * 1024;
/// Execs of one container that run or are not acknowledged.
pub const MAX_EXECS: usize = 64;
/// Descriptors that a unit may come to hold: pidfd, mount namespace, three
/// streams, a log, the OOM notice.
pub const MAX_DESCRIPTORS: u32 = 7;
/// And with `attach`, for a while: a copy of the input, two pipes.
pub const MAX_ATTACHED: u32 = 5;

/// Where a unit is in its life. `Queued`, `Launching`, `Running`, `Ended` in
/// this order, or `Failed` after the first or second; `Lingering` is an
/// acknowledged one whose pipes others still hold.
#[derive(Debug)]
pub enum Phase {
    /// Waiting for a launcher.
    Queued,
    /// In a launcher's hands.
    Launching,
    /// It runs.
    Running,
    /// It has ended; `exit` is set.
    Ended,
    /// It never ran; to be told.
    Failed(Box<LaunchError>),
    /// Forgotten but for output of its descendants.
    Lingering,
}

/// See the module.
#[derive(Debug)]
pub struct Unit {
    /// The container's id.
    pub id: String,
    /// The exec's own id.
    pub exec: Option<String>,
    /// For an exec: its container's unit.
    pub container: Option<Key>,
    /// For a container: its execs.
    pub execs: Vec<Key>,
    /// The engine's own record.
    pub blob: Vec<u8>,
    /// The connection that is told of it.
    pub owner: Option<Key>,
    /// The connection that asked for it: its roots stay until it is launched.
    pub asked_by: Key,
    /// The call's number on that connection, 0 on an adopting one.
    pub req: u64,
    /// Where it is.
    pub phase: Phase,
    /// Details of the start.
    pub started: Option<Started>,
    /// Details of the end.
    pub exit: Option<Exit>,
    /// The exit's record is where it belongs, so it may be told.
    pub recorded: bool,
    /// The engine was told of the start.
    pub told_start: bool,
    /// The engine was told of the end.
    pub told_end: bool,
    /// It stands in its owner's list of what is to be told.
    pub to_tell: bool,
    /// The engine has acknowledged the exit, but execs are left.
    pub acked: bool,
    /// How long the start may be held back, ms.
    pub hold_ms: u32,
    /// A signal that came before it ran.
    pub signal: Option<i32>,
    /// When it was asked for.
    pub since: Instant,
    /// How long it waited for a launcher, µs.
    pub waited: u32,
    /// The process.
    pub pid: i32,
    /// The process, unmistakably.
    pub pidfd: Option<OwnedFd>,
    /// Held so that the exit does not wait for the unmounting (DESIGN 3, 10).
    pub mount_ns: Option<OwnedFd>,
    /// Parent and name of its control group.
    pub cgroup: Option<(String, String)>,
    /// Its scratch directory, beneath the store.
    pub scratch: Option<String>,
    /// Its process id namespace goes on without it.
    pub shared_pids: bool,
    /// What becomes of its output.
    pub output: Output,
    /// Its log.
    pub log: Option<LogHandle>,
    /// The log's queue is full: its pipes are left alone.
    pub log_full: bool,
    /// It has ended, but its log is not written yet; the exit waits for that.
    pub awaits_log: bool,
    /// The pipe to its standard input.
    pub stdin: Option<OwnedFd>,
    /// It has a terminal, which is the first of `streams`.
    pub terminal: bool,
    /// Standard output (or the terminal), standard error.
    pub streams: [Option<Stream>; 2],
    /// Its owner has its descriptors (`direct`) and reads them.
    pub handed: bool,
    /// Kills for want of memory are to be told while it runs.
    pub watch_oom: bool,
    /// The kernel's notice of them.
    pub oom_watch: Option<OomWatch>,
    /// How many there were.
    pub oom_kills: u64,
    /// How many of them the engine was told of.
    pub told_kills: u64,
    /// What `attach` brings, until its owner is told of the start.
    pub attached: Vec<OwnedFd>,
    /// Descriptors counted for it.
    pub reserved: u32,
}

impl Unit {
    /// Whether the program is there to be signalled.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether the program has ended, and all that is left is to be told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Failed(_)) && self.exit.is_some()
    }

    /// Descriptors that it holds.
    #[must_use]
    pub fn descriptors(&self) -> u32 {
        let one = [
            self.pidfd.is_some(),
            self.mount_ns.is_some(),
            self.stdin.is_some(),
            self.log.is_some(),
            self.oom_watch.is_some(),
        ];
        let one = one.into_iter().filter(|is| *is).count();
        (one + self.streams.iter().flatten().count() + self.attached.len()) as u32
    }

    /// What of a stream's capture goes inline.
    #[must_use]
    pub fn inline(&self, stream: usize) -> ByteBuf {
        let captured = self.streams[stream].as_ref().map_or(&[][..], |stream| &stream.captured);
        ByteBuf::from(captured[..captured.len().min(INLINE_CAPTURE)].to_vec())
    }

    /// The exit for a list entry, an exec's without its output.
    #[must_use]
    pub fn exit_without_output(&self) -> Option<Exit> {
        let mut exit = self.exit.clone().filter(|_| self.recorded)?;
        exit.stdout = ByteBuf::new();
        exit.stderr = ByteBuf::new();
        Some(exit)
    }
}

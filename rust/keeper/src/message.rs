//! The messages between an engine and a keeper.
//!
//! A packet of the SEQPACKET socket is one MessagePack *array* of messages,
//! 64 KiB and 64 descriptors at most. Each message is a map tagged by `t`.
//! Descriptors are numbered through the packet; a message that carries some
//! says which (`fds`: first index and count; the indices inside its spec
//! count from that first one). A packet that does not fit travels as a single
//! `sealed` message whose one leading descriptor is a sealed memfd with the
//! array in it (16 MiB at most); the remaining descriptors are that array's.

use ardock_launch::{ExecSpec, LaunchError, LaunchSpec, Timings};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The version of this protocol and of the records; a keeper speaks exactly
/// one, an engine all earlier ones.
pub const VERSION: u32 = 1;
/// Largest packet in bytes.
pub const MAX_PACKET: usize = 64 * 1024;
/// Most descriptors in a packet.
pub const MAX_FDS: usize = 64;
/// Largest blob of the engine's for one container, in bytes.
pub const MAX_BLOB: usize = 16 * 1024;
/// Largest array in a sealed memfd, in bytes.
pub const MAX_SEALED: usize = 16 * 1024 * 1024;

/// A message's share of its packet's descriptors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fds(pub u32, pub u32);

/// What becomes of one output stream of a container besides attachments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// Keep up to this many bytes a stream in memory for the exit message.
    pub capture: Option<u64>,
    /// Write both streams to a log.
    pub log: Option<Log>,
    /// Hand the engine the pipes' (or terminal's) own descriptors in
    /// `started`; the keeper keeps a copy and reads only once no engine is
    /// connected. The reading ends are non-blocking.
    pub direct: bool,
    /// Attached from the first byte on; not looked at with `direct`. `started`
    /// (or `ended`, if that is told first) brings what `attach` would bring,
    /// in its order: the input if there is one (a copy of the pipe to standard
    /// input, or of the terminal, for writing and for its size), then a fresh
    /// pipe for each output pipe of the spec (standard output or the terminal,
    /// standard error). How many they are follows from the spec alone. The
    /// keeper copies all output to them besides log and capture, at their
    /// reader's pace; a reader that goes away is dropped and the program goes
    /// on. An engine that has taken over from a lost one is brought nothing.
    /// All these descriptors are blocking; the input shares its flags with
    /// the keeper's own.
    pub attach: bool,
}

/// A container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Path beneath the store (the engine's root folder); its folder exists.
    pub path: String,
    /// Rotate past this many bytes.
    pub max_size: u64,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
}

/// From the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// First message of a connection; answered by `welcome` or `error`.
    Hello {
        /// Protocol version.
        version: u32,
    },
    /// The packet is in a sealed memfd.
    Sealed {},
    /// A seccomp program under its hash. No answer but `error`.
    Program {
        /// SHA-256 of the code, hexadecimal.
        hash: String,
        /// `struct sock_filter` array.
        code: ByteBuf,
    },
    /// Keep a detached mount at `/roots/<key>`. No answer but `error`. It is
    /// let go of when the connection that brought it ends, after the launches
    /// that this one had asked for.
    Root {
        /// The engine's name for it.
        key: u32,
        /// One descriptor.
        fds: Fds,
    },
    /// Let go of it. No answer but `error`.
    Unroot {
        /// The name.
        key: u32,
    },
    /// Launch a container; answered by `started`, `ended` or `failed`.
    Launch {
        /// The call's number.
        req: u64,
        /// The container's id: 1 to 64 characters of `[a-z0-9]`.
        id: String,
        /// Everything else.
        spec: Box<LaunchSpec>,
        /// What to do with its output.
        output: Output,
        /// The engine's own record, opaque.
        blob: ByteBuf,
        /// Descriptors of the spec.
        fds: Fds,
        /// `started` may be told so many ms late (1,000 at most), so that the
        /// end of a short program comes in the same message. 0: at once.
        #[serde(default)]
        hold_ms: u32,
        /// Tell by `oom` when the kernel kills a process of the container for
        /// want of memory, while it runs.
        #[serde(default)]
        watch_oom: bool,
    },
    /// Join a program to a container; answered like `launch`. Its exit is
    /// told with `exec` set.
    Exec {
        /// The call's number.
        req: u64,
        /// The container.
        id: String,
        /// The exec's own id.
        exec: String,
        /// The program.
        spec: Box<ExecSpec>,
        /// What to do with its output.
        output: Output,
        /// Descriptors of the spec.
        fds: Fds,
        /// As for `launch`.
        #[serde(default)]
        hold_ms: u32,
    },
    /// Send a signal to PID 1 of a container (or an exec's program).
    Signal {
        /// The call's number; answered by `done` or `error`.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// Signal number.
        signal: i32,
    },
    /// Set the terminal's size.
    Resize {
        /// The call's number; answered by `done` or `error`.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Close the keeper's copy of the standard input's pipe.
    CloseStdin {
        /// The call's number; answered by `done` or `error`.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
    },
    /// Get descriptors of a container's stdio. `direct` output: copies of
    /// the pipes' (terminal's) own descriptors, as in `started`. Otherwise
    /// fresh pipes that the keeper copies output to from now on, at the
    /// reader's pace. Answered by `attached`.
    Attach {
        /// The call's number.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
    },
    /// List everything; answered by `entry` messages and `done`, other news
    /// between them. Whoever lists is from then on told of what no connection
    /// owned (`started` and `ended` with `req` 0).
    List {
        /// The call's number.
        req: u64,
    },
    /// A piece of captured output too long for the exit message.
    Captured {
        /// The call's number; answered by `piece`.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// 1 or 2.
        stream: u8,
        /// From this byte on.
        offset: u64,
    },
    /// The engine has these exits safe; the keeper forgets them. No answer.
    Ack {
        /// (container, exec) pairs.
        ids: Vec<(String, Option<String>)>,
    },
    /// Counters; answered by `info`.
    Info {
        /// The call's number.
        req: u64,
    },
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal for a signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of the container for want of memory.
    pub oom: bool,
    /// Wall clock, ns since 1970.
    pub finished_at: i64,
    /// Bytes written by the program to stdout in all (captured or not).
    pub stdout_total: u64,
    /// To stderr.
    pub stderr_total: u64,
    /// Captured standard output, whole if it is as long as the smaller of
    /// `stdout_total` and the capture limit, else to be fetched by `captured`.
    pub stdout: ByteBuf,
    /// Captured standard error.
    pub stderr: ByteBuf,
    /// The order of exits in this keeper, from 1, without gaps.
    pub seq: u64,
    /// ns from `started_boot` to the end, on the same clock.
    #[serde(default)]
    pub duration_ns: u64,
}

/// What `started` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Process id on the host.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of /proc/PID/stat);
    /// 0 where the program ended before it could be read.
    pub start_ticks: u64,
    /// Wall clock of the start, ns since 1970.
    pub started_at: i64,
    /// µs for each step.
    pub timings: Timings,
    /// `CLOCK_BOOTTIME` of the start in ns: it goes on while the machine is
    /// suspended, and nobody sets it.
    #[serde(default)]
    pub started_boot: i64,
}

/// From the keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Reply {
    /// Answer to `hello`.
    Welcome {
        /// Protocol version.
        version: u32,
        /// The keeper's process id.
        pid: i32,
        /// Most launches and execs that may be under way on one connection.
        window: u32,
        /// How many more containers its descriptors allow.
        capacity: u32,
        /// Containers it holds now.
        containers: u32,
        /// One more than the greatest key of a root that any engine has used.
        #[serde(default)]
        next_root: u32,
    },
    /// The program runs.
    Started {
        /// The call's number.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// Details.
        started: Started,
        /// With `direct`: stdin, stdout, stderr (those that are pipes), or
        /// the terminal alone, in that order. With `attach`: see there.
        fds: Fds,
    },
    /// The program ran and has ended, both in one message, when nothing was
    /// told between; or it has ended (`started` none).
    Ended {
        /// The launch's number when `started` is there, else 0.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// Details of the start.
        started: Option<Started>,
        /// Details of the end.
        exit: Exit,
        /// As in `started`.
        fds: Fds,
    },
    /// With `watch_oom`: the kernel has killed for want of memory. It comes
    /// after `started` and before `ended`, once for each kill unless several
    /// came before the first could be told.
    Oom {
        /// The container.
        id: String,
        /// How many kills there were in all, since its start: an engine that
        /// has taken over from a lost one may be told a number again.
        kills: u64,
    },
    /// The launch failed; nothing is left of it.
    Failed {
        /// The call's number.
        req: u64,
        /// The container.
        id: String,
        /// The exec.
        exec: Option<String>,
        /// Why.
        error: LaunchError,
    },
    /// Answer to `attach`.
    Attached {
        /// The call's number.
        req: u64,
        /// Which of stdin (1), stdout (2), stderr (4), terminal (8) there are.
        streams: u8,
        /// In that order.
        fds: Fds,
    },
    /// One container, for `list`.
    Entry {
        /// The call's number.
        req: u64,
        /// The container.
        id: String,
        /// The engine's record.
        blob: ByteBuf,
        /// Details of the start; none while it is being launched.
        started: Option<Started>,
        /// Details of the end, if it has ended and is not acknowledged.
        exit: Option<Exit>,
        /// Execs that run or are not acknowledged: id and exit.
        execs: Vec<(String, Option<Exit>)>,
        /// With `watch_oom`: kills in all, as in `oom`.
        #[serde(default)]
        oom_kills: u64,
    },
    /// Answer to `captured`.
    Piece {
        /// The call's number.
        req: u64,
        /// The bytes; empty at the end.
        data: ByteBuf,
    },
    /// Answer to `info`.
    Info {
        /// The call's number.
        req: u64,
        /// Name and value.
        counters: Vec<(String, u64)>,
    },
    /// It was done.
    Done {
        /// The call's number.
        req: u64,
    },
    /// It was refused. `req` 0: the connection is at fault and ends.
    Error {
        /// The call's number.
        req: u64,
        /// `not_found`, `busy`, `invalid`, `version`, `exists`, `not_running`, `system`.
        code: String,
        /// One sentence.
        message: String,
    },
}

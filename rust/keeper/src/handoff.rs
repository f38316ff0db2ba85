//! What the keeper and its launchers say to each other: one packet down and
//! one up for each launch. The spec is passed on as the engine wrote it, so
//! the keeper neither decodes nor encodes it.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ardock_launch::{LaunchError, Timings};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::packet;

/// Longest body that travels in the packet itself; a longer one goes in a
/// memfd (a socket's default buffer takes 208 KB in all).
const INLINE_BODY: usize = 96 * 1024;
/// Room for a head: the longest text in it is a control group's path.
const MAX_HEAD: usize = 8 * 1024;
/// The launcher's receive buffer.
pub const MAX_HANDOFF: usize = 2 + MAX_HEAD + INLINE_BODY;
/// Longest answer; a `LaunchError` names one path.
pub const MAX_ANSWER: usize = 64 * 1024;

/// What comes before the body in a packet to a launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// The body is a seccomp program.
    Program {
        /// Its hash.
        hash: String,
    },
    /// The body is a `LaunchSpec`.
    Launch,
    /// The body is an `ExecSpec`, the first descriptor the pidfd of PID 1.
    Exec {
        /// Parent and name of the container's control group.
        cgroup: Option<(String, String)>,
    },
}

/// A launcher's answer to `Launch` and `Exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The program runs.
    Running {
        /// Its process id; the keeper is its parent.
        pid: i32,
        /// A helper that has ended, to be reaped.
        helper: Option<i32>,
        /// µs for each step.
        timings: Timings,
        /// Which of the descriptors came along, see [`MOUNT_NS`] and on.
        parts: u8,
    },
    /// It does not.
    Failed {
        /// Why.
        error: LaunchError,
        /// A child that is dead or dying, to be reaped; what it leaves is then
        /// to be tidied away.
        pid: Option<i32>,
        /// Its helper, likewise.
        helper: Option<i32>,
    },
}

/// A descriptor of its mount namespace.
pub const MOUNT_NS: u8 = 1;
/// The pipe to its standard input.
pub const STDIN: u8 = 2;
/// The pipe from its standard output.
pub const STDOUT: u8 = 4;
/// The pipe from its standard error.
pub const STDERR: u8 = 8;
/// Its terminal's master.
pub const TERMINAL: u8 = 16;

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Errno> {
    rmp_serde::to_vec(value).map_err(|_| Errno::INVAL)
}

/// Hands a body, which is not empty, to a launcher.
pub fn give(socket: BorrowedFd<'_>, head: &Head, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let head = encode(head)?;
    if head.len() > MAX_HEAD {
        return Err(Errno::TOOBIG);
    }
    let length = (head.len() as u16).to_le_bytes();
    if body.len() <= INLINE_BODY {
        return packet::send(socket, &[IoSlice::new(&length), IoSlice::new(&head), IoSlice::new(body)], fds);
    }
    let memfd = packet::sealed("ardock-spec", body)?;
    let mut fds = fds.to_vec();
    fds.push(memfd.as_fd());
    packet::send(socket, &[IoSlice::new(&length), IoSlice::new(&head)], &fds)
}

/// Takes apart what [`give`] sent. The body is copied only out of a memfd.
pub fn take(packet: &[u8], fds: &mut Vec<OwnedFd>, max_body: usize) -> Result<(Head, Vec<u8>), Errno> {
    let (length, rest) = packet.split_first_chunk::<2>().ok_or(Errno::BADMSG)?;
    let length = usize::from(u16::from_le_bytes(*length));
    if length > rest.len() {
        return Err(Errno::BADMSG);
    }
    let (head, body) = rest.split_at(length);
    let head = rmp_serde::from_slice(head).map_err(|_| Errno::BADMSG)?;
    if !body.is_empty() {
        return Ok((head, body.to_vec()));
    }
    let memfd = fds.pop().ok_or(Errno::BADMSG)?;
    Ok((head, packet::read_sealed(memfd.as_fd(), max_body)?))
}

/// Sends the answer.
pub fn answer(socket: BorrowedFd<'_>, answer: &Answer, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    packet::send(socket, &[IoSlice::new(&encode(answer)?)], fds)
}

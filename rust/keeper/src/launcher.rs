//! A launcher: a small expendable process that turns one spec after another
//! into a running program. It is single-threaded, waits in recvmsg, and dies
//! with the keeper.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;

use ardock_launch::{Failure, Home, LaunchError, Launched, Parent, Programs, Slot, Slots, Step};
use serde::de::DeserializeOwned;

use crate::handoff::{self, Answer, Head};
use crate::message::MAX_SEALED;
use crate::packet::{self, Received, MOST_FDS};
use crate::zygote;

/// Longest text in an error that goes to the engine; the packet is bounded.
const MAX_TEXT: usize = 4096;

/// The launcher's life, in the fresh process.
pub fn run(home: &Home, slots: &Slots, number: usize, socket: &OwnedFd, keeper: i32) -> ! {
    zygote::die_with(keeper);
    let _ = rustix::thread::set_name(c"ardock-launch");
    // The keeper's own protection is not for containers. Raising the score is
    // always allowed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let slot = &slots[number];
    let mut programs = Programs::new();
    let mut buffer = vec![0; handoff::MAX_HANDOFF];
    loop {
        let Ok(Received::Packet(length, mut fds)) = packet::receive(socket.as_fd(), &mut buffer, MOST_FDS) else {
            process::exit(0);
        };
        let Ok((head, body)) = handoff::take(&buffer[..length], &mut fds, MAX_SEALED) else {
            process::exit(1);
        };
        let result = match head {
            Head::Program { hash } => {
                // A program that the kernel would refuse is named by the
                // launch that asks for it and does not find it.
                let _ = programs.insert(&hash, &body);
                continue;
            }
            Head::Launch => {
                decode(&body).and_then(|spec| ardock_launch::launch(home, &programs, &spec, &fds, slot, Parent::Keeper))
            }
            Head::Exec { cgroup } => exec(home, &programs, cgroup.as_ref(), &body, &mut fds, slot),
        };
        // The engine's descriptors go before the answer, so that nothing of a
        // launch is left here once it is told.
        drop(fds);
        drop(body);
        if reply(socket.as_fd(), result).is_err() {
            process::exit(0);
        }
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    rmp_serde::from_slice(body).map_err(|error| LaunchError::because(Step::Spec, "", error.to_string()).into())
}

fn exec(
    home: &Home,
    programs: &Programs,
    cgroup: Option<&(String, String)>,
    body: &[u8],
    fds: &mut Vec<OwnedFd>,
    slot: &Slot,
) -> Result<Launched, Failure> {
    let spec = decode(body)?;
    let target = fds.remove(0);
    let cgroup = cgroup.map(|(parent, name)| (parent.as_str(), name.as_str()));
    ardock_launch::exec(home, programs, &spec, target.as_fd(), cgroup, fds, slot, Parent::Keeper)
}

fn reply(socket: BorrowedFd<'_>, result: Result<Launched, Failure>) -> Result<(), rustix::io::Errno> {
    match result {
        Ok(launched) => {
            let mut parts = 0;
            let mut fds = Vec::with_capacity(4);
            for (bit, fd) in [
                (handoff::MOUNT_NS, &launched.mount_ns),
                (handoff::STDIN, &launched.stdin),
                (handoff::STDOUT, &launched.stdout),
                (handoff::STDERR, &launched.stderr),
                (handoff::TERMINAL, &launched.terminal),
            ] {
                if let Some(fd) = fd {
                    parts |= bit;
                    fds.push(fd.as_fd());
                }
            }
            let answer =
                Answer::Running { pid: launched.pid, helper: launched.helper, timings: launched.timings, parts };
            handoff::answer(socket, &answer, &fds)
        }
        Err(Failure { mut error, pid, helper }) => {
            shorten(&mut error.subject);
            shorten(&mut error.hint);
            handoff::answer(socket, &Answer::Failed { error, pid, helper }, &[])
        }
    }
}

fn shorten(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
}

//! The program's standard streams, made before the clone.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{LaunchError, Step};
use crate::home::Home;
use crate::plan::{descriptor, open_terminal};
use crate::spec::{OwnStream, Process, Stdio, Stream};

/// The streams of a program to be: its own ends and the other ends.
#[derive(Default)]
pub(super) struct Streams {
    /// Numbers of its own ends.
    pub(super) own: [i32; 3],
    /// Keeps `own` open until the clone.
    pub(super) held: Vec<OwnedFd>,
    /// The other ends, of those that are pipes.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// The terminal's master.
    pub(super) terminal: Option<OwnedFd>,
    /// The devpts instance that it is of.
    pub(super) instance: Option<OwnedFd>,
}

/// Numbers 0 to 2 are where the streams go; a source among them would be
/// overwritten by another.
fn above_streams(fd: OwnedFd) -> Result<OwnedFd, LaunchError> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(|errno| LaunchError::os(Step::Stdio, "", errno.raw_os_error()))
}

impl Streams {
    pub(super) fn open(home: &Home, stdio: &Stdio, process: &Process, fds: &[OwnedFd]) -> Result<Self, LaunchError> {
        home.fail_here(Step::Stdio)?;
        let mut out = Self::default();
        let mut held = Vec::new();
        if let Some(size) = stdio.terminal {
            let (instance, master, slave) = open_terminal(size, process.uid)?;
            let slave = above_streams(slave)?;
            out.own = [slave.as_raw_fd(); 3];
            held.push(slave);
            out.terminal = Some(master);
            out.instance = Some(instance);
        } else {
            out.pipes(stdio, process, fds, &mut held)?;
        }
        out.held = held;
        Ok(out)
    }

    fn pipes(
        &mut self,
        stdio: &Stdio,
        process: &Process,
        fds: &[OwnedFd],
        held: &mut Vec<OwnedFd>,
    ) -> Result<(), LaunchError> {
        let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Stdio, "a pipe", errno.raw_os_error());
        let mut null: Option<i32> = None;
        for (number, stream) in [stdio.stdin, stdio.stdout, stdio.stderr].into_iter().enumerate() {
            let own = match stream {
                Stream::Fd(index) => {
                    let fd = descriptor(Step::Stdio, fds, index)?;
                    if fd <= 2 {
                        return Err(LaunchError::because(
                            Step::Stdio,
                            "",
                            "a given descriptor is a standard stream of the launcher's",
                        ));
                    }
                    fd
                }
                Stream::Own(OwnStream::Null) => {
                    if null.is_none() {
                        let opened = above_streams(Home::open_null()?)?;
                        null = Some(opened.as_raw_fd());
                        held.push(opened);
                    }
                    null.unwrap_or_default()
                }
                Stream::Own(OwnStream::Pipe) => {
                    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
                    let (ours, theirs) = if number == 0 { (writer, reader) } else { (reader, writer) };
                    let theirs = above_streams(theirs)?;
                    if process.uid != 0 {
                        // So that /dev/stdout can be opened anew by its user.
                        let owner = rustix::fs::Uid::from_raw(process.uid);
                        rustix::fs::fchown(&theirs, Some(owner), None).map_err(failed)?;
                    }
                    match number {
                        0 => self.stdin = Some(ours),
                        1 => self.stdout = Some(ours),
                        _ => self.stderr = Some(ours),
                    }
                    let own = theirs.as_raw_fd();
                    held.push(theirs);
                    own
                }
            };
            self.own[number] = own;
        }
        Ok(())
    }
}

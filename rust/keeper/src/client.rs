//! The engine's end of a keeper's socket: packets of messages that the caller
//! has encoded. Nothing here blocks, so any event loop can drive it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, CWD};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::message::{MAX_FDS, MAX_PACKET, MAX_SEALED};
use crate::packet::{self, Received};

/// A packet that came: an array of messages, and their descriptors.
pub type Packet = (Vec<u8>, Vec<OwnedFd>);

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// `[{"t": "sealed"}]`.
const SEALED: &[u8] = b"\x91\x81\xa1t\xa6sealed";

impl Client {
    /// Connects to the keeper of a run folder. `NotFound` or
    /// `ConnectionRefused`: there is none.
    pub fn connect(run: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, run, flags, Mode::empty())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // By descriptor: a socket's path has 108 characters at most.
        let path = format!("/proc/self/fd/{}/sock", folder.as_raw_fd());
        net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self { socket, buffer: vec![0; MAX_PACKET] })
    }

    /// To be waited on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends one encoded array of messages with its descriptors; a long one
    /// travels in a sealed memfd. `WouldBlock`: wait until the socket takes
    /// more, then send it again.
    pub fn send(&self, array: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let sealed = array.len() > MAX_PACKET;
        if array.len() > MAX_SEALED || fds.len() + usize::from(sealed) > MAX_FDS {
            return Err(Errno::MSGSIZE.into());
        }
        if !sealed {
            return Ok(packet::send(self.socket.as_fd(), &[IoSlice::new(array)], fds)?);
        }
        let memfd = packet::sealed("ardock-messages", array)?;
        let mut all = vec![memfd.as_fd()];
        all.extend_from_slice(fds);
        Ok(packet::send(self.socket.as_fd(), &[IoSlice::new(SEALED)], &all)?)
    }

    /// Every packet that is there, up to `most`. Empty: none is. An end of the
    /// connection is told (`UnexpectedEof`) once all before it is taken.
    pub fn receive(&mut self, most: usize) -> io::Result<Vec<Packet>> {
        let mut packets = Vec::new();
        while packets.len() < most {
            let failed = match packet::receive(self.socket.as_fd(), &mut self.buffer, MAX_FDS) {
                Ok(Received::Packet(length, fds)) => {
                    packets.push((self.buffer[..length].to_vec(), fds));
                    continue;
                }
                Err(Errno::AGAIN) => break,
                Ok(Received::End) => io::ErrorKind::UnexpectedEof.into(),
                Ok(Received::Truncated) => io::ErrorKind::InvalidData.into(),
                Err(error) => io::Error::from(error),
            };
            if packets.is_empty() {
                return Err(failed);
            }
            break;
        }
        Ok(packets)
    }
}

//! One packet with its descriptors to or from a SEQPACKET socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Most descriptors that any socket of ours carries in a packet: an engine's
/// 64 and two of the keeper's (an exec's target, a memfd).
pub const MOST_FDS: usize = 66;

const CONTROL: usize = rustix::cmsg_space!(ScmRights(MOST_FDS));

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// A packet of so many bytes.
    Packet(usize, Vec<OwnedFd>),
    /// The other end has closed.
    End,
    /// A packet longer than the buffer, or with more descriptors than are
    /// allowed. What came of it is closed.
    Truncated,
}

/// Sends one packet.
pub fn send(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::<u8>::uninit(); CONTROL];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    loop {
        match net::sendmsg(socket, parts, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Receives one packet into `buffer`, which is as long as the longest packet
/// that is allowed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], max_fds: usize) -> Result<Received, Errno> {
    let mut space = [MaybeUninit::<u8>::uninit(); CONTROL];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut fds = Vec::new();
    for piece in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = piece {
            fds.extend(more);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || fds.len() > max_fds {
        return Ok(Received::Truncated);
    }
    // An empty packet reads like the end; nobody of ours sends one.
    Ok(if message.bytes == 0 { Received::End } else { Received::Packet(message.bytes, fds) })
}

/// A memfd with these bytes that nobody can change any more.
pub fn sealed(name: &str, bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let fd = fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    write_all(fd.as_fd(), bytes)?;
    fs::fcntl_add_seals(&fd, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(fd)
}

/// The contents of a sealed memfd of `max` bytes at most.
pub fn read_sealed(fd: BorrowedFd<'_>, max: usize) -> Result<Vec<u8>, Errno> {
    // Unsealed, it could shrink or change while it is read and decoded.
    let needed = SealFlags::SHRINK | SealFlags::WRITE;
    if !fs::fcntl_get_seals(fd)?.contains(needed) {
        return Err(Errno::PERM);
    }
    let size = fs::fstat(fd)?.st_size as u64;
    if size > max as u64 {
        return Err(Errno::FBIG);
    }
    let mut bytes = vec![0; size as usize];
    let mut at = 0;
    while at < bytes.len() {
        match rustix::io::pread(fd, &mut bytes[at..], at as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => at += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Writes all of it.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

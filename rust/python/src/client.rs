//! The engine's end of a keeper's socket: whole packets in and out, never
//! blocking. What they mean is Python's.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use ardock_keeper::message::{MAX_FDS, MAX_PACKET};
use ardock_keeper::packet::{self, Received};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error;
use crate::host::borrow;

/// One connection to a keeper.
#[pyclass(module = "ardock._core")]
#[derive(Debug)]
pub struct KeeperClient {
    socket: Option<OwnedFd>,
    buffer: Vec<u8>,
}

impl KeeperClient {
    fn socket(&self) -> PyResult<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or_else(|| error::os(Errno::BADF))
    }
}

#[pymethods]
impl KeeperClient {
    #[staticmethod]
    fn connect(folder: &str) -> PyResult<Self> {
        // By the folder's descriptor: a socket's address holds 107 bytes.
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(error::os)?;
        let path = format!("/proc/self/fd/{}/sock", folder.as_raw_fd());
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(error::os)?;
        let address = SocketAddrUnix::new(path).map_err(error::os)?;
        net::connect(&socket, &address).map_err(error::os)?;
        // One byte more than is allowed, so that what is too long shows.
        Ok(Self { socket: Some(socket), buffer: vec![0; MAX_PACKET + 1] })
    }

    fn fileno(&self) -> i32 {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn send(&self, packet: &[u8], fds: Vec<i32>) -> PyResult<bool> {
        let socket = self.socket()?;
        let fds = fds.iter().map(|&fd| borrow(fd)).collect::<PyResult<Vec<_>>>()?;
        match packet::send(socket, &[IoSlice::new(packet)], &fds) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(error::os(errno)),
        }
    }

    fn receive<'py>(&mut self, py: Python<'py>, limit: usize) -> PyResult<(Vec<(Bound<'py, PyBytes>, Vec<i32>)>, bool)> {
        let Self { socket, buffer } = self;
        let socket = socket.as_ref().ok_or_else(|| error::os(Errno::BADF))?;
        let mut packets = Vec::new();
        while packets.len() < limit {
            match packet::receive(socket.as_fd(), buffer, MAX_FDS) {
                Ok(Received::Packet(length, fds)) if length <= MAX_PACKET => {
                    let fds = fds.into_iter().map(IntoRawFd::into_raw_fd).collect();
                    packets.push((PyBytes::new(py, &buffer[..length]), fds));
                }
                Ok(Received::Packet(..) | Received::Truncated) => {
                    return Err(PyOSError::new_err((Errno::MSGSIZE.raw_os_error(), "a packet is longer than is allowed")));
                }
                Ok(Received::End) | Err(Errno::CONNRESET | Errno::PIPE) => return Ok((packets, true)),
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(error::os(errno)),
            }
        }
        Ok((packets, false))
    }

    fn close(&mut self) {
        self.socket = None;
    }
}

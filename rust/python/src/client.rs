//! The engine's end of a keeper's socket: whole packets in and out, never
//! blocking. What they mean is Python's.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::PathBuf;

use ardock_keeper::client::Client;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;

use crate::error;
use crate::host::borrow;

/// Packets with their descriptors, and whether the other end has closed.
type Received<'py> = (Vec<(Bound<'py, PyBytes>, Vec<i32>)>, bool);

/// One connection to a keeper.
#[pyclass(module = "ardock._core")]
#[derive(Debug)]
pub struct KeeperClient(Option<Client>);

impl KeeperClient {
    fn client(&mut self) -> PyResult<&mut Client> {
        self.0.as_mut().ok_or_else(|| error::os(Errno::BADF))
    }
}

#[pymethods]
impl KeeperClient {
    #[staticmethod]
    fn connect(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        // The keeper accepts when it gets round to it, so this may block.
        Ok(Self(Some(py.detach(|| Client::connect(&folder)).map_err(error::io)?)))
    }

    fn fileno(&self) -> i32 {
        self.0.as_ref().map_or(-1, |client| client.fd().as_raw_fd())
    }

    fn send(&mut self, array: &[u8], fds: Vec<i32>) -> PyResult<bool> {
        let fds = fds.into_iter().map(borrow).collect::<PyResult<Vec<_>>>()?;
        match self.client()?.send(array, &fds) {
            Ok(()) => Ok(true),
            Err(failed) if failed.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(failed) => Err(error::io(failed)),
        }
    }

    fn receive<'py>(&mut self, py: Python<'py>, limit: usize) -> PyResult<Received<'py>> {
        match self.client()?.receive(limit) {
            Ok(packets) => {
                let packet = |(bytes, fds): (Vec<u8>, Vec<_>)| {
                    (PyBytes::new(py, &bytes), fds.into_iter().map(IntoRawFd::into_raw_fd).collect())
                };
                Ok((packets.into_iter().map(packet).collect(), false))
            }
            Err(ended) if matches!(ended.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Ok((Vec::new(), true))
            }
            Err(failed) => Err(error::io(failed)),
        }
    }

    fn close(&mut self) {
        self.0 = None;
    }
}

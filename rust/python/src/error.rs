//! Rust's errors as Python's.

use ardock_launch::{LaunchError, Step};
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;
use rustix::io::Errno;

pyo3::create_exception!(
    ardock._core,
    HostError,
    PyException,
    "A look-up or launch failed; args are (step, subject, errno, hint, exit_code)."
);

/// A failed launch or look-up.
pub fn host(error: LaunchError) -> PyErr {
    let step = step_name(error.step);
    HostError::new_err((step, error.subject, error.errno, error.hint, error.exit_code))
}

/// The step's name on the wire, such as `join_cgroup`.
pub fn step_name(step: Step) -> String {
    // `Step` is an enum of units: serde gives the name alone.
    rmp_serde::to_vec(&step).ok().and_then(|bytes| rmp_serde::from_slice(&bytes).ok()).unwrap_or_default()
}

/// A failed system call.
pub fn os(errno: Errno) -> PyErr {
    from_number(errno.raw_os_error())
}

/// A failed operation of the standard library's, with its errno, which PyO3's
/// own conversion leaves out.
pub fn io(error: std::io::Error) -> PyErr {
    error.raw_os_error().map_or_else(|| error.into(), from_number)
}

fn from_number(errno: i32) -> PyErr {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    // Python makes the subclass that fits: FileNotFoundError, PermissionError, ...
    PyOSError::new_err((errno, text))
}

//! Look-ups on the host, in the host's mount namespace.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::path::PathBuf;

use ardock_launch::host::{self, BindOptions, Propagation};
use ardock_launch::seccomp::{self, Compiler, Profile};
use ardock_launch::{Feature, Features, LaunchError, Step};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::fs::{AtFlags, StatxFlags, CWD};

use crate::error;

/// A descriptor of Python's for the length of a call.
pub fn borrow<'fd>(fd: i32) -> PyResult<BorrowedFd<'fd>> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!("{fd} is no descriptor")));
    }
    // SAFETY: not -1 (checked). The caller keeps the descriptor open during
    // the call, as the interface says; were it not, system calls on it would
    // fail with EBADF, and nothing here rests on what it refers to.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// See `_core.pyi`.
#[pyfunction]
pub fn kernel_features(py: Python<'_>) -> PyResult<HashMap<&'static str, bool>> {
    let absent = Features::declared_absent().map_err(PyValueError::new_err)?;
    let found = py.detach(Features::probe).without(absent);
    Ok(Feature::ALL.iter().map(|feature| (feature.name(), found.has(*feature))).collect())
}

/// See `_core.pyi`.
#[pyfunction]
pub fn device_programs() -> String {
    ardock_launch::cgroup::device_programs().err().unwrap_or_default()
}

/// See `_core.pyi`.
#[pyfunction]
pub fn root_identity(path: PathBuf) -> PyResult<(u64, u64, u64)> {
    // Not by way of the file server: a dead one would hold the caller's event loop.
    let flags = AtFlags::from_bits_retain(AtFlags::STATX_DONT_SYNC.bits());
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = rustix::fs::statx(CWD, path, flags, wanted).map_err(error::os)?;
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok((device, found.stx_ino, found.stx_mnt_id))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn open_root(py: Python<'_>, path: PathBuf) -> PyResult<i32> {
    let opened = py.detach(|| host::open_root(&path));
    opened.map(IntoRawFd::into_raw_fd).map_err(error::host)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (path, *, recursive, read_only, propagation))]
pub fn open_bind(
    py: Python<'_>,
    path: PathBuf,
    recursive: bool,
    read_only: bool,
    propagation: &str,
) -> PyResult<(i32, bool)> {
    let propagation = match propagation {
        "private" | "rprivate" => Propagation::Private,
        "slave" | "rslave" => Propagation::Slave,
        "shared" | "rshared" => Propagation::Shared,
        other => return Err(PyValueError::new_err(format!("no such propagation: {other}"))),
    };
    // Docker makes a recursive bind read-only as a whole where the kernel can.
    let options = BindOptions {
        recursive,
        readonly: read_only,
        readonly_recursive: read_only,
        propagation,
        ..BindOptions::default()
    };
    let opened = py.detach(|| host::open_bind(&path, options));
    opened.map(|(fd, file)| (fd.into_raw_fd(), file)).map_err(error::host)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn resolve_user(
    py: Python<'_>,
    roots: Vec<i32>,
    user: &str,
    groups: Vec<String>,
) -> PyResult<(u32, u32, Vec<u32>, String)> {
    let roots = roots.into_iter().map(borrow).collect::<PyResult<Vec<_>>>()?;
    let found = py.detach(|| host::resolve_user(&roots, user, &groups)).map_err(error::host)?;
    Ok((found.uid, found.gid, found.groups, found.home))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn seccomp_compile<'py>(
    py: Python<'py>,
    profile: Option<&str>,
    capabilities: u64,
    no_new_privileges: bool,
    joining: bool,
) -> PyResult<(String, Bound<'py, PyBytes>)> {
    let compiled = py.detach(|| {
        let (compiler, kernel) = (Compiler::global(), seccomp::host_kernel());
        let program = match profile {
            None => compiler.compile_cached(Profile::docker_default(), capabilities, kernel),
            Some(json) => Profile::parse(json.as_bytes())
                .and_then(|profile| compiler.compile_cached(&profile, capabilities, kernel)),
        }?;
        // What the launch core itself still calls once the program is loaded.
        if joining {
            program.must_allow_exec(no_new_privileges)?;
        } else {
            program.must_allow_launch(no_new_privileges)?;
        }
        Ok(program)
    });
    let program = compiled.map_err(|error: seccomp::SeccompError| {
        error::host(LaunchError::because(Step::Seccomp, "", error.to_string()))
    })?;
    Ok((program.hash().to_owned(), PyBytes::new(py, program.as_bytes())))
}

//! Look-ups on the host, in the host's mount namespace.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ardock_launch::host::{self, BindOptions, Propagation};
use ardock_launch::seccomp::{self, Compiler, Profile};
use ardock_launch::{Feature, Features, LaunchError, Step};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::fs::{AtFlags, StatxFlags, CWD};
use rustix::mount::MountAttrFlags;

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

/// How a bind mount is to be, as Python says it.
#[derive(FromPyObject)]
pub struct Options {
    recursive: bool,
    read_only: bool,
    read_only_recursive: bool,
    propagation: String,
    attributes: u64,
}

impl Options {
    fn bind(&self) -> PyResult<BindOptions> {
        let propagation = match self.propagation.as_str() {
            "private" | "rprivate" => Propagation::Private,
            "slave" | "rslave" => Propagation::Slave,
            "shared" | "rshared" => Propagation::Shared,
            other => return Err(PyValueError::new_err(format!("no such propagation: {other}"))),
        };
        let attributes = MountAttrFlags::from_bits_retain(self.attributes as _);
        Ok(BindOptions {
            recursive: self.recursive,
            readonly: self.read_only,
            readonly_recursive: self.read_only_recursive,
            nosuid: attributes.contains(MountAttrFlags::MOUNT_ATTR_NOSUID),
            nodev: attributes.contains(MountAttrFlags::MOUNT_ATTR_NODEV),
            noexec: attributes.contains(MountAttrFlags::MOUNT_ATTR_NOEXEC),
            propagation,
        })
    }
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (path, options, beneath=None))]
pub fn open_bind(py: Python<'_>, path: PathBuf, options: Options, beneath: Option<PathBuf>) -> PyResult<(i32, bool)> {
    let options = options.bind()?;
    let opened = py.detach(|| match &beneath {
        None => host::open_bind(&path, options),
        Some(beneath) => host::open_bind_beneath(&path, beneath, options),
    });
    opened.map(|(fd, file)| (fd.into_raw_fd(), file)).map_err(error::host)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn mount_filesystem(
    py: Python<'_>,
    kind: &str,
    source: &str,
    options: Vec<(String, Option<String>)>,
    attributes: u64,
) -> PyResult<i32> {
    let mounted = py.detach(|| host::mount_filesystem(kind, source, &options, attributes));
    mounted.map(IntoRawFd::into_raw_fd).map_err(error::host)
}

/// See `_core.pyi`.
#[pyclass(module = "ardock._core", frozen)]
#[derive(Debug)]
pub struct Shelf(Mutex<Option<host::Shelf>>);

impl Shelf {
    fn on<T>(&self, call: impl FnOnce(&host::Shelf) -> Result<T, LaunchError>) -> Result<T, LaunchError> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || LaunchError::because(Step::Mount, "", "the volume's mount was let go of");
        held.as_ref().ok_or_else(closed).and_then(call)
    }
}

#[pymethods]
impl Shelf {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        py.detach(host::Shelf::open).map(|shelf| Self(Mutex::new(Some(shelf)))).map_err(error::host)
    }

    fn put(&self, py: Python<'_>, mount: i32) -> PyResult<()> {
        let mount = duplicate(mount)?;
        py.detach(|| self.on(|shelf| shelf.put(mount))).map_err(error::host)
    }

    #[pyo3(signature = (options, beneath=None))]
    fn copy(&self, py: Python<'_>, options: Options, beneath: Option<PathBuf>) -> PyResult<(i32, bool)> {
        let options = options.bind()?;
        let copied = py.detach(|| self.on(|shelf| shelf.copy(beneath, options)));
        copied.map(|(fd, file)| (fd.into_raw_fd(), file)).map_err(error::host)
    }

    fn take_over(&self, py: Python<'_>, namespace: i32, path: PathBuf, device: u64, attributes: u64) -> PyResult<()> {
        let shown = host::Shown { namespace: duplicate(namespace)?, path, device };
        py.detach(|| self.on(|shelf| shelf.take_over(shown, attributes))).map_err(error::host)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

fn duplicate(fd: i32) -> PyResult<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(borrow(fd)?, 3).map_err(error::os)
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

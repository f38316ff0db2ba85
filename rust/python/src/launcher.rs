//! Launching without a keeper: a thread of this process with a private mount
//! namespace. For trusted tools, tests and benches.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ardock_launch::{Features, Home, HomeConfig, LaunchError, LaunchSpec, Parent, Programs, Slots, Step};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::error;
use crate::host::borrow;

/// What the thread works on.
struct State {
    home: Home,
    programs: Programs,
    slots: Slots,
}

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// A program that was launched.
#[pyclass(module = "ardock._core")]
#[derive(Debug)]
pub struct Launched {
    #[pyo3(get)]
    pid: i32,
    #[pyo3(get)]
    pidfd: i32,
    #[pyo3(get)]
    stdin: Option<i32>,
    #[pyo3(get)]
    stdout: Option<i32>,
    #[pyo3(get)]
    stderr: Option<i32>,
    #[pyo3(get)]
    terminal: Option<i32>,
    timings: Vec<u8>,
    /// Held until its end is collected: the exit is told only when the last
    /// reference is gone, or after the kernel has unmounted everything.
    mount_ns: Option<OwnedFd>,
    helper: Option<i32>,
}

#[pymethods]
impl Launched {
    #[getter]
    fn timings<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.timings)
    }

    fn wait(&mut self, py: Python<'_>) -> PyResult<i32> {
        let (pid, helper) = (self.pid, self.helper.take());
        let code = py.detach(|| {
            if let Some(helper) = helper {
                collect(helper)?;
            }
            collect(pid)
        });
        self.mount_ns = None;
        code.map_err(error::os)
    }
}

/// The thread.
#[pyclass(module = "ardock._core")]
#[derive(Debug)]
pub struct Launcher {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Launcher {
    /// Runs `job` on the thread and waits for its result, without the GIL.
    fn on_thread<T: Send + 'static>(
        &self,
        py: Python<'_>,
        job: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> PyResult<T> {
        let closed = || PyRuntimeError::new_err("the launcher is closed");
        let jobs = self.jobs.clone().ok_or_else(closed)?;
        py.detach(move || {
            let (answer, result) = mpsc::channel();
            let job: Job = Box::new(move |state| {
                let _gone = answer.send(job(state));
            });
            jobs.send(job).ok()?;
            result.recv().ok()
        })
        .ok_or_else(closed)
    }
}

#[pymethods]
impl Launcher {
    #[new]
    #[pyo3(signature = (store=None))]
    fn new(py: Python<'_>, store: Option<PathBuf>) -> PyResult<Self> {
        let absent = Features::declared_absent().map_err(PyValueError::new_err)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = thread::Builder::new().name("ardock-launcher".into()).spawn(move || {
            let state = Home::enter(&HomeConfig { store, absent }).and_then(|home| {
                let slots = Slots::map(1).map_err(|error| {
                    LaunchError::os(Step::Spec, "shared memory", error.raw_os_error().unwrap_or_default())
                })?;
                Ok(State { home, programs: Programs::new(), slots })
            });
            match state {
                Err(error) => {
                    let _gone = ready.send(Err(error));
                }
                Ok(mut state) => {
                    let _gone = ready.send(Ok(()));
                    while let Ok(job) = queue.recv() {
                        job(&mut state);
                    }
                }
            }
        })?;
        py.detach(move || started.recv())
            .map_err(|_| PyRuntimeError::new_err("the launcher's thread has ended"))?
            .map_err(error::host)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    fn add_root(&self, py: Python<'_>, key: u32, fd: i32) -> PyResult<()> {
        let mount = duplicate(borrow(fd)?)?;
        self.on_thread(py, move |state| state.home.add_root(key, mount.as_fd()))?.map_err(error::host)
    }

    fn add_seccomp(&self, py: Python<'_>, digest: String, code: Vec<u8>) -> PyResult<()> {
        self.on_thread(py, move |state| state.programs.insert(&digest, &code))?
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn make_cgroup_parent(&self, py: Python<'_>, parent: String) -> PyResult<()> {
        self.on_thread(py, move |state| state.home.cgroups().make_parent(&parent))?.map_err(error::host)
    }

    fn remove_cgroup_parent(&self, py: Python<'_>, parent: String) -> PyResult<()> {
        self.on_thread(py, move |state| state.home.cgroups().remove_parent(&parent))?.map_err(error::host)
    }

    #[pyo3(signature = (parent, name, *, patience=0.0))]
    fn remove_cgroup(&self, py: Python<'_>, parent: String, name: String, patience: f64) -> PyResult<()> {
        let patience =
            Duration::try_from_secs_f64(patience).map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.on_thread(py, move |state| state.home.cgroups().remove_patiently(&parent, &name, patience))?
            .map_err(error::host)
    }

    fn kill_cgroup(&self, py: Python<'_>, parent: String, name: String) -> PyResult<usize> {
        self.on_thread(py, move |state| state.home.cgroups().kill(&parent, &name))?.map_err(error::host)
    }

    fn cgroup_children(&self, py: Python<'_>, parent: String) -> PyResult<Vec<String>> {
        self.on_thread(py, move |state| state.home.cgroups().children(&parent))
    }

    fn launch(&self, py: Python<'_>, spec: &[u8], fds: Vec<i32>) -> PyResult<Launched> {
        let spec: LaunchSpec = rmp_serde::from_slice(spec).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let fds = fds.into_iter().map(|fd| duplicate(borrow(fd)?)).collect::<PyResult<Vec<_>>>()?;
        let launched = self
            .on_thread(py, move |state| {
                ardock_launch::launch(&state.home, &state.programs, &spec, &fds, &state.slots[0], Parent::Caller)
            })?
            .map_err(|failure| error::host(failure.error))?;
        let pid = Pid::from_raw(launched.pid).ok_or_else(|| error::os(Errno::SRCH))?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(error::os)?;
        let timings =
            rmp_serde::to_vec_named(&launched.timings).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let raw = |fd: Option<OwnedFd>| fd.map(IntoRawFd::into_raw_fd);
        Ok(Launched {
            pid: launched.pid,
            pidfd: pidfd.into_raw_fd(),
            stdin: raw(launched.stdin),
            stdout: raw(launched.stdout),
            stderr: raw(launched.stderr),
            terminal: raw(launched.terminal),
            timings,
            mount_ns: launched.mount_ns,
            helper: launched.helper,
        })
    }

    fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        py.detach(|| thread.join()).map_err(|_| PyRuntimeError::new_err("the launcher's thread panicked"))
    }
}

/// The process's own launcher, for those who need no root or group kept.
static OWN: PyOnceLock<Py<Launcher>> = PyOnceLock::new();

/// See `_core.pyi`.
#[pyfunction]
pub fn launch(py: Python<'_>, spec: &[u8], fds: Vec<i32>) -> PyResult<Launched> {
    let launcher = OWN.get_or_try_init(py, || Py::new(py, Launcher::new(py, None)?))?;
    launcher.borrow(py).launch(py, spec, fds)
}

/// Waits for a child's end; its exit code, or 128 + signal.
fn collect(pid: i32) -> Result<i32, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let status = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
    let status = status.ok_or(Errno::CHILD)?;
    Ok(status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or_default())
}

fn duplicate(fd: BorrowedFd<'_>) -> PyResult<OwnedFd> {
    fd.try_clone_to_owned().map_err(PyErr::from)
}

//! Starting keepers, and what is left of dead ones.

use std::path::PathBuf;
use std::time::Duration;

use ardock_keeper::boot;
use ardock_keeper::journal::{self, Container};
use ardock_keeper::message::Exit;
use ardock_keeper::spawn::{self, Binary, Spawn, SpawnError};
use ardock_launch::Features;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde_bytes::Bytes;

use crate::error::{self, HostError};

/// How long a keeper may take until it listens: some 10 ms, on a machine that
/// is not overloaded beyond use.
const PATIENCE: Duration = Duration::from_secs(20);

/// A container of a journal, as Python's `JournalProgram`.
#[derive(Serialize)]
struct Found<'a> {
    id: &'a str,
    blob: &'a Bytes,
    cgroup: Option<&'a (String, String)>,
    scratch: Option<&'a str>,
    started_at: Option<i64>,
    started_boot: Option<i64>,
    exit: Option<&'a Exit>,
}

impl<'a> From<&'a Container> for Found<'a> {
    fn from(container: &'a Container) -> Self {
        Self {
            id: &container.id,
            blob: Bytes::new(&container.blob),
            cgroup: container.cgroup.as_ref(),
            scratch: container.scratch.as_deref(),
            started_at: container.state.started.map(|begin| begin.started_at),
            started_boot: container.state.started.map(|begin| begin.started_boot),
            exit: container.state.exit.as_ref(),
        }
    }
}

/// See `_core.pyi`.
#[pyfunction]
pub fn read_journal(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyBytes>> {
    let containers = py.detach(|| journal::read_journal(&path)).map_err(error::io)?;
    let found: Vec<Found<'_>> = containers.iter().map(Found::from).collect();
    let bytes = rmp_serde::to_vec_named(&found).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &bytes))
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (executable, run_dir, *, number, engine_id, root, keep_inherited_seccomp))]
pub fn spawn_keeper(
    py: Python<'_>,
    executable: PathBuf,
    run_dir: PathBuf,
    number: u32,
    engine_id: &str,
    root: PathBuf,
    keep_inherited_seccomp: bool,
) -> PyResult<()> {
    let spawn = Spawn {
        binary: Binary::File(&executable),
        engine: engine_id,
        number,
        root,
        run: run_dir,
        patience: PATIENCE,
        restricted: keep_inherited_seccomp,
        absent: Features::declared_absent().map_err(PyValueError::new_err)?,
    };
    py.detach(|| spawn::spawn(&spawn)).map_err(|failed| {
        let errno = match &failed {
            SpawnError::System { source, .. } => source.raw_os_error().unwrap_or_default(),
            _ => 0,
        };
        HostError::new_err(("keeper", executable, errno, failed.to_string(), 125))
    })
}

/// See `_core.pyi`.
#[pyfunction]
pub fn keeper_is_alive(folder: PathBuf) -> PyResult<bool> {
    boot::is_alive(&folder).map_err(error::io)
}

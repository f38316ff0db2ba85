//! The records both sides know, for the tests that hold them together.

use ardock_keeper::message::{Reply, Request, VERSION};
use ardock_launch::{ExecSpec, LaunchError, LaunchSpec, Step, Timings};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::error::step_name;

fn through<T: DeserializeOwned + Serialize>(data: &[u8]) -> Result<Vec<u8>, String> {
    let record: T = rmp_serde::from_slice(data).map_err(|error| error.to_string())?;
    rmp_serde::to_vec_named(&record).map_err(|error| error.to_string())
}

/// See `_core.pyi`.
#[pyfunction]
pub fn reencode<'py>(py: Python<'py>, kind: &str, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = match kind {
        "request" => through::<Request>(data),
        "reply" => through::<Reply>(data),
        "launch_spec" => through::<LaunchSpec>(data),
        "exec_spec" => through::<ExecSpec>(data),
        "launch_error" => through::<LaunchError>(data),
        "timings" => through::<Timings>(data),
        other => Err(format!("no record is called {other:?}")),
    };
    bytes.map(|bytes| PyBytes::new(py, &bytes)).map_err(PyValueError::new_err)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn step_phrases(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let phrases = PyDict::new(py);
    for step in Step::ALL {
        phrases.set_item(step_name(*step), step.phrase())?;
    }
    Ok(phrases)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn versions(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let versions = PyDict::new(py);
    versions.set_item("ardock", env!("CARGO_PKG_VERSION"))?;
    versions.set_item("protocol", VERSION.to_string())?;
    versions.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    versions.set_item("architecture", std::env::consts::ARCH)?;
    Ok(versions)
}

//! File trees of images. All calls that touch the disk release the GIL.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ardock_layer::{Error, Summary};
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

use crate::error;

pyo3::create_exception!(
    ardock._core,
    LayerError,
    PyException,
    "A tree could not be made; args are (kind, message, errno)."
);

fn layer(error: Error) -> PyErr {
    let (kind, errno) = match &error {
        Error::NoTar(_) | Error::Damaged { .. } | Error::Cut { .. } | Error::Leaves { .. } | Error::Refused { .. } => {
            ("source", 0)
        }
        Error::Unsupported { .. } => ("unsupported", 0),
        Error::Step { errno, .. } => ("system", errno.raw_os_error()),
        Error::Cancelled => ("cancelled", 0),
    };
    LayerError::new_err((kind, error.to_string(), errno))
}

type Made = (String, u64, u64);

fn made(summary: Summary) -> Made {
    use std::fmt::Write;
    let mut digest = String::with_capacity(64);
    for byte in summary.digest {
        let _ = write!(digest, "{byte:02x}"); // writing to a string cannot fail
    }
    (digest, summary.size, summary.files)
}

/// See `_core.pyi`.
#[pyclass(module = "ardock._core", frozen)]
#[derive(Debug, Default)]
pub struct CancelFlag {
    set: Arc<AtomicBool>,
}

#[pymethods]
impl CancelFlag {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn set(&self) {
        self.set.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }
}

/// See `_core.pyi`.
#[pyclass(module = "ardock._core", frozen)]
#[derive(Debug)]
pub struct Unpacker {
    inner: Mutex<Option<ardock_layer::Unpacker>>,
}

#[pymethods]
impl Unpacker {
    #[new]
    fn new(target: PathBuf) -> PyResult<Self> {
        let inner = ardock_layer::Unpacker::new(&target).map_err(layer)?;
        Ok(Self { inner: Mutex::new(Some(inner)) })
    }

    fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(unpacker) = inner.as_mut() else { return Err(over()) };
            let result = unpacker.feed(data);
            if result.is_err() {
                *inner = None;
            }
            result.map_err(layer)
        })
    }

    fn finish(&self, py: Python<'_>, cancel: &CancelFlag) -> PyResult<Made> {
        py.detach(|| {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
            let unpacker = inner.ok_or_else(over)?;
            unpacker.finish(&|| cancel.set.load(Ordering::Relaxed)).map(made).map_err(layer)
        })
    }
}

fn over() -> PyErr {
    PyValueError::new_err("the unpacker has ended or failed")
}

#[pyfunction]
pub fn import_directory(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    hidden: Vec<PathBuf>,
    cancel: &CancelFlag,
) -> PyResult<Made> {
    py.detach(|| {
        let hidden: Vec<_> = hidden.iter().map(PathBuf::as_path).collect();
        ardock_layer::copy_directory(&source, &target, &hidden, &|| cancel.set.load(Ordering::Relaxed))
    })
    .map(made)
    .map_err(layer)
}

#[pyfunction]
pub fn remove_tree(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| ardock_layer::remove_tree(&path)).map_err(error::os)
}

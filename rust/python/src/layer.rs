//! File trees of images. All calls that touch the disk release the GIL.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ardock_layer::{Algorithm, Compression, Error, Ingest, Layout, Limits, Pack, Plan, Whiteouts};
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
        Error::NoTar(_)
        | Error::Damaged { .. }
        | Error::Compressed { .. }
        | Error::Cut { .. }
        | Error::Leaves { .. }
        | Error::Refused { .. } => ("source", 0),
        Error::Unsupported { .. } | Error::Compression { .. } => ("unsupported", 0),
        Error::Digest { .. } => ("digest", 0),
        Error::Bomb { .. } | Error::Forbidden { .. } => ("refused", 0),
        Error::Step { errno, .. } => ("system", errno.raw_os_error()),
        Error::Cancelled => ("cancelled", 0),
    };
    LayerError::new_err((kind, error.to_string(), errno))
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
#[pyclass(module = "ardock._core", frozen, get_all)]
#[derive(Debug)]
pub struct LayerSummary {
    digest: String,
    size: u64,
    diff_id: String,
    diff_size: u64,
    content: u64,
    files: u64,
    media: &'static str,
}

impl From<ardock_layer::LayerSummary> for LayerSummary {
    fn from(it: ardock_layer::LayerSummary) -> Self {
        Self {
            digest: it.digest,
            size: it.size,
            diff_id: it.diff_id,
            diff_size: it.diff_size,
            content: it.content,
            files: it.files,
            media: it.media.name(),
        }
    }
}

#[pymethods]
impl LayerSummary {
    fn __repr__(&self) -> String {
        format!(
            "<LayerSummary {} {} {} bytes, diff {} {} bytes, {} entries>",
            self.media, self.digest, self.size, self.diff_id, self.diff_size, self.files
        )
    }
}

/// See `_core.pyi`.
#[pyclass(module = "ardock._core", frozen)]
#[derive(Debug)]
pub struct LayerIngest {
    // Behind a lock of its own kind each: `abort` must not wait for a `feed` that waits.
    inner: Mutex<Option<Arc<Ingest>>>,
}

fn whiteouts(name: &str) -> PyResult<Whiteouts> {
    match name {
        "overlay" => Ok(Whiteouts::Overlay),
        "apply" => Ok(Whiteouts::Apply),
        "aufs" => Ok(Whiteouts::Aufs),
        _ => Err(PyValueError::new_err(format!("whiteouts are overlay, apply or aufs, not {name:?}"))),
    }
}

impl LayerIngest {
    fn inner(&self) -> PyResult<Arc<Ingest>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clone().ok_or_else(|| PyValueError::new_err("the layer was finished or aborted"))
    }

    fn take(&self) -> Option<Arc<Ingest>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl LayerIngest {
    #[new]
    #[pyo3(signature = (*, blob, target, whiteouts = "overlay", algorithm = "sha256", max_size = Limits::default().size,
        max_ratio = Limits::default().ratio, devices = true, strict = false, expected = None))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // the Python signature
    fn new(
        py: Python<'_>,
        blob: Option<PathBuf>,
        target: Option<PathBuf>,
        whiteouts: &str,
        algorithm: &str,
        max_size: u64,
        max_ratio: u64,
        devices: bool,
        strict: bool,
        expected: Option<String>,
    ) -> PyResult<Self> {
        let algorithm = Algorithm::named(algorithm)
            .ok_or_else(|| PyValueError::new_err(format!("algorithms are sha256 and sha512, not {algorithm:?}")))?;
        let limits = Limits { size: max_size, ratio: max_ratio.max(1), devices };
        let plan = Plan { blob, target, whiteouts: self::whiteouts(whiteouts)?, algorithm, limits, strict, expected };
        let ingest = py.detach(|| Ingest::new(plan)).map_err(layer)?;
        Ok(Self { inner: Mutex::new(Some(Arc::new(ingest))) })
    }

    fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        let inner = self.inner()?;
        py.detach(|| inner.feed(data)).map_err(layer)
    }

    fn finish(&self, py: Python<'_>, cancel: &CancelFlag) -> PyResult<LayerSummary> {
        let inner = self.inner()?;
        let result = py.detach(|| inner.finish(&|| cancel.set.load(Ordering::Relaxed)));
        self.take();
        result.map(LayerSummary::from).map_err(layer)
    }

    fn abort(&self, py: Python<'_>) {
        if let Some(inner) = self.take() {
            py.detach(|| inner.abort());
        }
    }
}

#[pyfunction]
pub fn import_directory(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    hidden: Vec<PathBuf>,
    cancel: &CancelFlag,
) -> PyResult<LayerSummary> {
    py.detach(|| {
        let hidden: Vec<_> = hidden.iter().map(PathBuf::as_path).collect();
        ardock_layer::import_directory(&source, &target, &hidden, &|| cancel.is_set())
    })
    .map(LayerSummary::from)
    .map_err(layer)
}

fn layout_named(name: &str) -> PyResult<Layout> {
    match name {
        "overlay" => Ok(Layout::Overlay),
        "tree" => Ok(Layout::Tree),
        "aufs" => Ok(Layout::Aufs),
        _ => Err(PyValueError::new_err(format!("layouts are overlay, tree or aufs, not {name:?}"))),
    }
}

#[pyfunction]
#[pyo3(signature = (dirs, out, *, compression = "none", below = vec![], layout = "overlay", subpath = "", hidden = vec![],
    cancel))]
#[allow(clippy::too_many_arguments)] // the Python signature
pub fn pack(
    py: Python<'_>,
    dirs: Vec<PathBuf>,
    out: Option<i32>,
    compression: &str,
    below: Vec<PathBuf>,
    layout: &str,
    subpath: &str,
    hidden: Vec<PathBuf>,
    cancel: &CancelFlag,
) -> PyResult<LayerSummary> {
    let compression = Compression::named(compression)
        .ok_or_else(|| PyValueError::new_err(format!("compressions are none, gzip or zstd, not {compression:?}")))?;
    let layout = layout_named(layout)?;
    // A copy of the caller's: whoever closes theirs meanwhile does not make us write elsewhere.
    let out = out.map(own_copy).transpose()?;
    py.detach(|| {
        let hidden: Vec<_> = hidden.iter().map(PathBuf::as_path).collect();
        let what = Pack { dirs: &dirs, below: &below, layout, subpath, hidden: &hidden, compression };
        ardock_layer::pack(&what, out.as_ref().map(AsFd::as_fd), &|| cancel.is_set())
    })
    .map(LayerSummary::from)
    .map_err(layer)
}

fn own_copy(fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!("out is a descriptor, not {fd}")));
    }
    #[allow(unsafe_code)]
    // SAFETY: it is not negative, and the interpreter's lock is held: nothing closes it before it is copied.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().map_err(error::io)
}

#[pyfunction]
#[pyo3(signature = (dirs, below, *, layout = "overlay", cancel))]
pub fn changes(
    py: Python<'_>,
    dirs: Vec<PathBuf>,
    below: Vec<PathBuf>,
    layout: &str,
    cancel: &CancelFlag,
) -> PyResult<Vec<(&'static str, std::ffi::OsString)>> {
    let layout = layout_named(layout)?;
    let changes = py.detach(|| ardock_layer::changes(&dirs, &below, layout, &|| cancel.is_set())).map_err(layer)?;
    let told = |(change, path): (ardock_layer::Change, Vec<u8>)| (change.letter(), OsStringExt::from_vec(path));
    Ok(changes.into_iter().map(told).collect())
}

#[pyfunction]
#[pyo3(signature = (dirs, subpath, target, cancel, *, layout = "overlay"))]
pub fn copy_tree(
    py: Python<'_>,
    dirs: Vec<PathBuf>,
    subpath: &str,
    target: PathBuf,
    cancel: &CancelFlag,
    layout: &str,
) -> PyResult<(u64, u64)> {
    let layout = layout_named(layout)?;
    py.detach(|| ardock_layer::copy_tree(&dirs, subpath, &target, layout, &|| cancel.is_set())).map_err(self::layer)
}

#[pyfunction]
pub fn decompress_file(py: Python<'_>, source: PathBuf, target: PathBuf, cancel: &CancelFlag) -> PyResult<u64> {
    py.detach(|| ardock_layer::decompress_file(&source, &target, &|| cancel.is_set())).map_err(layer)
}

#[pyfunction]
pub fn remove_tree(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| ardock_layer::remove_tree(&path)).map_err(error::os)
}

//! The splitter of the API's byte streams.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// See `_core.pyi`.
#[pyclass(module = "ardock._core")]
#[derive(Debug)]
pub struct FrameReader {
    inner: ardock_frames::FrameReader,
}

#[pymethods]
impl FrameReader {
    #[new]
    #[pyo3(signature = (max_frame, max_depth = 64))]
    fn new(max_frame: usize, max_depth: usize) -> Self {
        Self { inner: ardock_frames::FrameReader::new(max_frame, max_depth) }
    }

    /// Holds the GIL: what comes in one read is scanned in microseconds, and
    /// getting the GIL back could take milliseconds.
    fn feed<'py>(&mut self, py: Python<'py>, data: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let mut frames = Vec::new();
        self.inner
            .feed(data, |frame| frames.push(PyBytes::new(py, frame)))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(frames)
    }

    #[getter]
    fn pending(&self) -> usize {
        self.inner.pending()
    }
}

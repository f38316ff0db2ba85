//! `ardock._core`: the Rust side of the Python package. Wiring and nothing
//! else; what it wires is in `ardock-launch` and `ardock-keeper`.
//!
//! The interface is described, with its types, in `python/ardock/_core.pyi`.

#![allow(clippy::needless_pass_by_value)] // PyO3 hands over arguments that it has converted
#![allow(missing_docs)] // each item is described, with its Python types, in `_core.pyi`

mod client;
mod error;
mod frames;
mod host;
mod keeper;
mod launcher;
mod layer;
mod watch;
mod wire;

use pyo3::prelude::*;

/// The module.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("HostError", module.py().get_type::<error::HostError>())?;
    module.add("LayerError", module.py().get_type::<layer::LayerError>())?;
    module.add_class::<client::KeeperClient>()?;
    module.add_class::<frames::FrameReader>()?;
    module.add_class::<launcher::Launched>()?;
    module.add_class::<launcher::Launcher>()?;
    module.add_class::<layer::CancelFlag>()?;
    module.add_class::<layer::LayerIngest>()?;
    module.add_class::<layer::LayerSummary>()?;
    module.add_class::<watch::LogWatch>()?;
    module.add_class::<host::Shelf>()?;
    module.add_function(wrap_pyfunction!(host::kernel_features, module)?)?;
    module.add_function(wrap_pyfunction!(host::device_programs, module)?)?;
    module.add_function(wrap_pyfunction!(host::mount_filesystem, module)?)?;
    module.add_function(wrap_pyfunction!(host::open_bind, module)?)?;
    module.add_function(wrap_pyfunction!(host::open_root, module)?)?;
    module.add_function(wrap_pyfunction!(host::resolve_user, module)?)?;
    module.add_function(wrap_pyfunction!(host::root_identity, module)?)?;
    module.add_function(wrap_pyfunction!(host::seccomp_compile, module)?)?;
    module.add_function(wrap_pyfunction!(keeper::keeper_is_alive, module)?)?;
    module.add_function(wrap_pyfunction!(keeper::read_journal, module)?)?;
    module.add_function(wrap_pyfunction!(keeper::spawn_keeper, module)?)?;
    module.add_function(wrap_pyfunction!(launcher::launch, module)?)?;
    module.add_function(wrap_pyfunction!(layer::changes, module)?)?;
    module.add_function(wrap_pyfunction!(layer::copy_tree, module)?)?;
    module.add_function(wrap_pyfunction!(layer::decompress_file, module)?)?;
    module.add_function(wrap_pyfunction!(layer::import_directory, module)?)?;
    module.add_function(wrap_pyfunction!(layer::pack, module)?)?;
    module.add_function(wrap_pyfunction!(layer::remove_tree, module)?)?;
    module.add_function(wrap_pyfunction!(wire::reencode, module)?)?;
    module.add_function(wrap_pyfunction!(wire::step_phrases, module)?)?;
    module.add_function(wrap_pyfunction!(wire::versions, module)?)?;
    Ok(())
}

//! From a [`LaunchSpec`] to a running process: namespaces, root file system,
//! mounts, control groups, device rules, seccomp, capabilities, the child
//! between clone and execve, and programs joined to a container.
//!
//! The order and the reasons are those of the design's twelve rules
//! (`docs/design.md`, section 3). The crate is linked twice: into the keeper,
//! whose launchers call [`launch`] and [`exec`], and into the Python extension.

pub mod cgroup;
mod child;
pub mod error;
pub mod home;
pub mod host;
mod isolate;
mod join;
pub mod kernel;
mod launch;
mod overlay;
mod plan;
mod process;
pub mod seccomp;
mod slot;
pub mod spec;
mod sys;
pub mod timings;

pub use error::{LaunchError, Step};
pub use home::{Home, HomeConfig};
pub use kernel::{Feature, Features};
pub use launch::{clean, exec, launch, Failure, Launched, Parent};
pub use seccomp::Programs;
pub use slot::{Slot, Slots};
pub use spec::*;
pub use timings::Timings;

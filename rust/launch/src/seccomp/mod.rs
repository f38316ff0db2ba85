//! Seccomp policies: Docker's and OCI's profiles compiled to classic BPF.
//!
//! [`Profile::parse`] reads what `--security-opt seccomp=FILE` names,
//! [`Profile::docker_default`] is what a container gets without it, and
//! [`compile`] makes the program for a set of capabilities and a kernel. The
//! engine compiles, once for each combination ([`Compiler`]), and sends
//! programs to keepers, which hold them by hash ([`Programs`]); a launch
//! compiles nothing.
//!
//! The compiler does what runc and libseccomp do with the same profile, which
//! a test compares call by call; `lower` has the rules and `search` the
//! layout. Known differences, on purpose:
//!
//! - Several rules of one call are each tried as they are written. libseccomp
//!   merges the upper halves of their values and sometimes answers for a rule
//!   that does not match.
//! - Rules of one call with different actions whose conditions overlap are
//!   tried in a fixed order (`lower::order`); libseccomp's depends on the order
//!   in the file, and it refuses some that are clear.
//! - Sections for architectures that the host's kernel does not serve are
//!   left out; no call ever comes with their number.
//! - In the default profile, `socket` looks at the half of the register that
//!   the kernel looks at.

pub mod arch;
mod error;
mod graph;
pub mod interpret;
mod leaf;
mod lower;
mod profile;
mod program;
mod programs;
mod search;
mod table;
#[cfg(test)]
mod tests;

pub use arch::Arch;
pub use error::SeccompError;
pub use profile::Profile;
pub use program::{Call, Program};
pub use programs::{Compiler, Programs};

/// The kernel's limit (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

// linux/seccomp.h
const RET_KILL_THREAD: u32 = 0;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ENOSYS: u32 = RET_ERRNO + 38;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// The program of a profile for a container with the bounding set `caps`
/// (bit N for capability N) on this machine under kernel `(major, minor)`.
pub fn compile(profile: &Profile, caps: u64, kernel: (u32, u32)) -> Result<Program, SeccompError> {
    compile_for(Arch::native().ok_or(SeccompError::Host)?, profile, caps, kernel)
}

/// The same for a host of another architecture (`X86_64` or `Aarch64`).
pub fn compile_for(host: Arch, profile: &Profile, caps: u64, kernel: (u32, u32)) -> Result<Program, SeccompError> {
    let sections = lower::lower(profile, host, caps, kernel)?;
    let mut graph = graph::Graph::default();
    let root = search::build(&mut graph, &sections, profile.default_action);
    Ok(Program::new(graph.assemble(root)?, host))
}

/// The running kernel's version, as profiles compare it.
#[must_use]
pub fn host_kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

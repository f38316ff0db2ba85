//! What can be wrong with a policy or a program.

use super::arch::Arch;

/// A refused profile, program or launch. Each `Display` is one sentence that
/// names the place and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// Not JSON at all.
    #[error("the seccomp profile is not valid JSON: {reason}")]
    Json {
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A field has a value that it cannot have.
    #[error("the seccomp profile's {at} {problem}")]
    Field {
        /// The path of the field, such as `syscalls[3].action`.
        at: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Two rules give one call different answers under equal conditions.
    #[error(
        "the seccomp profile has two rules for {syscall} with equal conditions but different actions (on {}); \
         remove one of them",
        .arch.oci_name()
    )]
    Conflict {
        /// The call.
        syscall: String,
        /// Where they meet.
        arch: Arch,
    },
    /// More than the kernel takes.
    #[error(
        "the seccomp profile compiles to more than {} instructions, the kernel's limit; use fewer argument rules",
        super::MAX_INSTRUCTIONS
    )]
    TooLong,
    /// No tables for this processor.
    #[error("seccomp profiles are supported on x86-64 and aarch64 hosts only; use seccomp=unconfined")]
    Host,
    /// The launch itself needs calls that the profile refuses.
    #[error(
        "the seccomp profile refuses {}, which starting a container needs after the profile is in force; allow {}",
        .calls.join(", "),
        if .calls.len() == 1 { "it" } else { "them" }
    )]
    Forbids {
        /// The calls.
        calls: Vec<String>,
    },
    /// Bytes that are no program, or not the one that they claim to be.
    #[error("the seccomp program {hash}: {problem}")]
    Program {
        /// The name under which it came.
        hash: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl SeccompError {
    pub(super) fn field(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { at: at.into(), problem: problem.into() }
    }
}

//! A compiled filter.

use sha2::{Digest, Sha256};

use super::arch::Arch;
use super::error::SeccompError;
use super::interpret::{self, Data, Fault, Insn};
use super::{RET_ALLOW, RET_LOG};

/// A filter for the kernel, and its name: the SHA-256 of its bytes, under
/// which a keeper holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    hash: String,
    bytes: Vec<u8>,
    code: Vec<Insn>,
    host: Arch,
}

/// A call that will be made, with the arguments that are certain.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments; `None` stands for any value.
    pub args: [Option<u64>; 6],
}

/// What `crate::process` does after a filter that it loaded last.
const AFTER_FILTER_LAST: &[&str] = &["execve"];

/// And what it does after one that it loaded before dropping privileges.
const AFTER_FILTER_FIRST: &[&str] =
    &["prctl", "setgroups", "setresgid", "setresuid", "capset", "ppoll", "close_range", "execve"];

/// What the helper of `crate::join` does besides.
const AFTER_FILTER_EXEC: &[&str] =
    &["setsid", "pipe2", "fcntl", "dup3", "madvise", "close", "read", "write", "exit_group"];

impl<'a> Call<'a> {
    /// A call with any arguments.
    #[must_use]
    pub const fn any(name: &'a str) -> Self {
        Self { name, args: [None; 6] }
    }
}

impl Program {
    pub(super) fn new(code: Vec<Insn>, host: Arch) -> Self {
        let bytes: Vec<u8> = code.iter().flat_map(|insn| insn.to_bytes()).collect();
        Self { hash: hash(&bytes), bytes, code, host }
    }

    /// SHA-256 of the bytes in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// An array of `struct sock_filter` in this machine's byte order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The instructions.
    #[must_use]
    pub fn code(&self) -> &[Insn] {
        &self.code
    }

    /// What the kernel would be answered (`SECCOMP_RET_*`).
    pub fn run(&self, data: &Data) -> Result<u32, Fault> {
        interpret::run(&self.code, data)
    }

    /// Whether a call of the host's own interface is sure to pass.
    #[must_use]
    pub fn allows(&self, call: &Call<'_>) -> bool {
        let Some(number) = self.host.number(call.name) else { return false };
        interpret::outcomes(&self.code, self.host.audit(), number, &call.args).is_ok_and(|answers| {
            !answers.is_empty() && answers.iter().all(|answer| matches!(answer & 0xffff_0000, RET_ALLOW | RET_LOG))
        })
    }

    /// Refuses by name where one of these calls may not pass, whatever its
    /// arguments. For calls that must follow the loading of the filter.
    pub fn must_allow(&self, names: &[&str]) -> Result<(), SeccompError> {
        self.must_allow_calls(&names.iter().map(|name| Call::any(name)).collect::<Vec<_>>())
    }

    /// Refuses by name where the launch's own last calls may not pass: those
    /// between the loading of the filter and the program's first instruction.
    /// Without no_new_privs the filter is loaded before capabilities are
    /// dropped and ids set, with it right before execve.
    pub fn must_allow_launch(&self, no_new_privileges: bool) -> Result<(), SeccompError> {
        self.must_allow(if no_new_privileges { AFTER_FILTER_LAST } else { AFTER_FILTER_FIRST })
    }

    /// The same for a program that joins a container: its helper takes the
    /// filter on before it clones the program.
    pub fn must_allow_exec(&self, no_new_privileges: bool) -> Result<(), SeccompError> {
        self.must_allow_launch(no_new_privileges)?;
        if no_new_privileges {
            return Ok(());
        }
        let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;
        let mut calls: Vec<Call<'_>> = AFTER_FILTER_EXEC.iter().map(|name| Call::any(name)).collect();
        calls.push(Call { name: "clone", args: [Some(flags as u64), None, None, None, None, None] });
        self.must_allow_calls(&calls)
    }

    /// The same for calls of which arguments are known.
    pub fn must_allow_calls(&self, calls: &[Call<'_>]) -> Result<(), SeccompError> {
        let mut refused: Vec<String> =
            calls.iter().filter(|call| !self.allows(call)).map(|call| call.name.to_owned()).collect();
        refused.dedup();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(SeccompError::Forbids { calls: refused })
        }
    }
}

/// The name of a program.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}

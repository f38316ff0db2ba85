//! Device rules on v2: one BPF program for each distinct set of them.
//!
//! A program is attached to each container's own group: that takes a
//! microsecond, where a group for each set of rules with the containers
//! beneath it would make every step of theirs dearer (docs/design.md).
//! What is loaded is found again by the fingerprint of its code: by a
//! launcher in its own table, by the next launcher through a group
//! `devices-<fingerprint>` beside the containers, which holds the program and
//! no process, as v1's group of that name holds the rules.

mod bpf;
mod policy;
mod program;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use super::files;
use crate::error::{LaunchError, Step};
use crate::spec::DeviceRule;
use policy::Policy;
use program::Insn;

/// Programs that a launcher holds; beyond that, it forgets them all. A set of
/// rules more is one with other devices or permissions in its `--device`s.
const HELD: usize = 256;
/// Exceptions that a program is made for: the verifier holds 8192 jumps that
/// it has yet to look at (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`), four for each.
const MOST: usize = 2000;
/// The end of what a verifier says names the reason.
const LOG_END: usize = 1500;

/// The programs that this process has loaded or found.
#[derive(Debug, Default)]
pub struct DevicePrograms {
    held: Mutex<HashMap<Vec<DeviceRule>, Option<Arc<OwnedFd>>>>,
    works: OnceLock<Result<(), i32>>,
}

/// Whether this kernel takes device programs from this process: `EINVAL` where
/// they are not built in (`CONFIG_CGROUP_BPF`), `EPERM` where it may not load
/// any (`CAP_BPF` and `CAP_NET_ADMIN`, in no user namespace).
pub(super) fn device_programs_work() -> Result<(), i32> {
    let nothing = Policy::of(&[]).map_err(|_| libc::EINVAL)?;
    bpf::load(&program::compile(&nothing)).map(|_| ()).map_err(|(errno, _)| errno)
}

impl DevicePrograms {
    /// [`device_programs_work`], asked once.
    fn work(&self) -> Result<(), i32> {
        *self.works.get_or_init(device_programs_work)
    }

    /// Binds a container's group to rules; false where this kernel enforces
    /// none, see [`device_programs_work`].
    pub(super) fn enforce(
        &self,
        base: &OwnedFd,
        parent: &str,
        group: &OwnedFd,
        rules: &[DeviceRule],
    ) -> Result<bool, LaunchError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(rules).cloned();
        let program = match held {
            Some(program) => program,
            None => match self.make(base, parent, rules)? {
                Made::Program(program) => {
                    let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                    if held.len() >= HELD {
                        held.clear();
                    }
                    held.insert(rules.to_vec(), program.clone());
                    program
                }
                Made::Impossible => return Ok(false),
            },
        };
        let Some(program) = program else { return Ok(true) };
        bpf::attach(group.as_fd(), program.as_fd()).map(|()| true).map_err(|errno| {
            let error = LaunchError::os(Step::Cgroup, "device rules", errno);
            match errno {
                libc::EPERM => error.hint(
                    "a control group above has a device program that allows none beneath it, or this process lacks \
                     CAP_NET_ADMIN",
                ),
                libc::E2BIG => error.hint("a control group may have 64 device programs at most"),
                _ => error,
            }
        })
    }

    fn make(&self, base: &OwnedFd, parent: &str, rules: &[DeviceRule]) -> Result<Made, LaunchError> {
        let policy = Policy::of(rules)?;
        if policy.is_open() {
            return Ok(Made::Program(None));
        }
        if policy.exceptions.len() > MOST {
            let count = format!("{} device rules", policy.exceptions.len());
            return Err(LaunchError::because(Step::Cgroup, count, "a container may have 2000 different ones at most"));
        }
        let code = program::compile(&policy);
        let folder = format!("{parent}/devices-{}", fingerprint(&code));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(base, folder.as_str(), flags, Mode::empty());
        if let Some(found) = open().ok().and_then(|group| bpf::attached(group.as_fd())) {
            return Ok(Made::Program(Some(Arc::new(found))));
        }
        let program = match bpf::load(&code) {
            Ok(program) => program,
            Err(_) if self.work().is_err() => return Ok(Made::Impossible),
            Err((errno, log)) => return Err(refused(errno, code.len(), &log)),
        };
        // For the next launcher. One that is making the same at this moment
        // may come between; the group then has two and is not used, which
        // costs the next one a program of its own and nothing else.
        let _made = files::mkdir(base, &folder);
        if let Ok(group) = open() {
            let _kept_by_this_process_alone = bpf::attach(group.as_fd(), program.as_fd());
        }
        Ok(Made::Program(Some(Arc::new(program))))
    }
}

enum Made {
    /// `None`: nothing is forbidden.
    Program(Option<Arc<OwnedFd>>),
    /// Not on this kernel, or not by this process.
    Impossible,
}

fn refused(errno: i32, instructions: usize, log: &str) -> LaunchError {
    let from = log.char_indices().rev().nth(LOG_END).map_or(0, |(at, _)| at);
    let said = if log.is_empty() { "nothing".to_owned() } else { log[from..].trim().replace('\n', "; ") };
    LaunchError::os(Step::Cgroup, format!("device rules (a BPF program of {instructions} instructions)"), errno)
        .hint(format!("the kernel's verifier said: {said}"))
}

/// A name for a program by its code, so that the rules in another order, or
/// by other words, are the same one. No two codes share it by chance or by
/// intent.
fn fingerprint(code: &[Insn]) -> String {
    let mut hash = Sha256::new();
    for insn in code {
        hash.update([insn.code, insn.registers]);
        hash.update(insn.offset.to_le_bytes());
        hash.update(insn.immediate.to_le_bytes());
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    format!("{:032x}", u128::from_be_bytes(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: char, numbers: (Option<u32>, Option<u32>), access: &str) -> DeviceRule {
        DeviceRule { allow: true, kind, major: numbers.0, minor: numbers.1, access: access.into() }
    }

    fn deny_all() -> DeviceRule {
        DeviceRule { allow: false, ..rule('a', (None, None), "rwm") }
    }

    /// Loads what rules compile to, where this machine can.
    fn load(rules: &[DeviceRule]) -> Option<Result<OwnedFd, LaunchError>> {
        if let Err(errno) = device_programs_work() {
            eprintln!("SKIPPED: device programs cannot be loaded here (errno {errno})");
            return None;
        }
        let code = program::compile(&Policy::of(rules).unwrap());
        Some(bpf::load(&code).map_err(|(errno, log)| refused(errno, code.len(), &log)))
    }

    #[test]
    fn the_kernel_takes_a_program_for_every_shape_of_rule() {
        for deny_first in [true, false] {
            for access in ["r", "w", "m", "rw", "rm", "wm", "rwm"] {
                for numbers in [(None, None), (Some(1), None), (None, Some(3)), (Some(1), Some(u32::MAX))] {
                    let mut rules = if deny_first { vec![deny_all()] } else { vec![] };
                    for kind in ['b', 'c'] {
                        rules.push(DeviceRule { allow: deny_first, ..rule(kind, numbers, access) });
                    }
                    let Some(loaded) = load(&rules) else { return };
                    loaded.unwrap();
                }
            }
        }
    }

    #[test]
    fn the_kernel_takes_a_program_of_as_many_rules_as_there_may_be() {
        let mut rules = vec![deny_all()];
        for number in 0..MOST {
            let access = ["r", "rw", "wm", "m"][number % 4];
            rules.push(rule(
                if number % 3 == 0 { 'b' } else { 'c' },
                (Some(number as u32 / 7), Some(number as u32)),
                access,
            ));
        }
        let begun = std::time::Instant::now();
        let Some(loaded) = load(&rules) else { return };
        loaded.unwrap();
        eprintln!("{MOST} rules loaded in {:?}", begun.elapsed());
    }

    #[test]
    fn what_the_verifier_says_is_in_the_error() {
        let Some(Ok(_)) = load(&[deny_all()]) else { return };
        // Falls off its end.
        let code = &program::compile(&Policy::of(&[deny_all()]).unwrap())[..1];
        let (errno, log) = bpf::load(code).unwrap_err();
        let error = refused(errno, code.len(), &log).to_string();
        assert!(errno == libc::EINVAL && error.contains("1 instructions"), "{error}");
        assert!(error.contains("last insn is not an exit or jmp"), "{error}");
    }

    #[test]
    fn sets_that_mean_the_same_have_one_name_and_others_another() {
        let name = |rules: &[DeviceRule]| fingerprint(&program::compile(&Policy::of(rules).unwrap()));
        let (null, zero) = (rule('c', (Some(1), Some(3)), "rwm"), rule('c', (Some(1), Some(5)), "rwm"));
        let one = name(&[deny_all(), null.clone(), zero.clone()]);
        assert_eq!(one, name(&[deny_all(), zero.clone(), null.clone(), null.clone()]));
        assert_ne!(one, name(&[deny_all(), null]));
        assert_ne!(one, name(&[deny_all(), zero, rule('c', (Some(1), Some(3)), "rw")]));
    }
}

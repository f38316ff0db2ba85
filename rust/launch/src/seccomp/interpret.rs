//! Running a filter outside the kernel.
//!
//! The instructions that a seccomp filter may hold and that compilers of
//! them emit (Documentation/userspace-api/seccomp_filter.rst); others are
//! errors. Used to tell before a launch what a program will do, and by tests.

use std::collections::{BTreeSet, HashSet};

use super::graph::{AND, JA, JEQ, JGE, JGT, JSET, LOAD, RET};

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jt: u8,
    /// And where not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

impl Insn {
    /// From the kernel's layout, in this machine's byte order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = bytes;
        Self { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes([k0, k1, k2, k3]) }
    }

    /// The kernel's layout, in this machine's byte order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

/// A program that the kernel would not take, or that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It runs past its end.
    #[error("the program runs past its end")]
    End,
    /// An instruction that filters do not need.
    #[error("instruction {at} has the unknown operation {code:#x}")]
    Operation {
        /// Its place.
        at: usize,
        /// Its operation.
        code: u16,
    },
    /// A load from outside of `struct seccomp_data`.
    #[error("instruction {at} loads from {offset}")]
    Load {
        /// Its place.
        at: usize,
        /// What it loads.
        offset: u32,
    },
}

/// `struct seccomp_data`: what the kernel shows to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// System call number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the program is.
    pub instruction_pointer: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// What the program answers.
pub fn run(code: &[Insn], data: &Data) -> Result<u32, Fault> {
    let mut at = 0;
    let mut accumulator = 0;
    loop {
        let insn = *code.get(at).ok_or(Fault::End)?;
        let load = |offset| match offset {
            0 => data.nr,
            4 => data.arch,
            8 => data.instruction_pointer as u32,
            12 => (data.instruction_pointer >> 32) as u32,
            _ => half(data.args[(offset as usize - 16) / 8], offset),
        };
        match step(insn, at, accumulator)? {
            Step::Load(offset) => accumulator = load(offset),
            Step::Value(value) => accumulator = value,
            Step::Skip(count) => at += count,
            Step::Answer(value) => return Ok(value),
        }
        at += 1;
    }
}

/// All that the program may answer to a call when only some arguments are
/// known. Tests of unknown values go both ways, so there may be answers here
/// that no call gets, and never one missing.
pub fn outcomes(code: &[Insn], arch: u32, nr: u32, args: &[Option<u64>; 6]) -> Result<BTreeSet<u32>, Fault> {
    explore(code, &|offset| match offset {
        0 => Some(nr),
        4 => Some(arch),
        8 | 12 => None,
        _ => args[(offset as usize - 16) / 8].map(|arg| half(arg, offset)),
    })
}

/// The lower half of an argument or its upper one.
fn half(arg: u64, offset: u32) -> u32 {
    if offset.is_multiple_of(8) {
        arg as u32
    } else {
        (arg >> 32) as u32
    }
}

/// What one instruction does when the accumulator is known.
enum Step {
    Load(u32),
    Value(u32),
    Skip(usize),
    Answer(u32),
}

fn step(insn: Insn, at: usize, accumulator: u32) -> Result<Step, Fault> {
    let jump = |holds| Step::Skip(usize::from(if holds { insn.jt } else { insn.jf }));
    Ok(match insn.code {
        LOAD if insn.k.is_multiple_of(4) && insn.k <= 60 => Step::Load(insn.k),
        LOAD => return Err(Fault::Load { at, offset: insn.k }),
        AND => Step::Value(accumulator & insn.k),
        JA => Step::Skip(insn.k as usize),
        JEQ => jump(accumulator == insn.k),
        JGT => jump(accumulator > insn.k),
        JGE => jump(accumulator >= insn.k),
        JSET => jump(accumulator & insn.k != 0),
        RET => Step::Answer(insn.k),
        code => return Err(Fault::Operation { at, code }),
    })
}

fn explore(code: &[Insn], load: &dyn Fn(u32) -> Option<u32>) -> Result<BTreeSet<u32>, Fault> {
    let mut answers = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut paths = vec![(0, Some(0))];
    while let Some((at, accumulator)) = paths.pop() {
        if !seen.insert((at, accumulator)) {
            continue;
        }
        let insn = *code.get(at).ok_or(Fault::End)?;
        match (step(insn, at, accumulator.unwrap_or(0))?, accumulator) {
            (Step::Load(offset), _) => paths.push((at + 1, load(offset))),
            (Step::Value(value), _) => paths.push((at + 1, accumulator.map(|_| value))),
            (Step::Answer(value), _) => _ = answers.insert(value),
            (Step::Skip(_), None) if insn.code != JA => {
                paths.extend([insn.jt, insn.jf].map(|skip| (at + 1 + usize::from(skip), None)));
            }
            (Step::Skip(count), _) => paths.push((at + 1 + count, accumulator)),
        }
    }
    Ok(answers)
}

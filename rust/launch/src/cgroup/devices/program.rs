//! A policy as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
//!
//! The kernel runs it on each open and each mknod of a device node by a
//! process of the group, with `struct bpf_cgroup_dev_ctx` (linux/bpf.h): type
//! and access in one word, then major and minor. 0 is EPERM.
//!
//! One block of tests for each exception, each of which jumps to the next
//! block at the first that fails. Jumps never reach further than their block,
//! so that their 16 bits set no limit. That of the kernel is 1,000,000
//! instructions, of which its verifier must have looked at no more: every
//! block reads anew what it looks at, because what the verifier has learnt of
//! a register on one way to a block would have it look at the block, and all
//! that follow, once for each way (values read once: 3000 rules are too many).

use super::policy::{Devices, Policy, ALL};

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    pub code: u8,
    /// Destination in the lower half, source in the upper one.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

// Registers: the answer, the context, what was read from it.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const VALUE: u8 = 2;

// Where in the context (its first word is `access << 16 | type`, and both
// hosts that ardock runs on have the lower half first).
const KIND: i16 = 0;
const ACCESS: i16 = 2;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

// Classes and operations of Documentation/bpf/standardization/instruction-set.
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
const MOVE32: u8 = 0xb4;
/// On 32 bits: an immediate is extended with its sign for 64.
const JUMP_IF_NOT_EQUAL32: u8 = 0x56;
const JUMP_IF_SET32: u8 = 0x46;
const JUMP: u8 = 0x05;
const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_BLOCK`, `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

const fn insn(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: source << 4 | destination, offset, immediate }
}

/// The program that answers as [`Policy`] says.
pub(super) fn compile(policy: &Policy) -> Vec<Insn> {
    let mut code = Vec::new();
    for (devices, access) in &policy.exceptions {
        code.extend(block(*devices, *access, !policy.allow));
    }
    code.extend(answer(policy.allow));
    code
}

fn answer(allow: bool) -> [Insn; 2] {
    [insn(MOVE32, ANSWER, 0, 0, i32::from(allow)), insn(EXIT, 0, 0, 0, 0)]
}

/// One exception. `TO_NEXT` jumps get their length when that is known.
fn block(devices: Devices, access: u8, allow: bool) -> Vec<Insn> {
    const TO_NEXT: i16 = 0;
    let load = |code, from| insn(code, VALUE, CONTEXT, from, 0);
    let must_be = |value| insn(JUMP_IF_NOT_EQUAL32, VALUE, 0, TO_NEXT, value);
    let mut code = vec![load(LOAD_HALF, KIND), must_be(if devices.block { BLOCK } else { CHARACTER })];
    if access != ALL {
        code.push(load(LOAD_HALF, ACCESS));
        if allow {
            // More is asked than this one allows.
            code.push(insn(JUMP_IF_SET32, VALUE, 0, TO_NEXT, i32::from(ALL & !access)));
        } else {
            // Nothing is asked that this one denies: not over the jump.
            code.push(insn(JUMP_IF_SET32, VALUE, 0, 1, i32::from(access)));
            code.push(insn(JUMP, 0, 0, TO_NEXT, 0));
        }
    }
    for (number, from) in [(devices.major, MAJOR), (devices.minor, MINOR)] {
        if let Some(number) = number {
            code.extend([load(LOAD_WORD, from), must_be(number as i32)]);
        }
    }
    code.extend(answer(allow));
    let end = code.len();
    for (at, insn) in code.iter_mut().enumerate() {
        if matches!(insn.code, JUMP_IF_NOT_EQUAL32 | JUMP_IF_SET32 | JUMP) && insn.offset == TO_NEXT {
            insn.offset = (end - at - 1) as i16;
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::devices::policy::{MKNOD, READ, WRITE};
    use crate::spec::DeviceRule;
    use proptest::prelude::*;

    /// What the kernel would do with a program.
    fn run(code: &[Insn], block: bool, major: u32, minor: u32, access: u8) -> bool {
        let context = [u32::from(access) << 16 | if block { 1 } else { 2 }, major, minor];
        let mut registers = [0u32; 16];
        let mut at = 0;
        loop {
            let Insn { code, registers: pair, offset, immediate } = code[at];
            let to = (pair & 15) as usize;
            let mut jump = false;
            match code {
                LOAD_HALF => registers[to] = context[0] >> (8 * offset) & 0xffff,
                LOAD_WORD => registers[to] = context[offset as usize / 4],
                MOVE32 => registers[to] = immediate as u32,
                JUMP_IF_NOT_EQUAL32 => jump = registers[to] != immediate as u32,
                JUMP_IF_SET32 => jump = registers[to] & immediate as u32 != 0,
                JUMP => jump = true,
                EXIT => return registers[0] != 0,
                other => panic!("{other:#x} is no instruction of this compiler's"),
            }
            at += 1;
            if jump {
                assert!(offset > 0, "a jump back, or to nowhere");
                at += offset as usize;
            }
        }
    }

    fn rules() -> impl Strategy<Value = Vec<DeviceRule>> {
        let number = || prop_oneof![Just(None), (0u32..3).prop_map(Some), Just(Some(u32::MAX))];
        let kind = prop_oneof![1 => Just('a'), 6 => Just('b'), 6 => Just('c')];
        let access = prop_oneof![Just("r"), Just("w"), Just("m"), Just("rw"), Just("rm"), Just("wm"), Just("rwm")];
        let rule = (any::<bool>(), kind, number(), number(), access).prop_map(|(allow, kind, major, minor, access)| {
            DeviceRule { allow, kind, major, minor, access: access.into() }
        });
        proptest::collection::vec(rule, 0..12)
    }

    proptest! {
        #[test]
        fn a_program_answers_as_the_v1_controller_does(rules in rules()) {
            let Ok(policy) = Policy::of(&rules) else { return Ok(()) };
            let code = compile(&policy);
            for block in [true, false] {
                for major in [0, 1, 2, 3, u32::MAX] {
                    for minor in [0, 1, 2, 3, u32::MAX] {
                        for access in 1..=MKNOD | READ | WRITE {
                            prop_assert_eq!(
                                run(&code, block, major, minor, access),
                                policy.allows(block, major, minor, access),
                                "{} {}:{} {} under {:?}", block, major, minor, access, policy
                            );
                        }
                    }
                }
            }
        }
    }
}

//! What does not need another compiler to be judged.

use super::interpret::{outcomes, Data, Insn};
use super::*;

const KERNEL: (u32, u32) = (6, 18);
const DOCKER: u64 = 0xa804_25fb;

fn parse(json: &str) -> Result<Profile, SeccompError> {
    Profile::parse(json.as_bytes())
}

fn compiled(json: &str) -> Program {
    compile_for(Arch::X86_64, &parse(json).unwrap(), DOCKER, KERNEL).unwrap()
}

fn answer(program: &Program, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let nr = arch.number(name).unwrap();
    program.run(&Data { nr, arch: arch.audit(), instruction_pointer: 0, args }).unwrap()
}

/// The message names the place and the value, and says what to do.
#[test]
fn errors_name_the_place_and_the_remedy() {
    let rule = |rule: &str| format!("{{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [{rule}]}}");
    let arg =
        |arg: &str| rule(&format!("{{\"names\": [\"read\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": [{arg}]}}"));
    let top = |fields: &str| format!("{{\"defaultAction\": \"SCMP_ACT_ERRNO\", {fields}}}");
    for (json, expected) in [
        ("{".to_owned(), "the seccomp profile is not valid JSON: EOF while parsing"),
        ("[]".to_owned(), "the seccomp profile is not valid JSON: the document is not an object"),
        ("{}".to_owned(), "the seccomp profile's defaultAction is missing; it names the action"),
        ("{\"defaultAction\": 3}".to_owned(), "defaultAction is not a string"),
        ("{\"defaultAction\": \"ALLOW\"}".to_owned(), "defaultAction \"ALLOW\" is not an action; use SCMP_ACT_ALLOW"),
        ("{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}".to_owned(), "defaultAction \"SCMP_ACT_NOTIFY\" is not supported"),
        (top("\"defaultErrnoRet\": 4096"), "defaultErrnoRet is 4096; an errno is at most 4095"),
        (top("\"architectures\": [\"x86_64\"]"), "architectures[0] \"x86_64\" is not an architecture"),
        (
            top("\"archMap\": [{\"architecture\": \"SCMP_ARCH_X86_64\", \"subArchitectures\": [\"SCMP_ARCH_Z80\"]}]"),
            "archMap[0].subArchitectures[0] \"SCMP_ARCH_Z80\" is not an architecture",
        ),
        (
            top("\"architectures\": [\"SCMP_ARCH_X86\"], \"archMap\": [{\"architecture\": \"SCMP_ARCH_X86_64\"}]"),
            "archMap and architectures are both given; use one of them",
        ),
        (top("\"flags\": [\"SECCOMP_FILTER_FLAG_LOG\"]"), "flags[0] \"SECCOMP_FILTER_FLAG_LOG\" is not supported"),
        (top("\"listenerPath\": \"/run/x\""), "listenerPath is not supported"),
        (top("\"syscalls\": {}"), "syscalls is not a list"),
        (rule("7"), "syscalls[0] is not an object"),
        (rule("{\"action\": \"SCMP_ACT_ALLOW\"}"), "syscalls[0].names is missing"),
        (rule("{\"names\": [\"\"], \"action\": \"SCMP_ACT_ALLOW\"}"), "syscalls[0].names[0] is empty"),
        (rule("{\"names\": [\"read\"], \"name\": \"read\"}"), "syscalls[0].name and names are both given"),
        (rule("{\"names\": [\"read\"]}"), "syscalls[0].action is missing"),
        (
            rule("{\"names\": [\"read\"], \"action\": \"SCMP_ACT_NOTIFY\"}"),
            "syscalls[0].action \"SCMP_ACT_NOTIFY\" is not",
        ),
        (rule("{\"names\": [\"read\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": -1}"), "errnoRet is not a whole"),
        (
            rule("{\"names\": [\"read\"], \"action\": \"SCMP_ACT_ALLOW\", \"includes\": {\"caps\": [\"SYS_ADMIN\"]}}"),
            "syscalls[0].includes.caps[0] \"SYS_ADMIN\" is not a capability; it is written as in CAP_SYS_ADMIN",
        ),
        (
            rule("{\"names\": [\"read\"], \"action\": \"SCMP_ACT_ALLOW\", \"excludes\": {\"minKernel\": \"six\"}}"),
            "syscalls[0].excludes.minKernel \"six\" is not a kernel version",
        ),
        (arg("{\"index\": 6, \"op\": \"SCMP_CMP_EQ\"}"), "syscalls[0].args[0].index is 6; a system call has"),
        (arg("{\"index\": 0, \"op\": \"==\"}"), "syscalls[0].args[0].op \"==\" is not a comparison; use SCMP_CMP_EQ"),
        (arg("{\"index\": 0, \"value\": 1.5, \"op\": \"SCMP_CMP_EQ\"}"), "args[0].value is not a whole number"),
    ] {
        let error = parse(&json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
    assert!(matches!(Profile::parse(&vec![b' '; 2 << 20]), Err(SeccompError::Json { .. })));
}

/// As Docker reads: unknown names and fields, null, the case of field names.
#[test]
fn what_docker_tolerates_is_tolerated() {
    let program = compiled(
        r#"{"DefaultAction": "SCMP_ACT_ALLOW", "comment": 1, "archMap": null, "Syscalls": [
            {"Names": ["no_such_call", "mkdir"], "action": "SCMP_ACT_ERRNO", "ErrnoRet": 13, "args": null},
            {"name": "rmdir", "action": "SCMP_ACT_KILL_PROCESS", "args": []}]}"#,
    );
    assert_eq!(answer(&program, Arch::X86_64, "mkdir", [0; 6]), RET_ERRNO + 13);
    assert_eq!(answer(&program, Arch::X86_64, "rmdir", [0; 6]), 0x8000_0000);
    assert_eq!(answer(&program, Arch::X86_64, "read", [0; 6]), RET_ALLOW);
}

#[test]
fn equal_conditions_with_different_actions_are_refused_by_name() {
    let profile = parse(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}]},
            {"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let error = compile_for(Arch::X86_64, &profile, 0, KERNEL).unwrap_err();
    assert!(error.to_string().contains("two rules for ioctl with equal conditions"), "{error}");
}

#[test]
fn capabilities_and_kernel_choose_rules() {
    let admin = 1 << 21;
    let with = |caps| compile_for(Arch::X86_64, Profile::docker_default(), caps, KERNEL).unwrap();
    let no_args = [0; 6];
    assert_eq!(answer(&with(DOCKER), Arch::X86_64, "clone3", no_args), RET_ENOSYS);
    assert_eq!(answer(&with(DOCKER | admin), Arch::X86_64, "clone3", no_args), RET_ALLOW);
    assert_eq!(answer(&with(DOCKER), Arch::X86_64, "mount", no_args), RET_ERRNO + 1);
    assert_eq!(answer(&with(DOCKER | admin), Arch::X86_64, "mount", no_args), RET_ALLOW);
    assert_eq!(answer(&with(DOCKER), Arch::X86_64, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), RET_ERRNO + 1);
    assert_eq!(answer(&with(DOCKER), Arch::X86_64, "ptrace", no_args), RET_ALLOW);
    let old = compile_for(Arch::X86_64, Profile::docker_default(), DOCKER, (4, 7)).unwrap();
    assert_eq!(answer(&old, Arch::X86_64, "ptrace", no_args), RET_ERRNO + 1);
}

/// CVE-2026-31431: the kernel takes the lower half of the register, so the
/// rule must not look at the upper one.
#[test]
fn forbidden_socket_families_are_not_passed_by_upper_bits() {
    let program = compile_for(Arch::X86_64, Profile::docker_default(), DOCKER, KERNEL).unwrap();
    for upper in [0_u64, 1 << 32, 1 << 63, u64::MAX << 32] {
        for (family, expected) in
            [(38, RET_ERRNO + 97), (40, RET_ERRNO + 97), (1, RET_ALLOW), (39, RET_ALLOW), (2, RET_ALLOW)]
        {
            for arch in [Arch::X86_64, Arch::X32, Arch::X86] {
                assert_eq!(
                    answer(&program, arch, "socket", [upper | family, 0, 0, 0, 0, 0]),
                    expected,
                    "{arch:?} {family}"
                );
            }
        }
    }
}

/// A C library falls back on ENOSYS, not on EPERM.
#[test]
fn calls_that_the_profile_cannot_know_do_not_exist() {
    let program = compile_for(Arch::X86_64, Profile::docker_default(), DOCKER, KERNEL).unwrap();
    let at =
        |nr, arch: Arch| program.run(&Data { nr, arch: arch.audit(), instruction_pointer: 0, args: [0; 6] }).unwrap();
    for arch in [Arch::X86_64, Arch::X86] {
        assert_eq!(at(arch.number("removexattrat").unwrap(), arch), RET_ALLOW);
        assert_eq!(at(arch.number("open_tree_attr").unwrap(), arch), RET_ENOSYS);
        assert_eq!(at(1000, arch), RET_ENOSYS);
    }
    assert_eq!(at(Arch::X86_64.number("acct").unwrap(), Arch::X86_64), RET_ERRNO + 1);
    assert_eq!(at(0, Arch::Arm), RET_KILL_THREAD);
}

#[test]
fn a_profile_that_forbids_the_launch_is_refused_by_name() {
    let default = compile_for(Arch::X86_64, Profile::docker_default(), 0, KERNEL).unwrap();
    default
        .must_allow(&[
            "capset",
            "prctl",
            "setgroups",
            "setresgid",
            "setresuid",
            "chdir",
            "execve",
            "close_range",
            "write",
            "exit_group",
            "fcntl",
            "dup3",
            "setsid",
            "close",
            "rt_sigprocmask",
        ])
        .unwrap();
    default.must_allow_launch(false).unwrap();
    default.must_allow_launch(true).unwrap();
    default.must_allow_exec(false).unwrap();
    let program = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["execve", "setresuid"], "action": "SCMP_ACT_LOG"},
            {"names": ["prctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 4, "op": "SCMP_CMP_LE"}]}]}"#,
    );
    program.must_allow(&["execve", "setresuid"]).unwrap();
    let error = program.must_allow(&["execve", "capset", "prctl", "no_such_call"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the seccomp profile refuses capset, prctl, no_such_call, which starting a container needs after the profile \
         is in force; allow them"
    );
    program.must_allow_launch(true).unwrap();
    program.must_allow_exec(true).unwrap();
    assert!(program.must_allow_launch(false).unwrap_err().to_string().contains("capset"));
    let mut call = Call::any("prctl");
    call.args[0] = Some(1);
    program.must_allow_calls(&[call]).unwrap();
    call.args[0] = Some(5);
    assert!(program.must_allow_calls(&[call]).is_err());
}

/// The kernel's limit, jumps beyond 255 instructions, and long chains of
/// rules (no recursion that ends the stack).
#[test]
fn large_profiles_compile_or_are_refused() {
    let profile = |count: u64| {
        let rules: Vec<String> = (0..count)
            .map(|value| {
                let value = value * 3;
                format!(
                    "{{\"names\": [\"ioctl\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": [\
                     {{\"index\": 1, \"value\": {value}, \"op\": \"SCMP_CMP_EQ\"}}, \
                     {{\"index\": 2, \"value\": {value}, \"op\": \"SCMP_CMP_LT\"}}]}}"
                )
            })
            .collect();
        parse(&format!("{{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [{}]}}", rules.join(","))).unwrap()
    };
    for count in [1, 60, 70, 400] {
        let program = compile_for(Arch::X86_64, &profile(count), 0, KERNEL).unwrap();
        for value in 0..count {
            let args = |second| [0, value * 3, second, 0, 0, 0];
            if value > 0 {
                assert_eq!(answer(&program, Arch::X86_64, "ioctl", args(value * 3 - 1)), RET_ALLOW);
            }
            assert_eq!(answer(&program, Arch::X86_64, "ioctl", args(value * 3)), RET_ERRNO + 1);
            assert_eq!(answer(&program, Arch::X86_64, "ioctl", [0, value * 3 + 1, 0, 0, 0, 0]), RET_ERRNO + 1);
        }
    }
    for count in [2000, 5000] {
        assert_eq!(compile_for(Arch::X86_64, &profile(count), 0, KERNEL), Err(SeccompError::TooLong));
    }
}

/// What the kernel evaluates for its bitmap: see `search`.
#[test]
fn plain_allows_are_decided_by_number_and_architecture_alone() {
    let program = compile_for(Arch::X86_64, Profile::docker_default(), DOCKER, KERNEL).unwrap();
    let mut longest = 0;
    for nr in 0..600 {
        let data = Data { nr, arch: Arch::X86_64.audit(), instruction_pointer: 0, args: [0; 6] };
        let all = outcomes(program.code(), data.arch, nr, &[None; 6]).unwrap();
        assert!(all.contains(&program.run(&data).unwrap()));
        if all.len() == 1 {
            let (mut at, mut steps) = (0, 0);
            while program.code()[at].code != graph::RET {
                let Insn { code, jt, jf, k } = program.code()[at];
                let value = if steps < 2 { data.arch } else { nr };
                assert!(code != graph::LOAD || k <= 4, "call {nr} looks at arguments");
                at += 1 + match code {
                    graph::JEQ => usize::from(if value == k { jt } else { jf }),
                    graph::JGE => usize::from(if value >= k { jt } else { jf }),
                    graph::JA => k as usize,
                    _ => 0,
                };
                steps += 1;
            }
            longest = longest.max(steps);
        }
    }
    assert!(longest <= 12, "{longest} steps to a plain answer");
}

#[test]
fn nothing_is_compiled_twice() {
    let compiler = Compiler::new();
    let profile = Profile::docker_default();
    let first = compiler.compile_cached(profile, DOCKER, KERNEL).unwrap();
    // A capability that no rule asks for (CHOWN is 0) changes nothing.
    let second = compiler.compile_cached(profile, DOCKER & !1, KERNEL).unwrap();
    let again = parse(Profile::docker_default_json()).unwrap();
    let third = compiler.compile_cached(&again, DOCKER, KERNEL).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second) && std::sync::Arc::ptr_eq(&first, &third));
    assert_eq!(compiler.compilations(), 1);
    let other = compiler.compile_cached(profile, DOCKER | 1 << 21, KERNEL).unwrap();
    assert_eq!(compiler.compilations(), 2);
    assert_ne!(other.hash(), first.hash());

    let compiler = Compiler::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| compiler.compile_cached(profile, DOCKER, KERNEL).unwrap());
        }
    });
    assert_eq!(compiler.compilations(), 1);
}

#[test]
fn programs_are_checked_before_they_are_held() {
    let program = compile_for(Arch::X86_64, Profile::docker_default(), DOCKER, KERNEL).unwrap();
    let mut programs = Programs::new();
    programs.insert(program.hash(), program.as_bytes()).unwrap();
    programs.insert(program.hash(), program.as_bytes()).unwrap();
    assert_eq!(programs.len(), 1);
    let held = programs.get(program.hash()).unwrap();
    assert_eq!(held.len() * 8, program.as_bytes().len());
    assert!(held.iter().zip(program.code()).all(|(held, insn)| held.code == insn.code && held.k == insn.k));
    assert!(programs.get("0").is_none());

    let hash = |bytes: &[u8]| super::program::hash(bytes);
    for (bytes, problem) in
        [(vec![], "multiple of 8"), (vec![0; 9], "multiple of 8"), (vec![0; 8 * 4097], "more than 4096")]
    {
        let error = programs.insert(&hash(&bytes), &bytes).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    let error = programs.insert(&hash(&[1; 8]), &[0; 8]).unwrap_err();
    assert!(error.to_string().contains("another hash"), "{error}");

    for number in 1..256_u64 {
        let bytes = number.to_ne_bytes();
        programs.insert(&hash(&bytes), &bytes).unwrap();
    }
    let error = programs.insert(&hash(&[9; 8]), &[9; 8]).unwrap_err();
    assert!(error.to_string().contains("256 programs"), "{error}");
    assert!(programs.remove(program.hash()));
    programs.insert(&hash(&[9; 8]), &[9; 8]).unwrap();
}

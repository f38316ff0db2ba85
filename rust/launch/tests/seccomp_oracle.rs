//! Our compiler against libseccomp, call by call, and against the plain
//! meaning of a profile.
//!
//! The peer is built here as runc builds it: Docker's selection of rules,
//! runc's treatment of them, libseccomp's program (run by our interpreter),
//! and runc's ENOSYS stub in front. libseccomp is opened at run time, so that
//! nothing needs its development files; without the library these tests say
//! so on stderr and pass over.
//!
//! Where we differ on purpose, or libseccomp (2.5.4) is not a measure, the
//! generators stay away, and the plain meaning of the profile is the measure:
//!
//! - Names newer than the installed library are unknown to it. Profiles are
//!   compared without them on all architectures, and with them, by number, on
//!   the native one.
//! - Several rules of one call with NE, LT, LE, GT or GE: libseccomp merges
//!   their upper halves and then allows too much or too little (`arg >= 2^64-1
//!   or arg < 2^32` lets 0x1ffffffff pass).
//! - Several rules of one call on several arguments: libseccomp may go on to
//!   the next rule with the wrong argument loaded.
//! - Several rules of one call with different actions: its order is that of
//!   the file where upper halves are masked, ours never is.
//! - Fewer than 33 rules: see `Peer::build`.
#![allow(unsafe_code)] // a C library's functions
#![allow(clippy::missing_transmute_annotations)] // the fields' types say it

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_int, c_uint, c_void, CString};
use std::io::Write as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use ardock_launch::seccomp::interpret::{self, Data, Insn};
use ardock_launch::seccomp::{compile_for, Arch, Profile, Program, Programs, SeccompError};
use proptest::prelude::*;
use serde_json::{json, Value};

const KERNEL: (u32, u32) = (6, 18);
const ENOSYS: u32 = 0x0005_0026;

/// Docker's default capabilities.
const DOCKER: u64 = 0xa804_25fb;
const ALL: u64 = (1 << 41) - 1;
const SYS_ADMIN: u64 = 1 << 21;

// ---- the library ----------------------------------------------------------

#[repr(C)]
#[derive(Clone, Copy)]
struct ArgCmp {
    arg: c_uint,
    op: c_uint,
    a: u64,
    b: u64,
}

struct Library {
    init: unsafe extern "C" fn(u32) -> *mut c_void,
    release: unsafe extern "C" fn(*mut c_void),
    arch_add: unsafe extern "C" fn(*mut c_void, u32) -> c_int,
    arch_remove: unsafe extern "C" fn(*mut c_void, u32) -> c_int,
    attr_set: unsafe extern "C" fn(*mut c_void, c_uint, u32) -> c_int,
    rule_add: unsafe extern "C" fn(*mut c_void, u32, c_int, c_uint, *const ArgCmp) -> c_int,
    resolve: unsafe extern "C" fn(*const c_char) -> c_int,
    export: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
}

/// Past the test harness, which shows what `eprintln` says of failures only.
fn skipped(reason: &str) {
    let _unwritable = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// `None` where the machine has no libseccomp or cannot run the comparison.
fn library() -> Option<Library> {
    if Arch::native() != Some(Arch::X86_64) {
        skipped("the comparison with libseccomp is written for x86-64 hosts");
        return None;
    }
    // SAFETY: dlopen and dlsym take C strings; each symbol has the signature
    // of seccomp.h.
    unsafe {
        let handle = libc::dlopen(c"libseccomp.so.2".as_ptr(), libc::RTLD_NOW);
        if handle.is_null() {
            skipped("libseccomp.so.2 is not installed; nothing was compared with it");
            return None;
        }
        let symbol = |name: &std::ffi::CStr| {
            let symbol = libc::dlsym(handle, name.as_ptr());
            assert!(!symbol.is_null(), "libseccomp lacks {name:?}");
            symbol
        };
        Some(Library {
            init: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_init")),
            release: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_release")),
            arch_add: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_arch_add")),
            arch_remove: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_arch_remove")),
            attr_set: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_attr_set")),
            rule_add: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_rule_add_array")),
            resolve: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_syscall_resolve_name")),
            export: std::mem::transmute::<*mut c_void, _>(symbol(c"seccomp_export_bpf")),
        })
    }
}

impl Library {
    /// The native number, or a negative one for a call of other architectures.
    fn number(&self, name: &str) -> Option<i32> {
        let name = CString::new(name).unwrap();
        // SAFETY: a C string.
        let number = unsafe { (self.resolve)(name.as_ptr()) };
        (number != -1).then_some(number)
    }
}

/// `SCMP_ARCH_*`: the kernel's values, except that x32 has its own.
fn token(arch: Arch) -> u32 {
    if arch == Arch::X32 {
        0x4000_003e
    } else {
        arch.audit()
    }
}

// ---- the profile, read once more -----------------------------------------

/// Index, operation, value and second value.
type Comparison = (u32, &'static str, u64, u64);

/// A rule after Docker's selection.
#[derive(Debug, Clone)]
struct Rule {
    names: Vec<String>,
    action: u32,
    args: Vec<Comparison>,
}

#[derive(Debug)]
struct Selected {
    default: u32,
    listed: Vec<Arch>,
    rules: Vec<Rule>,
}

const OPS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

fn action(value: &Value, errno: &Value) -> u32 {
    let data = errno.as_u64().unwrap_or(1) as u32;
    match value.as_str().unwrap() {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        other => panic!("{other}"),
    }
}

/// Docker's part: which rules hold on `host` with `caps`.
fn select(profile: &Value, host: Arch, caps: u64) -> Selected {
    let names = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let arch = |name: &str| Arch::ALL.into_iter().find(|arch| arch.oci_name() == name);
    let has = |name: &String| {
        let bits = [
            ("CAP_DAC_READ_SEARCH", 2),
            ("CAP_SYS_MODULE", 16),
            ("CAP_SYS_RAWIO", 17),
            ("CAP_SYS_CHROOT", 18),
            ("CAP_SYS_PTRACE", 19),
            ("CAP_SYS_PACCT", 20),
            ("CAP_SYS_ADMIN", 21),
            ("CAP_SYS_BOOT", 22),
            ("CAP_SYS_NICE", 23),
            ("CAP_SYS_TIME", 25),
            ("CAP_SYS_TTY_CONFIG", 26),
            ("CAP_SYSLOG", 34),
            ("CAP_PERFMON", 38),
            ("CAP_BPF", 39),
        ];
        caps >> bits.iter().find(|bit| bit.0 == name).unwrap().1 & 1 == 1
    };
    let is_host = |name: &String| name == host.docker_name();
    let new_enough = |value: &Value| {
        value.as_str().map(|text| {
            let (major, minor) = text.split_once('.').unwrap();
            KERNEL >= (major.parse().unwrap(), minor.parse().unwrap())
        })
    };
    let mut rules = Vec::new();
    for rule in profile["syscalls"].as_array().into_iter().flatten() {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let arches = names(&includes["arches"]);
        let is_in = (arches.is_empty() || arches.iter().any(is_host))
            && names(&includes["caps"]).iter().all(has)
            && new_enough(&includes["minKernel"]) != Some(false);
        let is_out = names(&excludes["arches"]).iter().any(is_host)
            || names(&excludes["caps"]).iter().any(has)
            || new_enough(&excludes["minKernel"]) == Some(true);
        if is_in && !is_out {
            let args = rule["args"].as_array().into_iter().flatten().map(|arg| {
                let op = arg["op"].as_str().unwrap().strip_prefix("SCMP_CMP_").unwrap();
                let op = OPS.into_iter().find(|&known| known == op).unwrap();
                let value_two = arg["valueTwo"].as_u64().unwrap_or(0);
                (arg["index"].as_u64().unwrap() as u32, op, arg["value"].as_u64().unwrap(), value_two)
            });
            rules.push(Rule {
                names: names(&rule["names"]),
                action: action(&rule["action"], &rule["errnoRet"]),
                args: args.collect(),
            });
        }
    }
    let mut listed: Vec<Arch> = names(&profile["architectures"]).iter().filter_map(|name| arch(name)).collect();
    for entry in profile["archMap"].as_array().into_iter().flatten() {
        if entry["architecture"] == host.oci_name() {
            listed.push(host);
            listed.extend(names(&entry["subArchitectures"]).iter().filter_map(|name| arch(name)));
        }
    }
    Selected { default: action(&profile["defaultAction"], &profile["defaultErrnoRet"]), listed, rules }
}

/// runc's part: one condition for each argument, or each by itself.
fn alternatives(rule: &Rule) -> Vec<Vec<Comparison>> {
    let indexes: BTreeSet<u32> = rule.args.iter().map(|arg| arg.0).collect();
    if indexes.len() == rule.args.len() {
        vec![rule.args.clone()]
    } else {
        rule.args.iter().map(|&arg| vec![arg]).collect()
    }
}

// ---- the peer ------------------------------------------------------------

struct Peer {
    code: Vec<Insn>,
    newest: BTreeMap<Arch, u32>,
}

impl Peer {
    /// `None`: libseccomp refuses the rules.
    fn build(library: &Library, selected: &Selected, host: Arch) -> Option<Self> {
        // SAFETY: the context is used by this function alone and released;
        // arrays and descriptors live through their calls.
        unsafe {
            let context = (library.init)(selected.default);
            assert!(!context.is_null());
            let mut arches = selected.listed.clone();
            if host != Arch::X86_64 {
                arches.insert(0, host);
                assert_eq!((library.arch_remove)(context, token(Arch::X86_64)), 0);
            }
            for &arch in &arches {
                let error = (library.arch_add)(context, token(arch));
                assert!(error == 0 || error == -libc::EEXIST, "{arch:?}: {error}");
            }
            // runc asks for the binary tree from 33 rules on. Without it libseccomp
            // 2.5 may forget to load the number (where the first call in its list
            // is none of the architecture's) and then matches nothing.
            if selected.rules.iter().any(|rule| rule.action != selected.default) {
                assert_eq!((library.attr_set)(context, 8, 2), 0, "SCMP_FLTATR_CTL_OPTIMIZE");
            }
            for rule in selected.rules.iter().filter(|rule| rule.action != selected.default) {
                for name in &rule.names {
                    let Some(number) = library.number(name).or_else(|| {
                        // By number, which works where the native section is alone.
                        (arches.is_empty()).then(|| Arch::X86_64.number(name)).flatten().map(|number| number as i32)
                    }) else {
                        continue;
                    };
                    for conds in alternatives(rule) {
                        let conds: Vec<ArgCmp> = conds
                            .iter()
                            .map(|&(arg, op, a, b)| {
                                let op = OPS.iter().position(|&known| known == op).unwrap() as c_uint + 1;
                                ArgCmp { arg, op, a, b }
                            })
                            .collect();
                        let length = conds.len() as c_uint;
                        let error = (library.rule_add)(context, rule.action, number, length, conds.as_ptr());
                        if error == -libc::EEXIST {
                            (library.release)(context);
                            return None;
                        }
                        assert_eq!(error, 0, "{name} {rule:?}");
                    }
                }
            }
            let file = libc::memfd_create(c"bpf".as_ptr(), libc::MFD_CLOEXEC);
            assert!(file >= 0);
            let file = OwnedFd::from_raw_fd(file);
            assert_eq!((library.export)(context, file.as_raw_fd()), 0);
            (library.release)(context);
            let bytes = std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            let code = bytes.chunks_exact(8).map(|insn| Insn::from_bytes(insn.try_into().unwrap())).collect();

            let mut newest = BTreeMap::new();
            if ![0x7fff, 0x7ffc, 0x7ff0].contains(&(selected.default >> 16)) {
                for &arch in &selected.listed {
                    let numbers = selected.rules.iter().flat_map(|rule| &rule.names).filter_map(|it| arch.number(it));
                    newest.extend(numbers.max().map(|number| (arch, number)));
                }
            }
            Some(Self { code, newest })
        }
    }

    fn run(&self, data: &Data) -> u32 {
        // runc's stub.
        let is_x32 = data.nr & (1 << 30) != 0;
        for (&arch, &newest) in &self.newest {
            let matches = arch.audit() == data.arch
                && match arch {
                    Arch::X86_64 => !is_x32,
                    Arch::X32 => is_x32,
                    _ => true,
                };
            if matches && data.nr > newest {
                return ENOSYS;
            }
        }
        interpret::run(&self.code, data).unwrap()
    }
}

// ---- the plain meaning ----------------------------------------------------

/// What a profile says about one call, evaluated as it is written down.
fn naive(selected: &Selected, host: Arch, data: &Data) -> u32 {
    let is_x32 = data.nr & (1 << 30) != 0 && data.arch == Arch::X86_64.audit();
    let has = |arch: Arch| arch == host || selected.listed.contains(&arch);
    let Some(arch) = Arch::ALL
        .into_iter()
        .find(|arch| arch.audit() == data.arch && (*arch == Arch::X32) == is_x32 && arch.same_kernel(host))
    else {
        return 0;
    };
    let permissive = [0x7fff, 0x7ffc, 0x7ff0].contains(&(selected.default >> 16));
    if selected.listed.contains(&arch) && !permissive {
        let numbers = selected.rules.iter().flat_map(|rule| &rule.names).filter_map(|name| arch.number(name));
        if numbers.max().is_some_and(|newest| data.nr > newest) {
            return ENOSYS;
        }
    }
    if !has(arch) {
        // Beyond x86-64's numbers where there is no section for x32.
        return if arch == Arch::X32 && data.nr == u32::MAX { selected.default } else { 0 };
    }
    if arch == Arch::X86_64 && data.nr >= 1 << 30 && !has(Arch::X32) {
        return 0;
    }
    let holds = |&(index, op, a, b): &Comparison| {
        let width = if arch.is_64_bit() { u64::MAX } else { u64::from(u32::MAX) };
        let (arg, a, b) = (data.args[index as usize] & width, a & width, b & width);
        match op {
            "NE" => arg != a,
            "LT" => arg < a,
            "LE" => arg <= a,
            "EQ" => arg == a,
            "GE" => arg >= a,
            "GT" => arg > a,
            _ => arg & a == b & a,
        }
    };
    let is_empty =
        |&(_, op, a, _): &Comparison| op == "MASKED_EQ" && if arch.is_64_bit() { a == 0 } else { a as u32 == 0 };
    // (conditions, action) of this call, in the order of the file.
    let mut all: Vec<(Vec<Comparison>, u32)> = Vec::new();
    for rule in selected.rules.iter().filter(|rule| rule.action != selected.default) {
        for conds in alternatives(rule) {
            for name in &rule.names {
                let mux = if arch == Arch::X86 { multiplexed(name) } else { None };
                if let Some((_, code)) = mux.filter(|mux| mux.0 == data.nr) {
                    let mut conds: Vec<_> =
                        conds.iter().copied().filter(|cond| cond.0 != 0 && !is_empty(cond)).collect();
                    conds.push((0, "EQ", code, 0));
                    all.push((conds, rule.action));
                }
                if arch.number(name) == Some(data.nr) {
                    all.push((conds.iter().copied().filter(|cond| !is_empty(cond)).collect(), rule.action));
                }
            }
        }
    }
    if let Some((_, action)) = all.iter().find(|(conds, _)| conds.is_empty()) {
        return *action;
    }
    for (conds, _) in &mut all {
        conds.sort_by_key(|cond| cond.0);
    }
    let key = |conds: &[Comparison]| -> Vec<(i64, u8, i128)> {
        conds
            .iter()
            .map(|&(index, op, a, b)| {
                let width = if arch.is_64_bit() { u64::MAX } else { u64::from(u32::MAX) };
                let value = i128::from(if op == "MASKED_EQ" { a & b & width } else { a & width });
                match op {
                    "LT" | "LE" => (-i64::from(index), 1, value),
                    "GT" | "GE" => (-i64::from(index), 2, -value),
                    _ => (-i64::from(index), 0, -value),
                }
            })
            .collect()
    };
    all.sort_by_key(|(conds, _)| key(conds));
    all.iter().find(|(conds, _)| conds.iter().all(holds)).map_or(selected.default, |(_, action)| *action)
}

fn multiplexed(name: &str) -> Option<(u32, u64)> {
    let sockets = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    let ipc = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let socket = sockets.iter().position(|&known| known == name).map(|at| (102, at as u64 + 1));
    socket.or_else(|| ipc.iter().find(|call| call.0 == name).map(|call| (117, call.1)))
}

// ---- what is asked -------------------------------------------------------

const AUDITS: [u32; 6] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0, 0xc000_0015];

/// Every number that a call can have, both sides of bit 30 and 31.
fn numbers() -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..=600).collect();
    numbers.extend((0..=600).map(|number| number | 1 << 30));
    numbers.extend(0xf_0000..0xf_0008);
    for edge in [1_u32 << 30, 1 << 31, 3 << 30, u32::MAX, 0xf_ffff] {
        numbers.extend([edge.wrapping_sub(1), edge, edge.wrapping_add(1)]);
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Each side of each value of these rules, in both halves.
fn boundaries<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<u64> {
    let mut values = BTreeSet::from([0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32]);
    for &(_, _, a, b) in rules.flat_map(|rule| &rule.args) {
        for value in [a, b, a & b, !a, a ^ b] {
            for near in [value.wrapping_sub(1), value, value.wrapping_add(1)] {
                values.extend([
                    near,
                    near ^ (1 << 32),
                    near ^ (1 << 63),
                    near.wrapping_add(1 << 32),
                    near.wrapping_sub(1 << 32),
                    near & u64::from(u32::MAX),
                    near | u64::from(u32::MAX) << 32,
                    near | u64::from(u32::MAX),
                    near & u64::from(u32::MAX) << 32,
                ]);
            }
        }
    }
    values.into_iter().collect()
}

/// Runs `check` for each call: numbers with argument rules at all boundaries.
fn for_each_call(selected: &Selected, mut check: impl FnMut(&Data)) {
    // The numbers of small profiles, and those beside them.
    let numbers: Vec<u32> = if selected.rules.len() > 32 {
        numbers()
    } else {
        let named = selected.rules.iter().flat_map(|rule| &rule.names);
        let named = named.flat_map(|name| Arch::ALL.into_iter().filter_map(|arch| arch.number(name)));
        let edges = [0, 102, 117, 1 << 30, 1 << 31, 3 << 30, u32::MAX, 600];
        let all = named.chain(edges).flat_map(|it| [it.wrapping_sub(1), it, it.wrapping_add(1)]);
        all.collect::<BTreeSet<u32>>().into_iter().collect()
    };
    // The values that matter to each number.
    let mut by_number: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in selected.rules.iter().filter(|rule| !rule.args.is_empty()) {
        for name in &rule.names {
            let direct = Arch::ALL.into_iter().filter_map(|arch| arch.number(name));
            for number in direct.chain(multiplexed(name).map(|mux| mux.0)) {
                by_number.entry(number).or_default().push(rule);
            }
        }
    }
    for &nr in &numbers {
        let mut args = vec![[0; 6], [u64::MAX; 6]];
        if let Some(rules) = by_number.get(&nr) {
            let boundaries = boundaries(rules.iter().copied());
            let used = rules.iter().flat_map(|rule| &rule.args).map(|arg| arg.0 as usize).chain([0]);
            for index in used.collect::<BTreeSet<_>>() {
                for &value in boundaries.iter().chain(&(0..25).collect::<Vec<_>>()) {
                    for &other in boundaries.iter().step_by(boundaries.len().div_ceil(4)) {
                        let mut all = [other; 6];
                        all[index] = value;
                        args.push(all);
                    }
                }
            }
        }
        for arch in AUDITS {
            for &args in &args {
                check(&Data { nr, arch, instruction_pointer: 0x1234, args });
            }
        }
    }
}

/// What differs, for the first few calls.
fn differences(selected: &Selected, ours: &Program, peer: impl Fn(&Data) -> u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut asked = 0_u64;
    for_each_call(selected, |data| {
        asked += 1;
        let (ours, theirs) = (ours.run(data).unwrap(), peer(data));
        if ours != theirs && found.len() < 10 {
            found.push(format!("{data:x?}: {ours:#x}, not {theirs:#x}"));
        }
    });
    assert!(asked > 200, "hardly anything was asked");
    found
}

fn without_unknown(library: &Library, profile: &Value) -> Value {
    let mut profile = profile.clone();
    for rule in profile["syscalls"].as_array_mut().unwrap() {
        rule["names"].as_array_mut().unwrap().retain(|name| library.number(name.as_str().unwrap()).is_some());
    }
    profile
}

fn compile(profile: &Value, host: Arch, caps: u64) -> Result<Program, SeccompError> {
    compile_for(host, &Profile::parse(profile.to_string().as_bytes()).unwrap(), caps, KERNEL)
}

#[test]
fn the_default_profile_is_libseccomps_on_all_architectures() {
    let Some(library) = library() else { return };
    let whole: Value = serde_json::from_str(Profile::docker_default_json()).unwrap();
    let known = without_unknown(&library, &whole);
    for host in [Arch::X86_64, Arch::Aarch64] {
        for caps in [DOCKER, 0, ALL, DOCKER | SYS_ADMIN, 1 << 19 | 1 << 2, 1 << 39] {
            let selected = select(&known, host, caps);
            let peer = Peer::build(&library, &selected, host).unwrap();
            let ours = compile(&known, host, caps).unwrap();
            println!("{host:?} {caps:x}: {} instructions, libseccomp {}", ours.code().len(), peer.code.len());
            let differences = differences(&selected, &ours, |data| peer.run(data));
            assert!(differences.is_empty(), "{host:?} {caps:x}: {differences:#?}");
            assert!(ours.code().len() * 4 < peer.code.len(), "the program is not small any more");
        }
    }
}

/// The calls that the library does not know, by number.
#[test]
fn the_default_profile_is_libseccomps_with_new_calls() {
    let Some(library) = library() else { return };
    let mut profile: Value = serde_json::from_str(Profile::docker_default_json()).unwrap();
    profile["archMap"] = json!([]);
    for caps in [DOCKER, 0, ALL] {
        let selected = select(&profile, Arch::X86_64, caps);
        let peer = Peer::build(&library, &selected, Arch::X86_64).unwrap();
        let ours = compile(&profile, Arch::X86_64, caps).unwrap();
        let differences = differences(&selected, &ours, |data| peer.run(data));
        assert!(differences.is_empty(), "{caps:x}: {differences:#?}");
    }
}

#[test]
fn the_default_profile_means_what_it_says() {
    let profile: Value = serde_json::from_str(Profile::docker_default_json()).unwrap();
    for host in [Arch::X86_64, Arch::Aarch64] {
        for caps in [DOCKER, ALL] {
            let selected = select(&profile, host, caps);
            let ours = compile(&profile, host, caps).unwrap();
            let differences = differences(&selected, &ours, |data| naive(&selected, host, data));
            assert!(differences.is_empty(), "{host:?} {caps:x}: {differences:#?}");
        }
    }
}

/// The comparison itself: one changed rule is found.
#[test]
fn a_changed_rule_is_noticed() {
    let Some(library) = library() else { return };
    let known = without_unknown(&library, &serde_json::from_str(Profile::docker_default_json()).unwrap());
    let mut changed = known.clone();
    for rule in changed["syscalls"].as_array_mut().unwrap() {
        if rule["args"][0]["value"] == json!(131_080) {
            rule["args"][0]["value"] = json!(131_081);
        }
    }
    assert_ne!(known, changed);
    let selected = select(&known, Arch::X86_64, DOCKER);
    let peer = Peer::build(&library, &selected, Arch::X86_64).unwrap();
    let ours = compile(&changed, Arch::X86_64, DOCKER).unwrap();
    assert!(!differences(&selected, &ours, |data| peer.run(data)).is_empty());
}

/// The kernel takes the program and does what it says. A filter belongs to the
/// thread that loads it, so a thread that ends is enough of a sandbox.
#[test]
fn the_kernel_enforces_the_default_profile() {
    let Some(host) = Arch::native() else {
        skipped("no filter for this architecture");
        return;
    };
    let ours = compile_for(host, Profile::docker_default(), DOCKER, KERNEL).unwrap();
    let mut programs = Programs::new();
    programs.insert(ours.hash(), ours.as_bytes()).unwrap();
    let code = programs.get(ours.hash()).unwrap().to_vec();
    let answers = std::thread::spawn(move || {
        let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_ptr().cast_mut() };
        // SAFETY: the program outlives the calls; the system calls take plain
        // numbers and are refused before they would do anything.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::syscall(libc::SYS_seccomp, 1, 0, &raw const program), 0);
            let call = |number: i64, first: u64| {
                let result = libc::syscall(number, first, 0, 0, 0);
                if result < 0 {
                    *libc::__errno_location()
                } else {
                    0
                }
            };
            [
                call(libc::SYS_getppid, 0),
                call(libc::SYS_acct, 0),
                call(libc::SYS_clone3, 0),
                call(1000, 0),
                call(libc::SYS_socket, 38),
                call(libc::SYS_socket, (1 << 32) + 40),
                call(libc::SYS_personality, 0xffff_ffff),
                call(libc::SYS_personality, 1),
            ]
        }
    });
    let expected = [0, libc::EPERM, libc::ENOSYS, libc::ENOSYS, libc::EAFNOSUPPORT, libc::EAFNOSUPPORT, 0, libc::EPERM];
    assert_eq!(answers.join().unwrap(), expected);
}

// ---- random profiles -----------------------------------------------------

const NAMES: [&str; 14] = [
    "read",
    "clone",
    "socket",
    "semop",
    "waitpid",
    "execve",
    "openat2",
    "getsockopt",
    "socketcall",
    "ipc",
    "mmap",
    "futex_time64",
    "breakpoint",
    "accept",
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..4,
        2 => Just(38),
        2 => Just(u64::from(u32::MAX)),
        1 => Just(u64::MAX),
        1 => Just(1 << 32),
        2 => (0_u64..3, 0_u64..3).prop_map(|(high, low)| high << 32 | low),
        1 => any::<u64>(),
    ]
}

const ACTIONS: [(&str, u32); 5] =
    [("SCMP_ACT_ALLOW", 0), ("SCMP_ACT_ERRNO", 1), ("SCMP_ACT_ERRNO", 13), ("SCMP_ACT_LOG", 0), ("SCMP_ACT_TRAP", 0)];

/// A shape of profiles.
#[derive(Clone)]
struct Shape {
    names: &'static [&'static str],
    ops: &'static [&'static str],
    actions: &'static [(&'static str, u32)],
    /// Give each call one rule with one comparison an argument.
    one_rule_a_call: bool,
    /// How many comparisons a rule has at most.
    max_args: usize,
}

/// Names of which no two meet in one multiplexer, so that a rule is not two.
const SEPARATE: [&str; 11] = [
    "read",
    "clone",
    "waitpid",
    "execve",
    "openat2",
    "mmap",
    "futex_time64",
    "breakpoint",
    "socketcall",
    "ipc",
    "getrandom",
];

fn profile(shape: &Shape) -> impl Strategy<Value = Value> {
    let arg = (0_u32..3, prop::sample::select(shape.ops), value(), value()).prop_map(|(index, op, value, two)| {
        json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": two})
    });
    let names = prop::collection::vec(prop::sample::select(shape.names), 1..4);
    let rule = (names, prop::sample::select(shape.actions), prop::collection::vec(arg, 0..=shape.max_args));
    let rule = rule.prop_map(
        |(names, (action, errno), args)| json!({"names": names, "action": action, "errnoRet": errno, "args": args}),
    );
    let arches = prop_oneof![
        prop::sample::subsequence(vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], 0..4),
        prop::sample::subsequence(vec!["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], 1..3),
    ];
    let defaults = vec![
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_LOG",
        "SCMP_ACT_ALLOW",
    ];
    let one_rule_a_call = shape.one_rule_a_call;
    (prop::sample::select(defaults), arches, prop::collection::vec(rule, 1..10)).prop_map(
        move |(default, arches, mut rules)| {
            if one_rule_a_call {
                let mut seen = BTreeSet::new();
                for rule in &mut rules {
                    rule["names"].as_array_mut().unwrap().retain(|name| seen.insert(name.to_string()));
                    let mut indexes = BTreeSet::new();
                    rule["args"].as_array_mut().unwrap().retain(|arg| indexes.insert(arg["index"].to_string()));
                }
            }
            json!({"defaultAction": default, "architectures": arches, "syscalls": rules})
        },
    )
}

/// A host whose kernel serves the profile's architectures.
fn host(profile: &Value) -> Arch {
    let arches = profile["architectures"].to_string();
    if arches.contains("SCMP_ARCH_A") {
        Arch::Aarch64
    } else {
        Arch::X86_64
    }
}

/// Compares one profile with libseccomp, if it takes it.
fn compare(profile: &Value) -> Result<(), TestCaseError> {
    let Some(library) = library() else { return Ok(()) };
    let host = host(profile);
    let selected = select(profile, host, DOCKER);
    let Some(peer) = Peer::build(&library, &selected, host) else { return Ok(()) };
    let ours = compile(profile, host, DOCKER).unwrap();
    let differences = differences(&selected, &ours, |data| peer.run(data));
    prop_assert!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Each comparison, alone and with others of the same rule.
    #[test]
    fn single_rules_are_libseccomps(profile in profile(&Shape {
        names: &SEPARATE,
        ops: &OPS,
        actions: &ACTIONS,
        one_rule_a_call: true, max_args: 3,
    })) {
        compare(&profile)?;
    }

    /// Several rules of a call, and those of its multiplexer.
    #[test]
    fn rules_of_one_action_are_libseccomps(profile in profile(&Shape {
        names: &SEPARATE, ops: &["EQ", "MASKED_EQ"], actions: &ACTIONS[..1], one_rule_a_call: false, max_args: 1,
    })) {
        compare(&profile)?;
    }

    /// Several rules with different answers.
    #[test]
    fn rules_of_several_actions_are_libseccomps(profile in profile(&Shape {
        names: &SEPARATE, ops: &["EQ"], actions: &ACTIONS, one_rule_a_call: false, max_args: 1,
    })) {
        compare(&profile)?;
    }

    /// Any profile compiles to what it says, or says what is contradictory.
    #[test]
    fn every_profile_means_what_it_says(profile in profile(&Shape {
        names: &NAMES, ops: &OPS, actions: &ACTIONS, one_rule_a_call: false, max_args: 3,
    })) {
        let host = host(&profile);
        let selected = select(&profile, host, DOCKER);
        match compile(&profile, host, DOCKER) {
            Err(SeccompError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(ours) => {
                let differences = differences(&selected, &ours, |data| naive(&selected, host, data));
                prop_assert!(differences.is_empty(), "{differences:#?}");
            }
        }
    }
}

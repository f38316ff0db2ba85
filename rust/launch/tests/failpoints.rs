//! After every step that fails, nothing is left. One test, alone in its
//! process: it counts what the process has.
#[allow(missing_docs)]
mod common;

use std::collections::BTreeSet;

use ardock_launch::*;
use common::look::{children, descriptors, home_mounts, host_mounts};
use common::*;

/// Everything that a launch could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct State {
    descriptors: BTreeSet<String>,
    children: Vec<String>,
    host: Vec<String>,
    home: Vec<String>,
    groups: Vec<String>,
    scratch: Vec<String>,
    own_groups: Vec<String>,
    dumpable: bool,
}

fn state(bench: &Bench) -> State {
    let names = |path: &str| {
        let entries = std::fs::read_dir(path).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    State {
        descriptors: descriptors(),
        children: children(),
        host: host_mounts(),
        home: home_mounts(),
        groups: bench.home.cgroups().children(&bench.parent),
        scratch: names("/store/scratch"),
        own_groups: std::fs::read_to_string("/proc/thread-self/cgroup").unwrap().lines().map(String::from).collect(),
        dumpable: rustix::process::dumpable_behavior().unwrap() == rustix::process::DumpableBehavior::Dumpable,
    }
}

/// Steps that no failpoint reaches, and why.
const ELSEWHERE: [Step; 1] = [
    // The keeper's: it gives up, and kills, from outside.
    Step::Deadline,
];
/// Those that a launch passes and an exec does not: its container has them.
const LAUNCH_ONLY: [Step; 19] = [
    Step::Scratch,
    Step::CgroupNamespace,
    Step::Tmpfs,
    Step::Root,
    Step::Dev,
    Step::Proc,
    Step::Pts,
    Step::Shm,
    Step::Mqueue,
    Step::Sys,
    Step::SysCgroup,
    Step::Mount,
    Step::File,
    Step::Mask,
    Step::Readonly,
    Step::Pivot,
    Step::Hostname,
    Step::Loopback,
    Step::Sysctl,
];

#[test]
fn nothing_is_left_behind_by_any_step_that_fails() {
    needs_root!();
    alone_for(std::time::Duration::from_secs(120), || {
        let mut bench = Bench::prepare(|folder, _| {
            std::fs::create_dir(folder.join("scratch")).unwrap();
            vec![std::fs::File::open("/proc/self/ns/ipc").unwrap().into()]
        });
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).unwrap();
        let hash = bench.docker_seccomp(DOCKER_CAPS);
        let mut full = bench.spec(&["true"]);
        full.root.scratch = Scratch::Disk { dir: "/store/scratch/one".into(), volatile: false, keep: false };
        full.namespaces.ipc = Namespace::Join(0);
        full.sysctls = vec![("net.ipv4.ip_forward".into(), "1".into())];
        full.mounts =
            vec![Mount { target: "/mnt".into(), what: MountKind::Tmpfs { data: "size=4k".into(), flags: 0 } }];
        full.process.seccomp = Some(hash);
        full.process.no_new_privileges = true;
        full.process.oom_score_adj = Some(100);
        full.process.rlimits = vec![Rlimit { resource: libc::RLIMIT_CORE, soft: 0, hard: 0 }];
        full.process.cwd = "/made".into();
        (full.process.uid, full.process.gid) = (33, 33);
        // What is made once for many launches is made now: it is no leak.
        assert_eq!(bench.run(&full).code, 0);
        let mut terminal = full.clone();
        terminal.stdio.terminal = Some((24, 80));
        terminal.namespaces.ipc = Namespace::NEW;
        let keeper = bench.start(&bench.spec(&["sleep", "100"]));
        let pid_namespace: std::os::fd::OwnedFd =
            std::fs::File::open(format!("/proc/{}/ns/pid", keeper.launched.pid)).unwrap().into();
        let ipc: std::os::fd::OwnedFd = std::fs::File::open("/proc/self/ns/ipc").unwrap().into();
        let joining = [ipc, pid_namespace];
        let mut joined = full.clone();
        joined.namespaces.pid = Namespace::Join(1);
        let joins = Features::probe().has(Feature::ProcPidns);
        if !joins {
            eprintln!(
                "SKIPPED in part: this kernel mounts no /proc of a pid namespace that is joined (Linux 6.17 does)"
            );
        }
        let mut program = exec_spec(&["true"]);
        program.process = full.process.clone();
        program.process.cwd = "/tmp".into();
        // The first exec looks up where the code lies.
        assert_eq!(keeper.exec(&exec_spec(&["true"])).code, 0);

        let before = state(&bench);
        assert!(before.dumpable);
        for step in Step::ALL.iter().copied().filter(|step| !ELSEWHERE.contains(step)) {
            bench.home.set_failpoint(Some(step));
            // Its failpoint lies before the kernel is asked, which may have none.
            let apparmor = (step == Step::Apparmor).then(|| "none".to_owned());
            for spec in [&mut full, &mut terminal, &mut joined] {
                spec.process.apparmor.clone_from(&apparmor);
            }
            program.process.apparmor = apparmor;
            for (what, spec, fds) in
                [("launch", &full, &bench.fds[..]), ("terminal", &terminal, &[]), ("joined", &joined, &joining)]
            {
                if step == Step::JoinNamespace && what == "terminal" {
                    continue;
                }
                if what == "joined" && !joins {
                    continue;
                }
                // On version 2 a launch's child is cloned into its group.
                if step == Step::JoinCgroup && bench.home.cgroups().version() == 2 {
                    continue;
                }
                let failure = bench.try_launch(spec, fds).expect_err(what);
                assert_eq!((failure.error.step, failure.error.errno), (step, libc::EIO), "{what}: {}", failure.error);
                assert_eq!((failure.pid, failure.helper), (None, None));
                assert!(!failure.error.hint.contains("and then"), "{what}: {}", failure.error);
                assert_eq!(state(&bench), before, "{what}: after a failed {step:?}");
            }
            if LAUNCH_ONLY.contains(&step) {
                continue;
            }
            for size in [None, Some((24, 80))] {
                let mut program = program.clone();
                program.stdio.terminal = size;
                let failure = keeper.try_exec(&program).expect_err("exec");
                assert_eq!((failure.error.step, failure.error.errno), (step, libc::EIO), "exec: {}", failure.error);
                assert_eq!((failure.pid, failure.helper), (None, None));
                assert_eq!(state(&bench), before, "exec: after a failed {step:?}");
            }
        }
        bench.home.set_failpoint(None);
        for spec in [&mut full, &mut terminal] {
            spec.process.apparmor = None;
        }
        assert_eq!(bench.run(&full).code, 0, "a launch after all of these");
        assert_eq!(keeper.exec_output("echo fine"), "fine\n");
        assert_eq!(state(&bench), before, "after launches that succeeded");
    });
}

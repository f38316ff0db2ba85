//! Programs joined to a running container.
#[allow(missing_docs)]
mod common;

use ardock_launch::*;
use common::look::{field_of, groups};
use common::*;

/// A container that says it is up and waits.
fn sleeper(bench: &Bench) -> Container<'_> {
    let mut spec = bench.shell("touch /tmp/mine; echo up; read line");
    spec.stdio.stdin = Stream::PIPE;
    let mut running = bench.start(&spec);
    assert_eq!(running.line(), "up");
    running
}

#[test]
fn it_sees_the_containers_processes_mounts_and_names() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = sleeper(&bench);
        let out = running.exec_output("hostname; ls /tmp; cat /proc/1/cmdline | tr '\\0' ' '; echo; ls /sys/class/net");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3]), ("box", "mine", "lo"));
        assert!(lines[2].starts_with("sh -c touch"), "{lines:?}");
        let own = running.exec_output("for n in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done");
        for (name, own) in ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"].iter().zip(own.lines()) {
            let theirs = std::fs::read_link(format!("/proc/{}/ns/{name}", running.launched.pid)).unwrap();
            assert_eq!(own, theirs.to_string_lossy());
        }
    });
}

#[test]
fn it_is_in_all_of_the_containers_cgroups() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = sleeper(&bench);
        let mut spec = exec_spec(&["sh", "-c", "echo up; read line"]);
        spec.stdio.stdin = Stream::PIPE;
        let joined = running.try_exec(&spec).unwrap();
        read_until(joined.stdout.as_ref().unwrap(), "up");
        let (own, theirs) = (groups(joined.pid), groups(running.launched.pid));
        if bench.home.cgroups().version() == 1 {
            assert!(theirs["devices"].contains("/devices-"), "{theirs:?}");
        }
        assert_eq!(own, theirs);
        drop(joined.stdin);
        wait(joined.pid);
    });
}

#[test]
fn its_exit_code_and_signal_are_its_own_and_it_leads_its_session() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = sleeper(&bench);
        assert_eq!(running.exec(&exec_spec(&["sh", "-c", "exit 5"])).code, 5);
        assert_eq!(running.exec(&exec_spec(&["sh", "-c", "kill -9 $$"])).code, 137);
        let ended = running.exec(&exec_spec(&["cat", "/proc/self/status"]));
        let pid = field_of(&ended.stdout, "Pid");
        assert_eq!((field_of(&ended.stdout, "NSpgid"), field_of(&ended.stdout, "NSsid")), (pid.clone(), pid));
        for field in ["SigIgn", "SigBlk", "SigCgt"] {
            assert_eq!(field_of(&ended.stdout, field), "0000000000000000", "{field}");
        }
        assert_eq!(field_of(&ended.stdout, "CapEff"), "00000000a80425fb");
        assert_eq!(running.exec_output("ls /proc/self/fd"), "0\n1\n2\n3\n");
    });
}

#[test]
fn user_directory_environment_and_limits_are_those_of_its_own_spec() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = sleeper(&bench);
        let mut spec =
            exec_spec(&["sh", "-c", "id -u; id -G; pwd; echo $X; ulimit -n; cat /proc/self/oom_score_adj; umask"]);
        (spec.process.uid, spec.process.gid, spec.process.groups) = (33, 34, vec![35]);
        spec.process.cwd = "/tmp".into();
        spec.process.env = words(&["X=y", "PATH=/bin"]);
        spec.process.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 99, hard: 99 }];
        spec.process.oom_score_adj = Some(300);
        spec.process.umask = 0o077;
        let ended = running.exec(&spec);
        assert_eq!(ended.lines(), ["33", "34 35", "/tmp", "y", "99", "300", "0077"], "{ended:?}");
        for (cwd, words) in
            [("/missing", "it is missing"), ("/proc/1/fd/0", "a link such as"), ("/etc/passwd", "not a folder")]
        {
            spec.process.cwd = cwd.into();
            let error = running.try_exec(&spec).unwrap_err().error;
            assert!(error.step == Step::Cwd && error.to_string().contains(words), "{error}");
        }
    });
}

#[test]
fn seccomp_holds_for_it_with_and_without_no_new_privileges() {
    needs_root!();
    alone(|| {
        let mut bench = Bench::new();
        let hash = bench.docker_seccomp(DOCKER_CAPS);
        let running = sleeper(&bench);
        for no_new_privileges in [false, true] {
            let mut spec = exec_spec(&["cat", "/proc/self/status"]);
            spec.process.seccomp = Some(hash.clone());
            spec.process.no_new_privileges = no_new_privileges;
            let ended = running.exec(&spec);
            assert_eq!(field_of(&ended.stdout, "Seccomp"), "2", "{ended:?}");
            assert_eq!(field_of(&ended.stdout, "Seccomp_filters"), "1");
            assert_eq!(field_of(&ended.stdout, "NoNewPrivs"), u8::from(no_new_privileges).to_string());
        }
    });
}

#[test]
fn a_program_with_a_large_environment_is_joined_whole() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = sleeper(&bench);
        let mut spec = exec_spec(&["sh", "-c", "env | wc -c; echo ${#A7}"]);
        for number in 0..10 {
            spec.process.env.push(words(&[&format!("A{number}={}", "x".repeat(100_000))])[0].clone());
        }
        let ended = running.exec(&spec);
        assert_eq!(ended.lines()[1], "100000", "{:?}", ended.stderr);
    });
}

#[test]
fn joining_one_that_has_ended_is_said_so() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let spec = bench.spec(&["true"]);
        let launched = bench.try_launch(&spec, &[]).unwrap();
        let pid = rustix::process::Pid::from_raw(launched.pid).unwrap();
        let target = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let join = || {
            let group = spec.cgroup.as_ref().map(|group| (group.parent.as_str(), group.name.as_str()));
            let fd = std::os::fd::AsFd::as_fd(&target);
            let slot = &bench.slots[0];
            exec(&bench.home, &bench.programs, &exec_spec(&["true"]), fd, group, &[], slot, Parent::Caller)
        };
        read_end(launched.stdout.as_ref().unwrap());
        // A zombie first, then gone and cleaned.
        std::thread::sleep(std::time::Duration::from_millis(20));
        for round in 0..2 {
            let failure = join().unwrap_err();
            assert!(failure.error.to_string().contains("the container has ended"), "{round}: {}", failure.error);
            if round == 0 {
                wait(launched.pid);
                clean_soon(&bench.home, &spec);
            }
        }
    });
}

fn read_end(fd: &std::os::fd::OwnedFd) {
    while rustix::io::read(fd, &mut [0; 64]).unwrap() > 0 {}
}

#[test]
fn a_containers_end_takes_what_was_joined_along() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = sleeper(&bench);
        let joined = running.try_exec(&exec_spec(&["sleep", "60"])).unwrap();
        running.kill();
        assert_eq!(wait(joined.pid), 137);
    });
}

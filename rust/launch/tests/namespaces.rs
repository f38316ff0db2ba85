//! Namespaces that are the host's, or joined by descriptor.
#[allow(missing_docs)]
mod common;

use std::os::fd::OwnedFd;

use ardock_launch::*;
use common::*;

fn open(path: &str) -> OwnedFd {
    std::fs::File::open(path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

/// inode of a namespace link, as in `net:[4026531840]`.
fn link(path: &str) -> String {
    std::fs::read_link(path).unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_hosts_network_is_seen_whole_and_stays_writable_for_the_host() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("ls /sys/class/net; readlink /proc/self/ns/net; touch /sys/x");
        spec.namespaces.net = Namespace::HOST;
        let ended = bench.run(&spec);
        let mut names: Vec<String> = std::fs::read_dir("/proc/sys/net/ipv4/conf")
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != "all" && name != "default")
            .collect();
        names.sort();
        names.push(link("/proc/self/ns/net"));
        let mut seen = ended.lines();
        let last = seen.pop().unwrap();
        seen.sort_unstable();
        seen.push(last);
        assert_eq!(seen, names);
        assert!(ended.stderr.contains("Read-only"), "{ended:?}");
        // The superblock is shared with the host's /sys, the flag must not be.
        let host = look::host_mounts().into_iter().find(|line| line.contains(" /sys ")).unwrap();
        let (mount, superblock) = host.split_once(" - ").unwrap();
        assert!(mount.contains(" rw") && superblock.contains(" rw"), "{host}");
    });
}

#[test]
fn network_ipc_and_uts_are_joined_by_descriptor() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut first =
            bench.shell("hostname first; mkdir /dev/mqueue 2>/dev/null; touch /dev/mqueue/mine; echo up; read line");
        first.stdio.stdin = Stream::PIPE;
        first.process.capabilities = caps(DOCKER_CAPS | SYS_ADMIN);
        let mut first = bench.start(&first);
        assert_eq!(first.line(), "up");
        let pid = first.launched.pid;
        let fds: Vec<OwnedFd> =
            ["net", "ipc", "uts"].iter().map(|name| open(&format!("/proc/{pid}/ns/{name}"))).collect();
        let mut spec =
            bench.shell("hostname; ls /dev/mqueue; for n in net ipc uts pid; do readlink /proc/self/ns/$n; done");
        spec.hostname = None;
        spec.namespaces.net = Namespace::Join(0);
        spec.namespaces.ipc = Namespace::Join(1);
        spec.namespaces.uts = Namespace::Join(2);
        let launched = bench.try_launch(&spec, &fds).unwrap();
        let out = read_until(launched.stdout.as_ref().unwrap(), "pid:[");
        wait(launched.pid);
        clean_soon(&bench.home, &spec);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..2], ["first", "mine"]);
        for (number, name) in ["net", "ipc", "uts"].iter().enumerate() {
            assert_eq!(lines[2 + number], link(&format!("/proc/{pid}/ns/{name}")), "{name}");
        }
        assert_ne!(lines[5], link(&format!("/proc/{pid}/ns/pid")));
    });
}

#[test]
fn a_descriptor_of_another_kind_is_refused_at_that_step() {
    needs_root!();
    alone(|| {
        let mut bench = Bench::prepare(|_, _| vec![open("/dev/null")]);
        bench.fds.push(open("/proc/self/ns/uts"));
        let mut spec = bench.spec(&["true"]);
        for (index, errno) in [(0, libc::EINVAL), (1, libc::EINVAL)] {
            spec.namespaces.net = Namespace::Join(index);
            let error = bench.refused(&spec);
            assert!(error.step == Step::JoinNamespace && error.errno == errno, "{error}");
        }
        spec.namespaces.net = Namespace::Join(5);
        assert!(bench.refused(&spec).to_string().contains("descriptor number 5"));
    });
}

#[test]
fn the_hosts_pid_namespace_shows_the_hosts_processes() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("echo $$; readlink /proc/self/ns/pid; cat /proc/1/comm");
        spec.namespaces.pid = Namespace::HOST;
        let running = bench.start(&spec);
        let pid = running.launched.pid.to_string();
        let ended = running.finish();
        let init = std::fs::read_to_string("/proc/1/comm").unwrap();
        assert_eq!(ended.lines(), [pid.as_str(), &link("/proc/self/ns/pid"), init.trim()], "{ended:?}");
    });
}

#[test]
fn a_pid_namespace_is_joined_by_descriptor_and_proc_shows_it() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut first = bench.shell("echo up; read line");
        first.stdio.stdin = Stream::PIPE;
        let mut first = bench.start(&first);
        assert_eq!(first.line(), "up");
        let fds = [open(&format!("/proc/{}/ns/pid", first.launched.pid))];
        let mut spec = bench.shell(
            "echo $$; readlink /proc/self/ns/pid; tr '\\0' ' ' < /proc/1/cmdline; echo; readlink /proc/1/ns/mnt; \
             readlink /proc/self/ns/mnt; grep -E 'NSsid|NSpgid' /proc/self/status; ls /proc/self/fd",
        );
        spec.namespaces.pid = Namespace::Join(0);
        let launched = match bench.try_launch(&spec, &fds) {
            Ok(launched) => launched,
            Err(failure) if failure.error.to_string().contains("6.17") => {
                eprintln!("SKIPPED: {}", failure.error);
                return;
            }
            Err(failure) => panic!("{}", failure.error),
        };
        assert_eq!(launched.helper, None, "a caller's helper is left");
        let out = read_until(launched.stdout.as_ref().unwrap(), "\n3\n");
        assert_eq!(wait(launched.pid), 0);
        clean_soon(&bench.home, &spec);
        let lines: Vec<&str> = out.lines().collect();
        assert_ne!(lines[0], "1");
        assert_eq!(lines[1], link(&format!("/proc/{}/ns/pid", first.launched.pid)));
        assert!(lines[2].starts_with("sh -c echo up"), "{lines:?}");
        assert_ne!(lines[3], lines[4], "the mount namespace is its own");
        // Leader of its own group and session, as every first program.
        assert!(lines[5].ends_with(lines[0]) && lines[6].ends_with(lines[0]), "{lines:?}");
        assert_eq!(lines[7..], ["0", "1", "2", "3"], "{lines:?}");
    });
}

#[test]
fn a_proc_of_a_joined_pid_namespace_is_refused_in_words_where_the_kernel_has_none() {
    needs_root!();
    alone(|| {
        let bench = Bench::without(Features::default().with(Feature::ProcPidns), |_, _| vec![]);
        let fds = [open("/proc/self/ns/pid")];
        let mut spec = bench.shell("echo $$");
        spec.namespaces.pid = Namespace::Join(0);
        let error = bench.try_launch(&spec, &fds).unwrap_err().error;
        assert!(error.step == Step::Proc && error.to_string().contains("Linux 6.17 can"), "{error}");
        // Nothing was begun: no process, no control group.
        assert!(!bench.home.cgroups().children(&bench.parent).contains(&spec.cgroup.unwrap().name));
    });
}

#[test]
fn user_and_time_namespaces_and_the_hosts_mounts_are_refused_in_words() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        for choice in [Namespace::NEW, Namespace::Join(0)] {
            let mut spec = bench.spec(&["true"]);
            spec.namespaces.user = choice;
            assert!(bench.refused(&spec).to_string().contains("user namespace"));
            spec = bench.spec(&["true"]);
            spec.namespaces.time = choice;
            assert!(bench.refused(&spec).to_string().contains("time namespace"));
        }
        let mut spec = bench.spec(&["true"]);
        spec.namespaces.mnt = Namespace::HOST;
        assert!(bench.refused(&spec).to_string().contains("a container needs a new one"));
    });
}

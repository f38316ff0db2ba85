//! A container is what it is said to be, seen from inside and from outside.
#[allow(missing_docs)]
mod common;

use ardock_launch::*;
use common::look::{field_of, host_mounts, status};
use common::*;

#[test]
fn it_is_its_own_pid_1_with_its_own_name_interfaces_and_cgroup_root() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let script = "echo $$; hostname; ls /sys/class/net; cat /etc/hostname; cat /proc/self/cgroup";
        let out = bench.output(script);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..4], ["1", "box", "lo", "box"], "{lines:?}");
        let groups = &lines[4..];
        for controller in ["memory", "pids", "devices", "cpu"] {
            let line = groups.iter().find(|line| line.split(':').nth(1) == Some(controller));
            if let Some(line) = line {
                assert!(line.ends_with(":/"), "the cgroup namespace shows {line}");
            }
        }
        assert!(!out.contains("ardock"), "the host's group names show: {out}");
        let processes = bench.output("ps -o pid= | wc -l");
        assert!(processes.trim().parse::<u32>().unwrap() <= 3, "{processes} processes are seen");
        assert!(bench.output("ip addr show lo").contains("UP"), "lo is not up");
    });
}

#[test]
fn outside_it_is_an_ordinary_process_under_its_host_pid() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("echo up; read line");
        spec.stdio.stdin = Stream::PIPE;
        let mut running = bench.start(&spec);
        assert_eq!(running.line(), "up");
        let pid = running.launched.pid;
        let ids: Vec<String> = status(pid, "NSpid").split_whitespace().map(String::from).collect();
        assert_eq!(ids, [pid.to_string(), "1".to_owned()]);
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(command.starts_with("sh\0-c\0echo up"), "{command:?}");
        for (controller, path) in look::groups(pid) {
            if ["memory", "pids", "cpu"].contains(&controller.as_str()) {
                assert!(path.starts_with(&format!("/{}/c", bench.parent)), "{controller}: {path}");
            }
            if controller == "devices" {
                assert!(path.starts_with(&format!("/{}/devices-", bench.parent)), "{controller}: {path}");
            }
        }
    });
}

#[test]
fn the_hosts_mount_table_does_not_change_while_it_runs() {
    needs_root!();
    alone(|| {
        let before = host_mounts();
        let bench = Bench::new();
        let mut spec = bench.shell("echo up; read line");
        spec.stdio.stdin = Stream::PIPE;
        let mut running = bench.start(&spec);
        assert_eq!(running.line(), "up");
        // Other programs mount, too: what matters is that nothing of ours is there.
        let seen: Vec<String> = host_mounts()
            .into_iter()
            .filter(|line| !before.contains(line))
            .filter(|line| ["ardock", "/stage", "/roots", "overlay"].iter().any(|ours| line.contains(ours)))
            .collect();
        assert_eq!(seen, Vec::<String>::new());
        let own = std::fs::read_to_string(format!("/proc/{}/mountinfo", running.launched.pid)).unwrap();
        assert!(own.contains(" - overlay "), "what is looked at is not the container's table: {own}");
    });
}

#[test]
fn its_mount_namespace_holds_its_own_few_mounts_and_nothing_of_the_launchers() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let out = bench.output("cat /proc/self/mountinfo; ls -a /");
        let (mounts, files): (Vec<&str>, Vec<&str>) = out.lines().partition(|line| line.contains(" - "));
        let points: Vec<&str> = mounts.iter().map(|line| line.split(' ').nth(4).unwrap()).collect();
        // root, proc, sys, cgroup and a hierarchy each, dev, shm, pts, mqueue,
        // three files, five masks, five read-only paths
        assert!(points.len() <= 32, "{} mounts: {points:?}", points.len());
        let mut known = vec!["/", "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        known.extend(["/dev/shm", "/dev/pts", "/dev/mqueue"]);
        for point in &points {
            let fine = known.contains(point) || point.starts_with("/proc/") || point.starts_with("/sys/");
            assert!(fine, "{point} is mounted");
        }
        for name in ["c", "roots", "store", "empty", "stage"] {
            assert!(!files.contains(&name), "/{name} of the launcher's home is there: {files:?}");
        }
        assert!(!out.contains(&bench.folder.0.file_name().unwrap().to_string_lossy().into_owned()), "{out}");
    });
}

#[test]
fn it_is_started_with_the_three_streams_alone() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        // One that is not close-on-exec: an embedding program may have such.
        let leak = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).unwrap();
        // 3 is the folder that ls reads.
        assert_eq!(bench.run(&bench.spec(&["ls", "/proc/self/fd"])).lines(), ["0", "1", "2", "3"]);
        let launched = bench.run(&bench.spec(&["readlink", "/proc/self/fd/0"]));
        assert_eq!(launched.stdout, "/dev/null\n");
        drop(leak);
    });
}

#[test]
fn signals_mask_session_and_file_mode_mask_are_a_fresh_programs() {
    needs_root!();
    alone(|| {
        // Python ignores SIGPIPE (13) and SIGXFSZ (25), nohup SIGHUP (1); the
        // last one is ignored after the home was entered.
        for signal in [13, 25, 1] {
            ignore(signal);
        }
        let bench = Bench::new();
        ignore(12);
        block(10);
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_ne!(field_of(&own, "SigIgn"), "0000000000000000", "the test itself ignores nothing");
        assert_ne!(field_of(&own, "SigBlk"), "0000000000000000", "the test itself blocks nothing");
        // cat, for a shell sets signals of its own.
        let text = bench.run(&bench.spec(&["cat", "/proc/self/status"])).stdout;
        for field in ["SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd"] {
            assert_eq!(field_of(&text, field), "0000000000000000", "{field}");
        }
        assert_eq!(field_of(&text, "Umask"), "0022");
        // Process group and session are its own, as it sees them.
        assert_eq!((field_of(&text, "NSpgid"), field_of(&text, "NSsid")), ("1".into(), "1".into()));
        let mut spec = bench.spec(&["cat", "/proc/self/status"]);
        spec.process.umask = 0o077;
        assert_eq!(field_of(&bench.run(&spec).stdout, "Umask"), "0077");
    });
}

#[allow(unsafe_code)]
fn ignore(signal: i32) {
    // SAFETY: no handler is set, a signal is ignored.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[allow(unsafe_code)]
fn block(signal: i32) {
    // SAFETY: the set is made by sigemptyset; only this thread's mask changes.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

#[test]
fn a_signal_that_ends_it_is_its_exit_code_and_no_other_thing() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        assert_eq!(bench.run(&bench.shell("exit 7")).code, 7);
        let running = bench.start(&bench.spec(&["sleep", "60"]));
        running.kill();
        let ended = running.finish();
        assert_eq!((ended.code, ended.oom), (137, 0));
    });
}

#[test]
fn timings_add_up_to_the_total() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = bench.start(&bench.spec(&["true"]));
        let t = running.launched.timings;
        let parts = [t.cgroup, t.stdio, t.prepare, t.clone, t.join, t.root, t.mounts, t.process, t.exec];
        let sum: u32 = parts.iter().sum();
        assert!(t.total > 0 && t.total.abs_diff(sum) <= parts.len() as u32, "{t:?} has a sum of {sum}");
        assert!(parts[3..].iter().all(|part| *part > 0), "a part is missing: {t:?}");
    });
}

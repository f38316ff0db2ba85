//! /dev and the device rules.
#[allow(missing_docs)]
mod common;

use std::os::unix::fs::MetadataExt;

use ardock_launch::*;
use common::*;

/// Major and minor number of the disk with the host's root.
fn root_disk() -> Option<(u32, u32)> {
    let device = std::fs::metadata("/").unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (major != 0).then_some((major, minor))
}

#[test]
fn dockers_nodes_work_for_every_user() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        for uid in [0, 33] {
            let mut spec = bench.shell(
                "echo x > /dev/null && head -c 4 /dev/zero | od -An -tx1 && head -c 2 /dev/urandom | wc -c \
                 && head -c 2 /dev/random | wc -c && echo x > /dev/full; echo $?; stat -c '%a %t:%T' /dev/tty /dev/null",
            );
            spec.process.uid = uid;
            let ended = bench.run(&spec);
            assert_eq!(ended.lines(), [" 00 00 00 00", "2", "2", "1", "666 5:0", "666 1:3"], "{ended:?}");
            assert!(ended.stderr.contains("No space left"), "{ended:?}");
        }
    });
}

#[test]
fn the_links_in_dev_are_dockers() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let out = bench.output("cd /dev; for name in fd ptmx stderr stdin stdout; do readlink $name; done; ls");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..5], ["/proc/self/fd", "pts/ptmx", "/proc/self/fd/2", "/proc/self/fd/0", "/proc/self/fd/1"]);
        // /dev/core leads to /proc/kcore, which not every kernel has.
        let core = if std::path::Path::new("/proc/kcore").exists() { "core " } else { "" };
        let all = format!("{core}fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
        assert_eq!(lines[5..].join(" "), all);
    });
}

/// A block device that the host itself may open: only where there is one can
/// a refusal be the device rules' doing.
fn open_disk() -> Option<(u32, u32)> {
    let folder = Folder::new();
    for disk in std::fs::read_dir("/sys/block").ok()?.flatten() {
        let text = std::fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        let node = folder.0.join(disk.file_name());
        let device = rustix::fs::makedev(major, minor);
        let kind = rustix::fs::FileType::BlockDevice;
        rustix::fs::mknodat(rustix::fs::CWD, &node, kind, rustix::fs::Mode::RUSR, device).ok()?;
        if std::fs::File::open(&node).is_ok() {
            return Some((major, minor));
        }
    }
    None
}

#[test]
fn a_node_of_the_hosts_disk_can_be_made_and_not_opened() {
    needs_root!();
    let (root, open) = (root_disk(), open_disk());
    if root.is_none() && open.is_none() {
        eprintln!("SKIPPED: no disk is seen on this host");
        return;
    }
    alone(move || {
        let bench = Bench::new();
        for (major, minor) in [root, open].into_iter().flatten() {
            let script = format!("mknod /tmp/disk$$ b {major} {minor}; dd if=/tmp/disk$$ of=/dev/null bs=512 count=1");
            let mut spec = bench.shell(&script);
            let ended = bench.run(&spec);
            assert!(ended.code != 0 && ended.stderr.contains("Operation not permitted"), "{ended:?}");
            assert!(!ended.stderr.contains("mknod"), "the node was not even made: {ended:?}");
            // A program that joins it is bound by the same rules.
            let sleeper = bench.start(&bench.spec(&["sleep", "60"]));
            let joined = sleeper.exec(&exec_spec(&["sh", "-c", &script]));
            assert!(joined.code != 0 && joined.stderr.contains("Operation not permitted"), "{joined:?}");
            assert!(!joined.stderr.contains("mknod"), "the node was not even made: {joined:?}");
            if open == Some((major, minor)) {
                // The other way round: with a rule for it, it opens.
                let group = spec.cgroup.as_mut().unwrap();
                group.resources.devices.as_mut().unwrap().push(rule(true, 'b', Some(major), Some(minor)));
                let allowed = bench.run(&spec);
                assert_eq!(allowed.code, 0, "{allowed:?}");
            } else {
                eprintln!("the host may not open {major}:{minor} itself: that a rule allows it is not shown");
            }
        }
    });
}

#[test]
fn a_device_can_be_used_in_the_ways_that_its_rules_name_and_no_other() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        // /dev/port, on which Docker's rules are silent. Where a kernel has
        // none, an open that is allowed is ENXIO and not EPERM.
        let script = "mknod /tmp/d c 1 4; echo $?; (exec 3</tmp/d); (exec 3>/tmp/d); (exec 3<>/tmp/d)";
        let refused = |access: &str| {
            let mut spec = bench.shell(script);
            // The capability is the device's own condition.
            spec.process.capabilities = caps(DOCKER_CAPS | 1 << 17);
            let rules = spec.cgroup.as_mut().unwrap().resources.devices.as_mut().unwrap();
            if !access.is_empty() {
                rules.push(DeviceRule { access: access.into(), ..rule(true, 'c', Some(1), Some(4)) });
            }
            let ended = bench.run(&spec);
            assert_eq!(ended.lines(), ["0"], "{ended:?}");
            ended.stderr.matches("Operation not permitted").count()
        };
        assert_eq!(["", "m", "r", "w", "rw", "rwm"].map(refused), [3, 3, 2, 2, 0, 0]);
    });
}

#[test]
fn with_every_device_allowed_nothing_is_refused_and_no_program_is_loaded() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("mknod /tmp/d c 1 4; (exec 3</tmp/d); mknod /tmp/n c 1 3; cat /tmp/n; echo $?");
        spec.process.capabilities = caps(DOCKER_CAPS | 1 << 17);
        spec.cgroup.as_mut().unwrap().resources.devices = Some(vec![rule(true, 'a', None, None)]);
        let ended = bench.run(&spec);
        assert_eq!(ended.lines(), ["0"], "{ended:?}");
        assert!(!ended.stderr.contains("not permitted"), "{ended:?}");
        if bench.home.cgroups().version() == 2 {
            assert_eq!(bench.home.cgroups().children(&bench.parent), Vec::<String>::new());
        }
    });
}

#[test]
fn containers_with_the_same_rules_share_one_set_of_them() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let sets = || {
            let names = bench.home.cgroups().children(&bench.parent);
            names.into_iter().filter(|name| name.starts_with("devices-")).count()
        };
        for _ in 0..3 {
            bench.run(&bench.spec(&["true"]));
        }
        assert_eq!(sets(), 1);
        let mut other = bench.spec(&["true"]);
        other.cgroup.as_mut().unwrap().resources.devices.as_mut().unwrap().push(rule(true, 'c', Some(10), Some(200)));
        bench.run(&other);
        assert_eq!(sets(), 2);
    });
}

#[test]
fn hundreds_of_rules_are_enforced() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("mknod /tmp/z c 1 5; head -c 1 /tmp/z | wc -c; mknod /tmp/p c 1 4; cat /tmp/p");
        spec.process.capabilities = caps(DOCKER_CAPS | 1 << 17);
        let rules = spec.cgroup.as_mut().unwrap().resources.devices.as_mut().unwrap();
        rules.splice(3..3, (0..500).map(|minor| rule(true, 'c', Some(189), Some(minor))));
        let ended = bench.run(&spec);
        assert_eq!(ended.lines(), ["1"], "{ended:?}");
        assert!(ended.stderr.contains("Operation not permitted"), "{ended:?}");
    });
}

#[test]
fn further_nodes_have_the_owner_and_mode_of_the_spec_in_folders_made_for_them() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let device = |target: &str, kind, (major, minor), mode| Device {
            target: target.into(),
            kind,
            major,
            minor,
            mode,
            uid: 33,
            gid: 34,
        };
        let mut spec = bench.shell("cd /dev; stat -c '%F %a %u:%g %t:%T' fuse bus/usb/one two pipe");
        spec.devices = vec![
            device("/dev/fuse", 'c', (10, 229), 0o640),
            device("/dev/bus/usb/one", 'c', (189, 0), 0o600),
            device("/dev/two", 'b', (7, 1), 0o660),
            device("/dev/pipe", 'p', (0, 0), 0o622),
        ];
        let expected = [
            "character special file 640 33:34 a:e5",
            "character special file 600 33:34 bd:0",
            "block special file 660 33:34 7:1",
            "fifo 622 33:34 0:0",
        ];
        let ended = bench.run(&spec);
        assert_eq!(ended.lines(), expected, "{ended:?}");
        for (bad, kind) in [("/etc/x", 'c'), ("/dev/../x", 'c'), ("/dev/", 'c'), ("/dev/x", 'q')] {
            spec.devices = vec![device(bad, kind, (1, 3), 0o666)];
            assert_eq!(bench.refused(&spec).step, Step::Dev, "{bad}");
        }
        spec.devices = vec![device("/dev/null", 'c', (1, 3), 0o666)];
        let error = bench.refused(&spec);
        assert!(error.step == Step::Dev && error.to_string().contains("/dev/null"), "{error}");
    });
}

#[test]
fn shm_is_writable_by_all_and_runs_no_program() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        for size in [None, Some(1 << 20)] {
            let mut spec = bench.shell(
                "stat -c %a /dev/shm; cp /bin/busybox /dev/shm/run || exit 9; /dev/shm/run true; echo $?; \
                 grep ' /dev/shm ' /proc/mounts; head -c 3000000 /dev/zero > /dev/shm/big; echo $?",
            );
            spec.process.uid = 33;
            spec.filesystems.shm_size = size.map(|size: u64| size * 4);
            let ended = bench.run(&spec);
            let lines = ended.lines();
            assert_eq!((lines[0], lines[1]), ("1777", "126"), "{ended:?}");
            for flag in ["nosuid", "nodev", "noexec"] {
                assert!(lines[2].contains(flag), "{}", lines[2]);
            }
            // Its own size counts where one is given (busybox is 2 MB).
            assert_eq!(lines[3], if size.is_some() { "1" } else { "0" }, "{ended:?}");
        }
    });
}

#[test]
fn devpts_is_an_instance_of_its_own() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let out = bench.output("ls /dev/pts; grep ' /dev/pts ' /proc/mounts; stat -c %a /dev/ptmx /dev/pts/ptmx");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "ptmx", "the host's terminals show");
        assert!(lines[1].contains("gid=5,mode=620,ptmxmode=666"), "{}", lines[1]);
        assert_eq!(lines[3], "666");
    });
}

#[test]
fn mqueue_is_its_ipc_namespaces() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let out = bench.output("touch /dev/mqueue/q && ls /dev/mqueue; grep ' /dev/mqueue ' /proc/mounts");
        assert!(out.starts_with("q\n") && out.contains("mqueue mqueue rw,nosuid,nodev,noexec"), "{out}");
        assert_eq!(bench.output("ls /dev/mqueue"), "", "another container's queue shows");
    });
}

#[test]
fn each_kernel_file_system_is_there_only_if_the_spec_says_so() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("ls /dev /sys /proc; echo end");
        spec.filesystems = Filesystems {
            proc: false,
            dev: false,
            pts: false,
            mqueue: false,
            sys: false,
            cgroup: false,
            shm_size: None,
            writable: false,
        };
        let ended = bench.run(&spec);
        assert_eq!(ended.stdout, "/dev:\n\n/proc:\n\n/sys:\nend\n", "{ended:?}");
        spec = bench.shell("ls /dev/mqueue /dev/pts 2>&1; ls /sys/fs/cgroup | wc -l");
        spec.filesystems.mqueue = false;
        spec.filesystems.pts = false;
        spec.filesystems.cgroup = false;
        let out = bench.run(&spec).stdout;
        assert!(out.matches("No such file").count() == 2 && out.ends_with("0\n"), "{out}");
    });
}

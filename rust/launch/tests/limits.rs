//! Control group limits really limit, and wrong ones are named.
#[allow(missing_docs)]
mod common;

use ardock_launch::*;
use common::*;

type Change = fn(&mut Resources);

fn with(spec: &mut LaunchSpec, change: impl FnOnce(&mut Resources)) {
    change(&mut spec.cgroup.as_mut().unwrap().resources);
}

#[test]
fn an_allocation_beyond_the_memory_limit_is_killed_and_counted() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        // tail keeps a line without an end whole in memory.
        let mut spec = bench.spec(&["tail", "/dev/zero"]);
        with(&mut spec, |limits| {
            limits.memory = Some(16 << 20);
            limits.memory_swap = Some(16 << 20);
        });
        let ended = bench.run(&spec);
        assert_eq!(ended.code, 137, "{ended:?}");
        assert!(ended.oom >= 1, "{ended:?}");
        assert_eq!(bench.run(&bench.spec(&["true"])).oom, 0);
    });
}

#[test]
fn what_it_writes_into_its_scratch_in_memory_is_charged_to_it() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", "count=40"]);
        with(&mut spec, |limits| {
            limits.memory = Some(16 << 20);
            limits.memory_swap = Some(16 << 20);
        });
        let ended = bench.run(&spec);
        assert!(ended.code == 137 && ended.oom >= 1, "{ended:?}");
    });
}

#[test]
fn a_fork_bomb_stops_at_the_limit_on_processes() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        // The shell gives up at the first fork that fails; the one around it
        // counts without forking.
        let mut spec =
            bench.shell("(i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done); set -- /proc/[0-9]*; echo $#");
        with(&mut spec, |limits| limits.pids = Some(10));
        let ended = bench.run(&spec);
        assert!(ended.stderr.contains("can't fork"), "{ended:?}");
        let count: u32 = ended.lines()[0].parse().unwrap();
        assert!((8..=10).contains(&count), "{ended:?}");
    });
}

#[test]
fn a_cpu_quota_throttles_and_the_program_can_see_it() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; cd /sys/fs/cgroup/; cd cpu 2>/dev/null; \
             cat cpu.cfs_quota_us cpu.cfs_period_us cpu.shares cpu.max cpu.weight 2>/dev/null; grep throttled cpu.stat",
        );
        with(&mut spec, |limits| {
            limits.cpu_quota = Some(10_000);
            limits.cpu_period = Some(50_000);
            limits.cpu_shares = Some(512);
        });
        let ended = bench.run(&spec);
        let lines = ended.lines();
        let (set, counted) = lines.split_at(if bench.home.cgroups().version() == 1 { 3 } else { 2 });
        assert!(set == ["10000", "50000", "512"] || set == ["10000 50000", "59"], "{ended:?}");
        let throttled: u32 = counted[0].strip_prefix("nr_throttled ").unwrap().parse().unwrap();
        assert!(throttled > 0, "{ended:?}");
    });
}

#[test]
fn it_runs_on_the_cpus_of_its_cpuset() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["grep", "_allowed_list", "/proc/self/status"]);
        with(&mut spec, |limits| limits.cpuset_cpus = Some("0".into()));
        let ended = bench.run(&spec);
        assert_eq!(ended.lines(), ["Cpus_allowed_list:\t0", "Mems_allowed_list:\t0"], "{ended:?}");
    });
}

#[test]
fn four_megabytes_are_enough_to_start_a_small_program() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        for _ in 0..20 {
            let mut spec = bench.spec(&["true"]);
            with(&mut spec, |limits| {
                limits.memory = Some(4 << 20);
                limits.memory_swap = Some(4 << 20);
            });
            let ended = bench.run(&spec);
            assert_eq!((ended.code, ended.oom), (0, 0), "{ended:?}");
        }
    });
}

#[test]
fn a_program_that_dies_for_want_of_memory_before_it_runs_is_not_called_started() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut refused = 0;
        for kilobytes in (0..1600).step_by(100) {
            let mut spec = bench.spec(&["true"]);
            with(&mut spec, |limits| {
                limits.memory = Some(kilobytes << 10);
                limits.memory_swap = Some((kilobytes << 10) as i64);
            });
            match bench.try_launch(&spec, &[]) {
                Ok(launched) => {
                    assert_eq!(bench.slots[0].current_step(), Step::Exec, "{kilobytes} kB");
                    wait(launched.pid);
                    clean_soon(&bench.home, &spec);
                }
                Err(failure) => {
                    let text = failure.error.to_string();
                    assert!(text.contains("memory limit") || text.contains("annot allocate memory"), "{text}");
                    assert_eq!(failure.pid, None);
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "it needs no memory at all?");
    });
}

#[test]
fn values_that_the_kernel_refuses_are_named_with_their_file() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let v1 = bench.home.cgroups().version() == 1;
        let cases: [(&str, &str, Change); 4] = [
            (if v1 { "cpu.cfs_period_us" } else { "cpu.max" }, "10", |limits| limits.cpu_period = Some(10)),
            ("cpuset.cpus", "4000", |limits| limits.cpuset_cpus = Some("4000".into())),
            (if v1 { "memory.memsw.limit_in_bytes" } else { "memory and swap" }, "4096", |limits| {
                limits.memory_swap = Some(4096);
            }),
            ("devices.allow", "c 1:3 q", |limits| {
                limits.devices = Some(vec![DeviceRule { access: "q".into(), ..rule(true, 'c', Some(1), Some(3)) }]);
            }),
        ];
        for (file, value, change) in cases {
            let mut spec = bench.spec(&["true"]);
            with(&mut spec, change);
            let error = bench.refused(&spec);
            assert_eq!(error.step, Step::Cgroup, "{error}");
            assert!(error.subject.contains(file) && error.subject.contains(value), "{error}");
        }
        // Nothing is left of them, the half made device group neither.
        let left: Vec<String> =
            bench.home.cgroups().children(&bench.parent).into_iter().filter(|name| name.contains('.')).collect();
        assert_eq!(left, Vec::<String>::new());
        assert!(bench.home.cgroups().children(&bench.parent).iter().all(|name| name.starts_with("devices-")));
    });
}

#[test]
fn a_name_in_use_is_refused_and_its_owner_keeps_its_groups() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec =
            bench.shell("echo up; read line; cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes");
        spec.stdio.stdin = Stream::PIPE;
        let mut running = bench.start(&spec);
        assert_eq!(running.line(), "up");
        let error = bench.refused(&spec);
        assert!(error.step == Step::Cgroup && error.errno == libc::EEXIST, "{error}");
        running.tell("go");
        assert_eq!(running.line(), (64 << 20).to_string());
    });
}

#[test]
fn names_that_would_lead_elsewhere_are_refused() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        for name in ["", ".", "..", "../x", "a/../b", "/a", "a b", "a\n"] {
            let mut spec = bench.spec(&["true"]);
            spec.cgroup.as_mut().unwrap().name = name.into();
            assert_eq!(bench.refused(&spec).step, Step::Spec, "{name:?}");
        }
    });
}

/// What the kernel has in a file of a container's group. `place` is `file` on
/// version 2, `hierarchy/file` on version 1.
fn read(spec: &LaunchSpec, place: &str) -> std::io::Result<String> {
    let group = spec.cgroup.as_ref().unwrap();
    let (hierarchy, file) = place.split_once('/').unwrap_or(("unified", place));
    let folder = std::fs::read_dir("/c")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().split(',').any(|name| name == hierarchy));
    let path = folder.unwrap().join(&group.parent).join(&group.name).join(file);
    std::fs::read_to_string(path).map(|text| text.trim().to_owned())
}

fn kernel_has(spec: &LaunchSpec, place: &str) -> String {
    read(spec, place).unwrap_or_else(|error| panic!("{place}: {error}"))
}

#[test]
fn each_limit_is_what_the_kernel_has() {
    needs_root!();
    alone(|| {
        // What is asked, and the file with its value on version 1 and on 2; empty where a version has nothing like it.
        type Case = (Change, &'static str, &'static str, &'static str, &'static str);
        let cases: [Case; 13] = [
            (|l| l.memory = Some(64 << 20), "memory/memory.limit_in_bytes", "67108864", "memory.max", "67108864"),
            (
                |l| l.memory_swap = Some(96 << 20),
                "memory/memory.memsw.limit_in_bytes",
                "100663296",
                "memory.swap.max",
                "33554432",
            ),
            (|l| l.memory_swap = Some(-1), "", "", "memory.swap.max", "max"),
            (
                |l| l.memory_swap = Some(64 << 20),
                "memory/memory.memsw.limit_in_bytes",
                "67108864",
                "memory.swap.max",
                "0",
            ),
            (
                |l| l.memory_reservation = Some(8 << 20),
                "memory/memory.soft_limit_in_bytes",
                "8388608",
                "memory.low",
                "8388608",
            ),
            (|l| l.memory_high = Some(32 << 20), "", "", "memory.high", "33554432"),
            (|l| l.oom_group = true, "", "", "memory.oom.group", "1"),
            (|l| l.pids = Some(77), "pids/pids.max", "77", "pids.max", "77"),
            (|l| l.cpu_quota = Some(20_000), "cpu/cpu.cfs_quota_us", "20000", "cpu.max", "20000 100000"),
            (
                |l| (l.cpu_quota, l.cpu_period) = (Some(5_000), Some(10_000)),
                "cpu/cpu.cfs_period_us",
                "10000",
                "cpu.max",
                "5000 10000",
            ),
            (|l| l.cpu_shares = Some(2048), "cpu/cpu.shares", "2048", "cpu.weight", "174"),
            (|l| l.cpuset_cpus = Some("0".into()), "cpuset/cpuset.cpus", "0", "cpuset.cpus", "0"),
            (|l| l.cpuset_mems = Some("0".into()), "cpuset/cpuset.mems", "0", "cpuset.mems", "0"),
        ];
        let bench = Bench::new();
        for (change, v1_place, v1_value, v2_place, v2_value) in cases {
            let (place, value) = match bench.home.cgroups().version() {
                1 => (v1_place, v1_value),
                _ => (v2_place, v2_value),
            };
            if place.is_empty() {
                continue;
            }
            let mut spec = bench.spec(&["sleep", "60"]);
            with(&mut spec, change);
            let running = bench.start(&spec);
            assert_eq!(kernel_has(&running.spec, place), value, "{place}");
        }
    });
}

#[test]
fn what_only_version_2_has_is_refused_by_name_on_version_1() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        if bench.home.cgroups().version() == 2 {
            eprintln!("SKIPPED: control groups of version 2");
            return;
        }
        let cases: [(&str, Change); 2] = [
            ("memory.high", |limits| limits.memory_high = Some(1 << 20)),
            ("memory.oom.group", |limits| limits.oom_group = true),
        ];
        for (name, change) in cases {
            let mut spec = bench.spec(&["true"]);
            with(&mut spec, change);
            let error = bench.refused(&spec);
            assert!(error.step == Step::Cgroup && error.subject == name && error.hint.contains("version 1"), "{error}");
        }
    });
}

#[test]
fn on_version_2_a_container_that_asks_for_nothing_has_no_controllers() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        if bench.home.cgroups().version() == 1 {
            eprintln!("SKIPPED: control groups of version 1");
            return;
        }
        let own = |change: Change| {
            let mut spec = bench.shell("echo $(cat /sys/fs/cgroup/cgroup.controllers); cat /proc/self/cgroup");
            with(&mut spec, |limits| *limits = Resources { devices: limits.devices.take(), ..Resources::default() });
            with(&mut spec, change);
            let ended = bench.run(&spec);
            let lines = ended.lines();
            assert_eq!(lines[1], "0::/", "the group is not the root of its namespace");
            lines[0].to_owned()
        };
        assert_eq!(own(|limits| limits.pids = Some(-1)), "");
        assert_eq!(own(|limits| limits.pids = Some(9)), "pids");
        assert_eq!(own(|limits| limits.cpuset_cpus = Some("0".into())), "cpuset pids");
        // It stays enabled.
        assert_eq!(own(|_| ()), "cpuset pids");
        // Who may make groups of its own has them all.
        let mut spec = bench.shell("cat /sys/fs/cgroup/cgroup.controllers");
        spec.filesystems.writable = true;
        let all = bench.run(&spec).stdout;
        assert!(["cpuset", "cpu", "memory", "pids"].iter().all(|name| all.contains(name)), "{all}");
    });
}

#[test]
fn a_kill_for_memory_takes_all_of_a_container_only_if_that_is_asked() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("tail /dev/zero; echo the shell lives");
        with(&mut spec, |limits| (limits.memory, limits.memory_swap) = (Some(16 << 20), Some(16 << 20)));
        let ended = bench.run(&spec);
        assert!(ended.lines() == ["the shell lives"] && ended.oom >= 1, "{ended:?}");
        if bench.home.cgroups().version() == 1 {
            eprintln!("SKIPPED in part: control groups of version 1 have no memory.oom.group");
            return;
        }
        with(&mut spec, |limits| limits.oom_group = true);
        let ended = bench.run(&spec);
        assert!(ended.code == 137 && ended.stdout.is_empty() && ended.oom >= 1, "{ended:?}");
    });
}

/// A whole disk.
fn disk() -> Option<(u32, u32)> {
    let numbers = std::fs::read_dir("/sys/block").ok()?.flatten().find_map(|disk| {
        // Loop devices come and go.
        let name = disk.file_name().into_string().ok()?;
        let text = std::fs::read_to_string(disk.path().join("dev")).ok()?;
        (!name.starts_with("loop")).then_some(text)
    })?;
    let (major, minor) = numbers.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn block_devices_are_limited() {
    needs_root!();
    let Some((major, minor)) = disk() else {
        eprintln!("SKIPPED: no disk is seen on this host");
        return;
    };
    alone(move || {
        let bench = Bench::new();
        let mut spec = bench.spec(&["sleep", "60"]);
        let rate = |rate| vec![DeviceRate { major, minor, rate }];
        let io = Io {
            read_bps: rate(1 << 20),
            write_bps: rate(2 << 20),
            read_iops: rate(30),
            write_iops: rate(40),
            ..Io::default()
        };
        with(&mut spec, |limits| limits.io = Some(io));
        let running = match bench.try_launch(&spec, &[]) {
            Ok(launched) => launched,
            Err(failure) if failure.error.hint.contains("controller is not at hand") => {
                eprintln!("SKIPPED: {}", failure.error);
                return;
            }
            Err(failure) => panic!("{}", failure.error),
        };
        if bench.home.cgroups().version() == 2 {
            let line = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=30 wiops=40");
            assert_eq!(kernel_has(&spec, "io.max"), line);
        } else {
            for (name, value) in [("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 30), ("write_iops", 40)]
            {
                let place = format!("blkio/blkio.throttle.{name}_device");
                assert_eq!(kernel_has(&spec, &place), format!("{major}:{minor} {value}"));
            }
        }
        let pid = rustix::process::Pid::from_raw(running.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        wait(running.pid);
        drop(running);
        clean_soon(&bench.home, &spec);
        assert!(!bench.home.cgroups().children(&bench.parent).contains(&spec.cgroup.unwrap().name));
    });
}

#[test]
fn a_weight_is_set_or_what_is_missing_for_it_named() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["sleep", "60"]);
        with(&mut spec, |limits| limits.io = Some(Io { weight: Some(500), ..Io::default() }));
        match bench.try_launch(&spec, &[]) {
            Ok(launched) => {
                let places: &[&str] = match bench.home.cgroups().version() {
                    1 => &["blkio/blkio.bfq.weight", "blkio/blkio.weight"],
                    _ => &["io.bfq.weight", "io.weight"],
                };
                let has: Vec<String> = places.iter().filter_map(|place| read(&spec, place).ok()).collect();
                let expected = ["500", "default 500", "default 4950"];
                assert!(has.iter().any(|value| expected.contains(&value.as_str())), "{has:?}");
                let pid = rustix::process::Pid::from_raw(launched.pid).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                wait(launched.pid);
                drop(launched);
                clean_soon(&bench.home, &spec);
            }
            Err(failure) => {
                let text = failure.error.to_string();
                assert!(text.contains("weight") && (text.contains("BFQ") || text.contains("at hand")), "{text}");
            }
        }
    });
}

#[test]
fn a_disk_that_is_none_is_named() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["true"]);
        let none = vec![DeviceRate { major: 240, minor: 77, rate: 1 << 20 }];
        with(&mut spec, |limits| limits.io = Some(Io { read_bps: none, ..Io::default() }));
        let error = bench.refused(&spec).to_string();
        assert!(error.contains("240:77") && error.contains("no whole disk") || error.contains("at hand"), "{error}");
    });
}

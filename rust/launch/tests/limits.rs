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

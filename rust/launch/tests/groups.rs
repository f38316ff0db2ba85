//! Removing control groups.
#[allow(missing_docs)]
mod common;

use std::time::Duration;

use common::*;

#[test]
fn a_group_is_removed_once_its_last_process_is_collected() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let container = bench.start(&bench.spec(&["sleep", "100"]));
        let group = container.spec.cgroup.clone().unwrap();
        let groups = bench.home.cgroups();
        for patience in [Duration::ZERO, Duration::from_millis(20)] {
            let busy = groups.remove_patiently(&group.parent, &group.name, patience).unwrap_err();
            assert_eq!(busy.errno, libc::EBUSY, "{busy}");
        }
        std::thread::scope(|scope| {
            // Dead, and collected only while the other thread waits for that.
            let pid = container.launched.pid;
            container.kill();
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                wait(pid)
            });
            groups.remove_patiently(&group.parent, &group.name, Duration::from_secs(10)).unwrap();
        });
        assert!(!groups.children(&bench.parent).contains(&group.name));
        // What is not there is no error, and is not waited for.
        groups.remove_patiently(&group.parent, &group.name, Duration::from_secs(1000)).unwrap();
        container.collected();
    });
}

#[test]
fn a_containers_own_call_finds_every_folder_that_a_launch_makes() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["true"]);
        // Whatever limits there are.
        let group = spec.cgroup.as_mut().unwrap();
        group.resources.memory_reservation = Some(1 << 20);
        group.resources.cpu_quota = Some(50_000);
        group.resources.cpu_period = Some(100_000);
        group.resources.cpuset_cpus = Some("0".into());
        group.resources.cpuset_mems = Some("0".into());
        let blkio =
            ["/sys/fs/cgroup/blkio", "/sys/fs/cgroup/io.stat"].iter().any(|path| std::path::Path::new(path).exists());
        group.resources.io = blkio.then(ardock_launch::Io::default);
        let group = group.clone();
        let container = bench.start(&spec);
        let groups = bench.home.cgroups();
        assert!(groups.children(&bench.parent).contains(&group.name));
        wait(container.launched.pid);
        // Its mount namespace holds no group.
        groups.remove_container(&group.parent, &group.name).unwrap();
        assert!(!groups.children(&bench.parent).contains(&group.name), "a folder is left in some hierarchy");
        container.collected();
        // The folder of its device rules is not its own, and stays.
        let left = groups.children(&bench.parent);
        assert!(left.len() == 1 && left[0].starts_with("devices-"), "{left:?}");
    });
}

#[test]
fn a_parent_goes_with_what_is_empty_in_it() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let running = bench.start(&bench.spec(&["sleep", "100"]));
        let groups = bench.home.cgroups();
        let busy = groups.remove_parent_patiently(&bench.parent, Duration::from_millis(20)).unwrap_err();
        assert_eq!(busy.errno, libc::EBUSY, "{busy}");
        drop(running);
        groups.remove_parent_patiently(&bench.parent, Duration::from_secs(10)).unwrap();
        assert!(groups.children(&bench.parent).is_empty());
    });
}

#[test]
fn a_fork_bomb_is_killed_to_the_last_process() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("bomb() { while :; do bomb & done; }; bomb & bomb & echo up; sleep 100");
        spec.cgroup.as_mut().unwrap().resources.pids = Some(200);
        spec.stdio.stderr = ardock_launch::Stream::NULL;
        let mut container = bench.start(&spec);
        assert_eq!(container.line(), "up");
        std::thread::sleep(Duration::from_millis(100));
        let group = container.spec.cgroup.clone().unwrap();
        let groups = bench.home.cgroups();
        groups.kill(&group.parent, &group.name).unwrap();
        wait(container.launched.pid);
        groups.remove_patiently(&group.parent, &group.name, Duration::from_secs(20)).unwrap();
        container.collected();
    });
}

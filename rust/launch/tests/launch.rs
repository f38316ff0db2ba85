//! A container is what it is said to be: real launches of busybox.
mod common;

use ardock_launch::*;
use common::*;

/// Opens the root before the thread goes into its home.
fn prepared(name: &str) -> (Bench, std::os::fd::OwnedFd) {
    let folder = Folder::new(name);
    let rootfs = busybox_root(&folder.0);
    let root = root_fd(&rootfs);
    (Bench::with(folder, rootfs), root)
}

fn run(name: &str, script: &str, change: impl FnOnce(&mut LaunchSpec)) -> Ended {
    let (bench, root) = prepared(name);
    let mut spec = spec(name, &["sh", "-c", script]);
    change(&mut spec);
    let launched = bench.launch(&spec, &[root]).unwrap_or_else(|failure| panic!("{}", failure.error));
    finish(&bench, &spec, launched)
}

#[test]
fn it_is_its_own_pid_1_with_its_own_name_and_interfaces() {
    needs_root!();
    let ended = run("self", "echo $$; hostname; ls /sys/class/net; cat /etc/hostname; cat /proc/self/cgroup | grep memory", |_| {});
    assert_eq!(ended.stderr, "");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[..4], ["1", "box", "lo", "box"], "{lines:?}");
    assert!(lines[4].ends_with(":/"), "the cgroup namespace shows {:?}", lines[4]);
    assert_eq!(ended.code, 0);
}

//! What holds a launch besides a frozen control group (see `frozen.rs`): a
//! file system that does not answer, a processor time that is used up. The
//! launch is given up at its deadline and the others go on.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ardock_keeper::message::{Fds, Reply, Request};
use ardock_launch::{LaunchSpec, Root, Scratch, Source, Step};
use common::{capture, Bench, Engine};

/// A detached mount of a FUSE file system whose server never answers: the
/// descriptor of the connection is held and not read.
fn mute_fuse() -> Option<(File, OwnedFd)> {
    use rustix::mount::{
        fsconfig_create, fsconfig_set_string, fsmount, fsopen, FsMountFlags, FsOpenFlags, MountAttrFlags,
    };
    let server = File::options().read(true).write(true).open("/dev/fuse").ok()?;
    let fs = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    let fd = server.as_raw_fd().to_string();
    for (key, value) in [("fd", fd.as_str()), ("rootmode", "40755"), ("user_id", "0"), ("group_id", "0")] {
        fsconfig_set_string(&fs, key, value).unwrap();
    }
    fsconfig_create(&fs).unwrap();
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    Some((server, mount))
}

/// Launches `late`, which is to be given up, with others beside and after it.
fn is_given_up(engine: &mut Engine, bench: &Bench, late: &LaunchSpec, fd: Option<&OwnedFd>) -> Step {
    let mut launch = common::launch(9, "late", late, capture());
    if let (Request::Launch { fds, .. }, Some(_)) = (&mut launch, fd) {
        *fds = Fds(0, 1);
    }
    let start = Instant::now();
    let given: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    engine.send(&[launch], &given);
    engine.launch("beside", &bench.spec("beside", &["echo", "on"]), capture());
    assert_eq!(engine.ended("beside").stdout.as_slice(), b"on\n");
    let step = match engine.next() {
        Reply::Failed { req: 9, error, .. } => {
            assert!(error.to_string().starts_with("could not finish in time"), "{error}");
            error.step
        }
        other => panic!("{other:?}"),
    };
    let took = start.elapsed();
    assert!(took > Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?}");
    engine.launch("after", &bench.spec("after", &["echo", "on"]), capture());
    assert_eq!(engine.ended("after").stdout.as_slice(), b"on\n");
    step
}

#[test]
fn a_file_system_that_never_answers_holds_nobody_else() {
    needs_root!();
    let bench = Bench::start(env!("CARGO_BIN_EXE_ardock-keeper").as_ref());
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let Some((server, mount)) = mute_fuse() else {
        eprintln!("SKIPPED: no FUSE");
        return;
    };
    let mut late = bench.spec("late", &["true"]);
    late.deadline_ms = 300;
    late.root = Root { layers: vec![Source::Fd(0)], scratch: Scratch::None, readonly: false };
    assert_eq!(is_given_up(&mut engine, &bench, &late, Some(&mount)), Step::Deadline);
    // Without its server the file system answers everything with an error.
    drop(mount);
    drop(server);
    bench.until("the launcher's freedom", || engine.counter("launchers_held") == 0);
    bench.until("the child's end", || engine.counter("orphans") == 0);
}

#[test]
fn a_launch_without_processor_time_is_given_up() {
    needs_root!();
    let bench = Bench::start(env!("CARGO_BIN_EXE_ardock-keeper").as_ref());
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let cpu = Path::new("/sys/fs/cgroup/cpu");
    if !cpu.join("tasks").exists() {
        eprintln!("SKIPPED: no v1 cpu hierarchy");
        return;
    }
    // The smallest share that the kernel takes, 1 ms a second, and somebody
    // who uses it up.
    let slow = cpu.join(format!("ardock-{}/slow", bench.engine));
    fs::create_dir_all(&slow).unwrap();
    fs::write(slow.join("cpu.cfs_period_us"), "1000000").unwrap();
    fs::write(slow.join("cpu.cfs_quota_us"), "1000").unwrap();
    let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    fs::write(slow.join("tasks"), busy.id().to_string()).unwrap();
    let throttled = || {
        let stat = fs::read_to_string(slow.join("cpu.stat")).unwrap();
        stat.lines().any(|line| line.starts_with("nr_throttled ") && !line.ends_with(" 0"))
    };
    bench.until("the group's being throttled", throttled);

    let mut late = bench.spec("late", &["true"]);
    late.deadline_ms = 300;
    let group = late.cgroup.as_mut().unwrap();
    group.resources.cpu_quota = None;
    group.resources.cpu_period = None;
    group.resources.cpu_shares = None;
    group.join = vec![0];
    let folder = OwnedFd::from(File::open(&slow).unwrap());
    let step = is_given_up(&mut engine, &bench, &late, Some(&folder));
    busy.kill().unwrap();
    busy.wait().unwrap();
    fs::write(slow.join("cpu.cfs_quota_us"), "-1").unwrap();
    assert_eq!(step, Step::Deadline);
    bench.until("the launcher's freedom", || engine.counter("launchers_held") == 0);
    bench.until("the child's end", || engine.counter("orphans") == 0);
    bench.until("the group's being empty", || fs::remove_dir(&slow).is_ok());
}

//! What a frozen control group holds: launches, launchers, and the threads that
//! write logs, as a disk does that does not answer.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use ardock_keeper::log;
use ardock_keeper::message::{Fds, Log, Output, Reply, Request};
use ardock_launch::{LaunchSpec, Step};
use common::frozen::Frozen;
use common::{capture, Bench};

fn bench() -> Bench {
    Bench::start(Path::new(env!("CARGO_BIN_EXE_ardock-keeper")))
}

/// A launch into the group whose folder is the message's only descriptor.
fn joining(req: u64, id: &str, mut spec: LaunchSpec) -> Request {
    spec.cgroup.as_mut().unwrap().join = vec![0];
    let mut launch = common::launch(req, id, &spec, capture());
    if let Request::Launch { fds, .. } = &mut launch {
        *fds = Fds(0, 1);
    }
    launch
}

#[test]
fn an_exit_waits_for_its_own_log_and_others_do_not() {
    needs_root!();
    let bench = bench();
    let Some(frozen) = Frozen::new(&bench) else { return };
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let log =
        || Output { log: Some(Log { path: "logs/a1".into(), max_size: 1 << 20, max_files: 1 }), ..Output::default() };
    // A disk that does not answer, as the writer threads see it.
    for task in fs::read_dir(format!("/proc/{}/task", bench.pid)).unwrap().flatten() {
        if fs::read_to_string(task.path().join("comm")).unwrap().trim() == "ardock-writer" {
            frozen.take(task.file_name().to_str().unwrap());
        }
    }
    frozen.freeze();
    engine.launch("a1", &bench.spec("a1", &["seq", "1", "100000"]), log());
    let writer = engine.started("a1").pid;
    engine.launch("a2", &bench.spec("a2", &["echo", "on"]), capture());
    assert_eq!(engine.ended("a2").stdout.as_slice(), b"on\n");
    // Once its queue is full the program waits; it is killed, and its exit
    // still comes after its log.
    let written = || {
        let io = fs::read_to_string(format!("/proc/{writer}/io")).unwrap();
        io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse::<u64>().unwrap()
    };
    bench.until("the queue's being full", || {
        let before = written();
        std::thread::sleep(Duration::from_millis(100));
        before >= 128 * 1024 && written() == before
    });
    let req = engine.req();
    engine.send(&[Request::Signal { req, id: "a1".into(), exec: None, signal: 9 }], &[]);
    assert_eq!(engine.next(), Reply::Done { req });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(engine.take(), 0, "the exit came before the log");
    frozen.thaw();
    let exit = engine.ended("a1");
    assert_eq!(exit.signal, Some(9));
    let bytes = fs::read(bench.folder.join("root/logs/a1")).unwrap();
    let logged: Vec<u8> = log::parse(&bytes).unwrap().1.iter().flat_map(|record| record.data.to_vec()).collect();
    let expected: String = (1..=100_000).fold(String::new(), |text, n| text + &format!("{n}\n"));
    assert_eq!(exit.stdout_total, logged.len() as u64);
    assert!(expected.as_bytes().starts_with(&logged));
    assert!(logged.len() >= 128 * 1024 && logged.len() < 400 * 1024, "the queue is bounded: {}", logged.len());
}

#[test]
fn a_launch_that_hangs_is_given_up_and_others_go_on() {
    needs_root!();
    let bench = bench();
    let Some(frozen) = Frozen::new(&bench) else { return };
    let mut engine = bench.connect();
    engine.prepare(&bench);
    frozen.freeze();
    let mut spec = bench.spec("a1", &["true"]);
    spec.deadline_ms = 300;
    let launch = joining(9, "a1", spec);
    let folder = frozen.open();
    let start = Instant::now();
    engine.send(&[launch], &[folder.as_fd()]);
    engine.launch("a2", &bench.spec("a2", &["echo", "on"]), capture());
    assert_eq!(engine.ended("a2").stdout.as_slice(), b"on\n");
    match engine.next() {
        Reply::Failed { req: 9, id, error, .. } => {
            assert_eq!((id.as_str(), error.step), ("a1", Step::Deadline));
            assert!(error.to_string().contains("enter the control group"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let took = start.elapsed();
    assert!(took > Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(engine.counter("launchers_held"), 1);
    engine.launch("a3", &bench.spec("a3", &["echo", "on"]), capture());
    assert_eq!(engine.ended("a3").stdout.as_slice(), b"on\n");
    frozen.thaw();
    bench.until("the launcher's freedom", || engine.counter("launchers_held") == 0);
    bench.until("the child's end", || engine.counter("orphans") == 0);
    bench.gone("a1");
}

#[test]
fn held_launchers_are_bounded_and_then_launches_are_refused_by_name() {
    needs_root!();
    let bench = bench();
    let Some(frozen) = Frozen::new(&bench) else { return };
    let mut engine = bench.connect();
    engine.prepare(&bench);
    frozen.freeze();
    let folder = frozen.open();
    for number in 0..32 {
        let id = format!("h{number}");
        let mut spec = bench.spec(&id, &["true"]);
        spec.deadline_ms = 300;
        let launch = joining(number, &id, spec);
        engine.send(&[launch], &[folder.as_fd()]);
    }
    for _ in 0..32 {
        match engine.next() {
            Reply::Failed { error, .. } => assert_eq!(error.step, Step::Deadline, "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(engine.counter("launchers_held"), 32);
    let spec = bench.spec("a1", &["true"]);
    engine.launch("a1", &spec, capture());
    match engine.next() {
        Reply::Error { code, message, .. } => {
            assert_eq!(code, "busy");
            assert!(message.contains("32 launches") && message.contains("hang"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    frozen.thaw();
    bench.until("the launchers' freedom", || engine.counter("launchers_held") == 0);
    bench.until("the children's end", || engine.counter("orphans") == 0);
    engine.launch("a1", &spec, capture());
    assert_eq!(engine.ended("a1").code, 0);
    bench.until("fewer launchers", || engine.counter("launchers") <= 8);
}

#[test]
fn a_launcher_that_is_killed_fails_its_launch_alone() {
    needs_root!();
    let bench = bench();
    let Some(frozen) = Frozen::new(&bench) else { return };
    let mut engine = bench.connect();
    engine.prepare(&bench);
    frozen.freeze();
    let folder = frozen.open();
    let spec = bench.spec("a1", &["true"]);
    let launch = joining(9, "a1", spec);
    engine.send(&[launch], &[folder.as_fd()]);
    bench.until("the child", || !frozen.tasks().is_empty());
    // The one that does not wait for work: its clone3 (435 everywhere) waits.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", bench.pid)).unwrap();
    let busy = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "ardock-launch")
            && fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| call.starts_with("435 "))
    };
    let busy: Vec<_> = children.split_whitespace().filter(busy).collect();
    assert_eq!(busy.len(), 1, "{children}");
    let pid = rustix::process::Pid::from_raw(busy[0].parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    match engine.next() {
        Reply::Failed { req: 9, error, .. } => assert!(error.to_string().contains("launcher died"), "{error}"),
        other => panic!("{other:?}"),
    }
    engine.launch("a2", &bench.spec("a2", &["echo", "on"]), capture());
    assert_eq!(engine.ended("a2").stdout.as_slice(), b"on\n");
    frozen.thaw();
    // The child that nobody knew is killed by its control group, and reaped.
    bench.gone("a1");
    bench.until("the children's end", || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", bench.pid)).unwrap();
        let zombie =
            |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        !children.split_whitespace().any(zombie)
    });
}

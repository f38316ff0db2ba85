//! What a container's second start finds, what is left of an engine for the
//! next one, and the clock by which a run is measured.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::fs;
use std::path::Path;
use std::time::Instant;

use ardock_keeper::log;
use ardock_keeper::message::{Log, Output, Reply, Request, VERSION};
use ardock_launch::{Scratch, Step};
use common::{capture, Bench, Engine};

fn bench() -> Bench {
    Bench::start(Path::new(env!("CARGO_BIN_EXE_ardock-keeper")))
}

#[test]
fn a_second_start_finds_its_files_and_goes_on_in_its_log() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "echo line >> /file; cat /file"]);
    let dir = bench.folder.join("root/containers/a1");
    fs::create_dir(bench.folder.join("root/containers")).unwrap();
    spec.root.scratch = Scratch::Disk { dir: "/store/containers/a1/disk".into(), volatile: false, keep: true };
    let log = Log { path: "logs/a1".into(), max_size: 10_000, max_files: 2 };
    for count in 1..=3 {
        engine.launch("a1", &spec, Output { log: Some(log.clone()), ..Output::default() });
        let exit = engine.ended("a1");
        assert_eq!((exit.code, exit.stdout_total), (0, 5 * count));
        engine.ack("a1", None);
        bench.until("the tidying", || engine.counter("dying") == 0);
        assert!(dir.join("disk/u/file").exists());
    }
    // Cut in the middle of a record, as by a keeper's death.
    let path = bench.folder.join("root/logs/a1");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, &bytes).unwrap();
    engine.launch("a1", &spec, Output { log: Some(log), ..Output::default() });
    engine.ended("a1");
    let bytes = fs::read(&path).unwrap();
    let (offset, records) = log::parse(&bytes).unwrap();
    let texts: Vec<&[u8]> = records.iter().map(|record| record.data).collect();
    let expected = ["line\n".to_string(), "line\n".repeat(2), "line\n".repeat(4)].concat();
    assert_eq!((offset, texts.concat()), (0, expected.into_bytes()));
    assert!(!bench.folder.join("root/logs/a1.1").exists());
    // Outside the store nothing is kept.
    spec.root.scratch = Scratch::Disk { dir: "/roots/1/x".into(), volatile: false, keep: true };
    engine.launch("a2", &spec, capture());
    assert!(matches!(engine.next(), Reply::Error { code, .. } if code == "invalid"));
}

/// A connection and the first key for its roots.
fn greeted(bench: &Bench) -> (Engine, u32) {
    let mut engine = bench.connect_raw();
    engine.send(&[Request::Hello { version: VERSION }], &[]);
    match engine.next() {
        Reply::Welcome { next_root, .. } => (engine, next_root),
        other => panic!("{other:?}"),
    }
}

#[test]
fn roots_go_with_the_engine_that_brought_them() {
    needs_root!();
    let bench = bench();
    let (mut first, next) = greeted(&bench);
    assert_eq!(next, 0);
    first.prepare(&bench);
    let mut other = bench.connect();
    assert_eq!(other.counter("roots"), 1);
    first.launch("a1", &bench.spec("a1", &["sh", "-c", "until [ -e /go ]; do sleep 0.05; done; cat /go"]), capture());
    first.started("a1");
    drop(first);
    bench.until("the end of its roots", || other.counter("roots") == 0 && other.counter("dying") == 0);
    other.launch("a2", &bench.spec("a2", &["true"]), capture());
    match other.next() {
        Reply::Failed { error, .. } => assert_eq!((error.step, error.errno), (Step::Root, libc::ENOENT), "{error}"),
        reply => panic!("{reply:?}"),
    }
    // The next engine's keys do not meet the earlier one's; the same are free.
    let (mut second, next) = greeted(&bench);
    assert_eq!(next, 2);
    second.prepare(&bench);
    second.launch("a3", &bench.spec("a3", &["echo", "on"]), capture());
    assert_eq!(second.ended("a3").stdout.as_slice(), b"on\n");
    // What runs has its own copy.
    other.list();
    let Reply::Entry { started: Some(started), .. } = second.list().remove(0) else { panic!() };
    fs::write(format!("/proc/{}/root/go", started.pid), "went on\n").unwrap();
    assert_eq!(other.ended("a1").stdout.as_slice(), b"went on\n");
}

#[test]
fn a_run_is_measured_on_a_clock_that_nobody_sets() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let boot = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    let (before, since) = (boot(), Instant::now());
    engine.launch("a1", &bench.spec("a1", &["sleep", "0.3"]), capture());
    let started = engine.started("a1");
    let exit = engine.ended("a1");
    assert!(started.started_boot > before && started.started_boot < boot(), "{started:?} {before}");
    let most = since.elapsed().as_nanos();
    // The keeper hears of the start a little after it.
    assert!(exit.duration_ns > 200_000_000 && u128::from(exit.duration_ns) <= most, "{exit:?} {most}");
    match &engine.list()[..] {
        [Reply::Entry { started: Some(again), exit: Some(end), .. }] => {
            assert_eq!((again.started_boot, end.duration_ns), (started.started_boot, exit.duration_ns));
        }
        other => panic!("{other:?}"),
    }
}

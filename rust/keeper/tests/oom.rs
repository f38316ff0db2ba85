//! Kills for want of memory are told while the container goes on.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::path::Path;

use ardock_keeper::message::{Reply, Request};
use ardock_launch::LaunchSpec;
use common::{capture, Bench, Engine};

fn bench() -> Bench {
    Bench::start(Path::new(env!("CARGO_BIN_EXE_ardock-keeper")))
}

/// A container whose shell starts as many programs as are given that take
/// more memory than there is, one after the other, and then this.
fn spec(bench: &Bench, kills: u32, then: &str) -> LaunchSpec {
    // tail keeps a line without an end whole in memory.
    let text = format!("for n in $(seq {kills}); do tail /dev/zero; done; {then}");
    let mut spec = bench.spec("a1", &["sh", "-c", &text]);
    let resources = &mut spec.cgroup.as_mut().unwrap().resources;
    (resources.memory, resources.memory_swap) = (Some(16 << 20), Some(16 << 20));
    spec
}

fn launch(engine: &mut Engine, spec: &LaunchSpec, hold: u32) {
    let mut launch = common::launch(1, "a1", spec, capture());
    if let Request::Launch { hold_ms, watch_oom, .. } = &mut launch {
        (*hold_ms, *watch_oom) = (hold, true);
    }
    engine.send(&[launch], &[]);
}

#[test]
fn a_kill_is_told_while_the_container_goes_on() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    launch(&mut engine, &spec(&bench, 3, "sleep 100"), 0);
    engine.started("a1");
    let mut last = 0;
    while last < 3 {
        match engine.next() {
            Reply::Oom { id, kills } if id == "a1" && kills > last => last = kills,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last, 3);
    // The next engine hears of them by its list.
    drop(engine);
    let mut engine = bench.connect();
    match &engine.list()[..] {
        [Reply::Entry { oom_kills: 3, exit: None, .. }] => {}
        other => panic!("{other:?}"),
    }
    let req = engine.req();
    engine.send(&[Request::Signal { req, id: "a1".into(), exec: None, signal: 9 }], &[]);
    assert_eq!(engine.next(), Reply::Done { req });
    let exit = engine.ended("a1");
    assert!(exit.oom && exit.signal == Some(9), "{exit:?}");
}

#[test]
fn a_kill_is_told_between_the_start_and_the_end() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    // Even where its end may come with its start.
    for (argv, hold) in [(&["tail", "/dev/zero"], 1000), (&["tail", "/dev/zero"], 0)] {
        let mut spec = spec(&bench, 0, "");
        spec.process = common::process(argv);
        launch(&mut engine, &spec, hold);
        engine.started("a1");
        let told = engine.next();
        assert_eq!(told, Reply::Oom { id: "a1".into(), kills: 1 });
        match engine.next() {
            Reply::Ended { started: None, exit, .. } => assert!(exit.oom && exit.signal == Some(9), "{exit:?}"),
            other => panic!("{other:?}"),
        }
        engine.ack("a1", None);
        bench.until("the tidying", || engine.counter("dying") == 0);
    }
}

#[test]
fn what_nobody_asked_for_or_what_did_not_happen_is_not_told() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    engine.launch("a1", &spec(&bench, 1, "exit 3"), capture());
    let exit = engine.ended("a1");
    assert!(exit.oom && exit.code == 3, "{exit:?}");
    engine.ack("a1", None);
    bench.until("the tidying", || engine.counter("dying") == 0);
    launch(&mut engine, &spec(&bench, 0, "exit 4"), 1000);
    match engine.next() {
        Reply::Ended { started: Some(_), exit, .. } => assert!(!exit.oom && exit.code == 4, "{exit:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_notice_is_let_go_of_with_its_container() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let descriptors = |bench: &Bench| std::fs::read_dir(format!("/proc/{}/fd", bench.pid)).unwrap().count();
    let mut before = 0;
    for turn in 0..30 {
        launch(&mut engine, &spec(&bench, 1, "true"), 1000);
        while !matches!(engine.next(), Reply::Ended { .. }) {}
        engine.ack("a1", None);
        bench.until("the tidying", || engine.counter("dying") == 0);
        if turn == 9 {
            before = descriptors(&bench);
        }
    }
    // Launchers come and go; a notice kept for each would be 20 more.
    assert!(descriptors(&bench) < before + 10);
}

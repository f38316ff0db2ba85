//! A keeper's life, with real containers.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ardock_keeper::journal;
use ardock_keeper::log;
use ardock_keeper::message::{Fds, Log, Output, Reply, Request};
use ardock_keeper::run_folder;
use ardock_launch::{Namespace, OwnStream, Scratch, Source, Step, Stream};
use common::{capture, Bench};

fn bench() -> Bench {
    Bench::start(Path::new(env!("CARGO_BIN_EXE_ardock-keeper")))
}

fn direct() -> Output {
    Output { direct: true, ..Output::default() }
}

#[test]
fn a_short_program_is_one_message_with_all_of_its_output() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("a1", &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let mut launch = common::launch(5, "a1", &spec, capture());
    if let Request::Launch { hold_ms, .. } = &mut launch {
        *hold_ms = 1000;
    }
    engine.send(&[launch], &[]);
    match engine.next() {
        Reply::Ended { req: 5, id, exec: None, started: Some(started), exit, .. } => {
            assert_eq!(id, "a1");
            assert!(started.pid > 1 && started.timings.total > 0, "{started:?}");
            assert_eq!((exit.code, exit.signal, exit.oom, exit.seq), (7, None, false, 1));
            assert_eq!((exit.stdout.as_slice(), exit.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
            assert_eq!((exit.stdout_total, exit.stderr_total), (4, 4));
            assert!(exit.finished_at >= started.started_at);
        }
        other => panic!("{other:?}"),
    }
    bench.gone("a1");
    engine.ack("a1", None);
    assert_eq!(engine.list(), []);
}

#[test]
fn a_start_is_told_at_once_where_nothing_is_held_back() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("a1", &["sleep", "100"]);
    let req = engine.launch("a1", &spec, capture());
    let started = engine.started("a1");
    assert!(started.start_ticks > 0);
    assert!(fs::read_to_string(format!("/proc/{}/comm", started.pid)).unwrap().contains("sleep"));
    let signal = engine.req();
    assert!(signal > req);
    engine.send(&[Request::Signal { req: signal, id: "a1".into(), exec: None, signal: 9 }], &[]);
    assert_eq!(engine.next(), Reply::Done { req: signal });
    match engine.next() {
        Reply::Ended { req: 0, started: None, exit, .. } => assert_eq!((exit.code, exit.signal), (137, Some(9))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_name_their_step_and_leave_nothing() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("a1", &["no-such-program"]);
    engine.launch("a1", &spec, capture());
    match engine.next() {
        Reply::Failed { req: 1, id, error, .. } => {
            assert_eq!((id.as_str(), error.step, error.exit_code), ("a1", Step::Exec, 127));
        }
        other => panic!("{other:?}"),
    }
    bench.gone("a1");
    let mut spec = bench.spec("a2", &["true"]);
    spec.root.layers = vec![Source::Path("/roots/9".into())];
    engine.launch("a2", &spec, capture());
    assert!(matches!(engine.next(), Reply::Failed { .. }));
    bench.gone("a2");
    // The ids are free again.
    let spec = bench.spec("a1", &["true"]);
    engine.launch("a1", &spec, capture());
    assert_eq!(engine.ended("a1").code, 0);
    engine.launch("a1", &spec, capture());
    match engine.next() {
        Reply::Error { code, .. } => assert_eq!(code, "exists"),
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.counter("failed"), 2);
}

#[test]
fn what_is_not_the_engines_own_is_refused() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["true"]);
    spec.cgroup.as_mut().unwrap().parent = "system.slice".into();
    engine.launch("a1", &spec, capture());
    assert!(matches!(engine.next(), Reply::Error { code, .. } if code == "invalid"));
    for dir in ["/store/logs", "/store/scratch/../logs", "/tmp/x", "/store/scratch/"] {
        let mut spec = bench.spec("a1", &["true"]);
        spec.root.scratch = Scratch::Disk { dir: dir.into(), volatile: true, keep: false };
        engine.launch("a1", &spec, capture());
        assert!(matches!(engine.next(), Reply::Error { code, .. } if code == "invalid"), "{dir}");
    }
    let log = Log { path: "logs/x".into(), max_size: 10, max_files: 1 };
    engine.launch("a1", &bench.spec("a1", &["true"]), Output { log: Some(log), ..Output::default() });
    assert!(matches!(engine.next(), Reply::Error { code, .. } if code == "invalid"));
}

#[test]
fn scratch_on_disk_goes_with_its_container() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "echo x > /file; ln -s / /link; cat /file"]);
    spec.root.scratch = Scratch::Disk { dir: "/store/scratch/k1/a1".into(), volatile: true, keep: false };
    engine.launch("a1", &spec, capture());
    assert_eq!(engine.ended("a1").stdout.as_slice(), b"x\n");
    let dir = bench.folder.join("root/scratch/k1/a1");
    bench.until("the scratch directory's end", || !dir.exists());
}

#[test]
fn captured_output_is_bounded_and_counted_and_fetched_in_pieces() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("a1", &["sh", "-c", "seq 1 200000"]);
    engine.launch("a1", &spec, Output { capture: Some(100_000), ..Output::default() });
    let exit = engine.ended("a1");
    let expected: String = (1..=200_000).fold(String::new(), |text, n| text + &format!("{n}\n"));
    assert_eq!(exit.stdout_total, expected.len() as u64);
    let mut got = exit.stdout.to_vec();
    assert!(got.len() < 100_000);
    loop {
        let req = engine.req();
        let offset = got.len() as u64;
        engine.send(&[Request::Captured { req, id: "a1".into(), exec: None, stream: 1, offset }], &[]);
        match engine.next() {
            Reply::Piece { req: other, data } if other == req && data.is_empty() => break,
            Reply::Piece { req: other, data } if other == req => got.extend_from_slice(&data),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, expected.as_bytes()[..100_000]);
    assert_eq!(engine.counter("captured_bytes"), 100_000);
    engine.ack("a1", None);
    assert_eq!(engine.counter("captured_bytes"), 0);
}

#[test]
fn a_log_holds_every_byte_when_the_exit_is_told() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("a1", &["sh", "-c", "seq 1 300000; echo end >&2"]);
    let log = Log { path: "logs/a1".into(), max_size: 1 << 20, max_files: 4 };
    engine.launch("a1", &spec, Output { log: Some(log), ..Output::default() });
    let exit = engine.ended("a1");
    let expected: String = (1..=300_000).fold(String::new(), |text, n| text + &format!("{n}\n"));
    assert_eq!(exit.stdout_total, expected.len() as u64);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for name in ["a1.1", "a1"] {
        let bytes = fs::read(bench.folder.join("root/logs").join(name)).unwrap();
        assert!(bytes.len() <= 1 << 20);
        for record in log::parse(&bytes).unwrap().1 {
            if record.stream == 1 {
                out.extend_from_slice(record.data);
            } else {
                err.extend_from_slice(record.data);
            }
        }
    }
    assert!(out == expected.as_bytes(), "{} bytes of {}", out.len(), expected.len());
    assert_eq!(err, b"end\n");
}

#[test]
fn a_slow_reader_gets_every_byte_and_holds_up_its_own_container_alone() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    // It waits for its input, so that the reader is there from the start.
    let mut spec = bench.spec("slow", &["sh", "-c", "cat >/dev/null; seq 1 200000"]);
    spec.stdio.stdin = Stream::PIPE;
    engine.launch("slow", &spec, capture());
    engine.started("slow");
    let req = engine.req();
    engine.send(&[Request::Attach { req, id: "slow".into(), exec: None }], &[]);
    let (reply, mut fds) = engine.next_with_fds();
    assert!(matches!(reply, Reply::Attached { streams: 7, .. }), "{reply:?}");
    let mut output = fs::File::from(fds.remove(1));
    drop(fds);
    let req = engine.req();
    engine.send(&[Request::CloseStdin { req, id: "slow".into(), exec: None }], &[]);
    assert_eq!(engine.next(), Reply::Done { req });
    // Nobody reads: the program stands still, others do not.
    std::thread::sleep(Duration::from_millis(200));
    let spec = bench.spec("quick", &["echo", "hi"]);
    engine.launch("quick", &spec, capture());
    assert_eq!(engine.ended("quick").stdout.as_slice(), b"hi\n");
    let expected: String = (1..=200_000).fold(String::new(), |text, n| text + &format!("{n}\n"));
    let mut got = Vec::new();
    let mut piece = vec![0; 10_000];
    while got.len() < expected.len() / 2 {
        let count = output.read(&mut piece).unwrap();
        assert!(count > 0, "the end after {} bytes", got.len());
        got.extend_from_slice(&piece[..count]);
    }
    output.read_to_end(&mut got).unwrap();
    assert!(got == expected.as_bytes(), "{} bytes of {}", got.len(), expected.len());
    assert_eq!(engine.ended("slow").stdout_total, expected.len() as u64);
}

#[test]
fn a_reader_that_goes_away_holds_up_nobody() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "cat >/dev/null; seq 1 100000"]);
    spec.stdio.stdin = Stream::PIPE;
    engine.launch("a1", &spec, capture());
    engine.started("a1");
    let req = engine.req();
    engine.send(&[Request::Attach { req, id: "a1".into(), exec: None }], &[]);
    let (_, fds) = engine.next_with_fds();
    assert_eq!(engine.counter("attached"), 2);
    drop(fds);
    let req = engine.req();
    engine.send(&[Request::CloseStdin { req, id: "a1".into(), exec: None }], &[]);
    engine.next();
    let exit = engine.ended("a1");
    assert!(exit.stdout_total > 500_000);
    assert_eq!(engine.counter("attached"), 0);
}

#[test]
fn a_grandchild_that_keeps_the_pipe_delays_no_exit() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("box", &["sleep", "100"]);
    engine.launch("box", &spec, capture());
    engine.started("box");
    let req = engine.req();
    let exec = Request::Exec {
        req,
        id: "box".into(),
        exec: "e1".into(),
        spec: Box::new(common::exec_spec(&["sh", "-c", "echo first; (sleep 1; echo second) & exit 3"])),
        output: Output {
            capture: Some(1000),
            log: Some(Log { path: "logs/e1".into(), max_size: 10_000, max_files: 1 }),
            ..Output::default()
        },
        fds: Fds(0, 0),
        hold_ms: 1000,
    };
    let start = Instant::now();
    engine.send(&[exec], &[]);
    match engine.next() {
        Reply::Ended { req: other, exec, started: Some(_), exit, .. } => {
            assert_eq!((other, exec.as_deref(), exit.code), (req, Some("e1"), 3));
            assert_eq!(exit.stdout.as_slice(), b"first\n");
        }
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < Duration::from_millis(900), "the exit waited for the grandchild");
    engine.ack("box", Some("e1"));
    assert_eq!(engine.counter("lingering"), 1);
    // What comes later is logged.
    let log = bench.folder.join("root/logs/e1");
    bench.until("the grandchild's output", || {
        let bytes = fs::read(&log).unwrap();
        let records = log::parse(&bytes).unwrap().1;
        records.iter().map(|record| record.data).collect::<Vec<_>>().concat() == b"first\nsecond\n"
    });
    bench.until("the end of the pipe", || engine.counter("lingering") == 0);
}

#[test]
fn an_exec_joins_its_container() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    engine.launch("box", &bench.spec("box", &["sh", "-c", "echo mark > /mark; sleep 100"]), capture());
    engine.started("box");
    std::thread::sleep(Duration::from_millis(100));
    let exec = |engine: &mut common::Engine, exec: &str, argv: &[&str]| {
        let req = engine.req();
        let request = Request::Exec {
            req,
            id: "box".into(),
            exec: exec.into(),
            spec: Box::new(common::exec_spec(argv)),
            output: capture(),
            fds: Fds(0, 0),
            hold_ms: 1000,
        };
        engine.send(&[request], &[]);
        engine.next()
    };
    match exec(&mut engine, "e1", &["cat", "/mark"]) {
        Reply::Ended { exec, exit, .. } => {
            assert_eq!((exec.as_deref(), exit.stdout.as_slice()), (Some("e1"), &b"mark\n"[..]));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(exec(&mut engine, "e1", &["true"]), Reply::Error { code, .. } if code == "exists"));
    match exec(&mut engine, "e2", &["no-such-program"]) {
        Reply::Failed { exec, error, .. } => assert_eq!((exec.as_deref(), error.exit_code), (Some("e2"), 127)),
        other => panic!("{other:?}"),
    }
    match &engine.list()[..] {
        [Reply::Entry { id, blob, execs, exit: None, started: Some(_), .. }] => {
            assert_eq!((id.as_str(), blob.as_slice()), ("box", &b"blob of box"[..]));
            assert!(matches!(&execs[..], [(id, Some(_))] if id == "e1"), "{execs:?}");
        }
        other => panic!("{other:?}"),
    }
    engine.ack("box", Some("e1"));
    let req = engine.req();
    engine.send(&[Request::Signal { req, id: "box".into(), exec: None, signal: 9 }], &[]);
    assert_eq!(engine.next(), Reply::Done { req });
    assert_eq!(engine.ended("box").signal, Some(9));
    assert_eq!(engine.counter("orphans"), 0);
    assert!(matches!(exec(&mut engine, "e3", &["true"]), Reply::Error { code, .. } if code == "not_running"));
}

#[test]
fn direct_output_is_the_engines_and_the_keepers_once_it_is_gone() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec =
        bench.spec("a1", &["sh", "-c", "while read line; do echo got $line; done; echo bye; sleep 1; exit 4"]);
    spec.stdio.stdin = Stream::PIPE;
    let log = Log { path: "logs/a1".into(), max_size: 100_000, max_files: 1 };
    engine.launch("a1", &spec, Output { log: Some(log), ..direct() });
    let (reply, fds) = engine.next_with_fds();
    assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
    let mut files: Vec<_> = fds.into_iter().map(fs::File::from).collect();
    assert_eq!(files.len(), 3);
    files[0].write_all(b"one\n").unwrap();
    let mut got = [0; 8];
    let mut output = files.remove(1);
    rustix::io::ioctl_fionbio(&output, false).unwrap();
    output.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"got one\n");
    // The engine goes; what comes now is logged. Its end of the input goes
    // with it, and the keeper's is closed by the next engine.
    drop((engine, output, files));
    let mut engine = bench.connect();
    assert!(matches!(&engine.list()[..], [Reply::Entry { exit: None, .. }]));
    let req = engine.req();
    engine.send(&[Request::CloseStdin { req, id: "a1".into(), exec: None }], &[]);
    assert_eq!(engine.next(), Reply::Done { req });
    assert_eq!(engine.ended("a1").code, 4);
    let bytes = fs::read(bench.folder.join("root/logs/a1")).unwrap();
    let logged: Vec<u8> = log::parse(&bytes).unwrap().1.iter().flat_map(|record| record.data.to_vec()).collect();
    assert_eq!(logged, b"bye\n");
}

#[test]
fn a_terminal_is_resized_and_attached() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "read x; stty size; echo $x"]);
    spec.stdio.terminal = Some((24, 80));
    engine.launch("a1", &spec, capture());
    engine.started("a1");
    let req = engine.req();
    engine.send(
        &[
            Request::Resize { req, id: "a1".into(), exec: None, rows: 33, cols: 77 },
            Request::Attach { req: 77, id: "a1".into(), exec: None },
        ],
        &[],
    );
    assert_eq!(engine.next(), Reply::Done { req });
    let (reply, mut fds) = engine.next_with_fds();
    assert!(matches!(reply, Reply::Attached { req: 77, streams: 3, .. }), "{reply:?}");
    let mut output = fs::File::from(fds.pop().unwrap());
    fs::File::from(fds.pop().unwrap()).write_all(b"word\n").unwrap();
    let mut got = String::new();
    output.read_to_string(&mut got).unwrap();
    assert_eq!(got, "word\r\n33 77\r\nword\r\n");
    assert_eq!(engine.ended("a1").stdout.as_slice(), got.as_bytes());
}

#[test]
fn an_engine_that_is_killed_loses_nothing_to_its_successor() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    for number in 0..20 {
        let id = format!("c{number}");
        let text = format!("sleep 0.{}; echo {number}; exit {number}", 3 + number % 5);
        engine.launch(&id, &bench.spec(&id, &["sh", "-c", &text]), capture());
    }
    // Some run, some are being launched.
    assert!(matches!(engine.next(), Reply::Started { .. }));
    drop(engine);
    let mut engine = bench.connect();
    let mut exits = std::collections::BTreeMap::new();
    for entry in engine.list() {
        let Reply::Entry { id, blob, exit, .. } = entry else { panic!("{entry:?}") };
        assert_eq!(blob.as_slice(), format!("blob of {id}").as_bytes());
        exits.insert(id, exit);
    }
    assert_eq!(exits.len(), 20);
    while exits.values().any(Option::is_none) {
        match engine.next() {
            Reply::Started { req: 0, .. } => {}
            Reply::Ended { req: 0, id, exit, .. } => drop(exits.insert(id, Some(exit))),
            other => panic!("{other:?}"),
        }
    }
    let mut order = vec![];
    for (id, exit) in exits {
        let exit = exit.unwrap();
        assert_eq!(format!("c{}", exit.code), id);
        assert_eq!(exit.stdout.as_slice(), format!("{}\n", exit.code).as_bytes());
        order.push(exit.seq);
        engine.ack(&id, None);
    }
    order.sort_unstable();
    assert_eq!(order, (1..=20).collect::<Vec<_>>());
    assert_eq!(engine.list(), []);
}

#[test]
fn a_keeper_that_is_killed_takes_its_containers_and_leaves_its_journal() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    engine.launch("done", &bench.spec("done", &["sh", "-c", "echo x; exit 3"]), capture());
    engine.ended("done");
    engine.launch("acked", &bench.spec("acked", &["true"]), capture());
    engine.ended("acked");
    engine.ack("acked", None);
    let mut pids = vec![];
    for number in 0..5 {
        let id = format!("run{number}");
        engine.launch(&id, &bench.spec(&id, &["sleep", "1000"]), Output::default());
        pids.push(engine.started(&id).pid);
    }
    bench.kill();
    bench.until("the containers' deaths", || pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()));
    let left = journal::read_journal(&bench.run.join("journal")).unwrap();
    assert_eq!(
        left.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(),
        ["done", "run0", "run1", "run2", "run3", "run4"]
    );
    assert_eq!(left[0].state.exit.as_ref().map(|exit| (exit.code, exit.stdout.to_vec())), Some((3, b"x\n".to_vec())));
    for (container, pid) in left[1..].iter().zip(&pids) {
        assert_eq!(container.state.started.map(|begin| begin.pid), Some(*pid));
        assert_eq!(container.state.exit, None);
        let cgroup = container.cgroup.clone().unwrap();
        assert_eq!(cgroup, (format!("ardock-{}/k1", bench.engine), container.id.clone()));
    }
    let target = fs::read_link(bench.run.join("journal")).ok();
    run_folder::tidy(&bench.run).unwrap();
    assert!(!bench.run.exists());
    assert!(target.is_none_or(|target| !target.exists()));
}

#[test]
fn a_keeper_that_nobody_can_find_ends_once_nothing_runs() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    engine.launch("a1", &bench.spec("a1", &["sleep", "2"]), capture());
    engine.started("a1");
    assert!(run_folder::tidy(&bench.run).is_err(), "a living keeper's folder was removed");
    drop(engine);
    fs::remove_dir_all(&bench.run).unwrap();
    let keeper = Path::new("/proc").join(bench.pid.to_string()).join("comm");
    std::thread::sleep(Duration::from_secs(1));
    assert!(keeper.exists(), "it left its container");
    bench.until("the keeper's end", || !keeper.exists());
}

#[test]
fn a_keeper_with_nothing_to_live_for_ends_and_leaves_nothing() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    engine.launch("a1", &bench.spec("a1", &["true"]), capture());
    engine.ended("a1");
    drop(engine);
    // Its exit is not acknowledged.
    std::thread::sleep(Duration::from_secs(4));
    assert!(bench.lives());
    let mut engine = bench.connect();
    assert_eq!(engine.list().len(), 1);
    engine.ack("a1", None);
    assert_eq!(engine.list(), []);
    drop(engine);
    bench.until("the keeper's end", || !bench.run.exists());
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let own = hierarchy.path().join(format!("ardock-{}", bench.engine));
        assert!(!own.exists(), "{} is left", own.display());
    }
    let prefix = format!("ardock-{}-", bench.engine);
    let left = fs::read_dir("/dev/shm")
        .unwrap()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    assert!(!left, "the journal is left");
}

#[test]
fn a_keeper_whose_last_engine_breaks_off_ends_too() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    // A failed launch is forgotten when it is told, and telling it to an
    // engine that has gone is what ends the connection.
    for number in 0..4 {
        let id = format!("c{number}");
        engine.launch(&id, &bench.spec(&id, &["no-such-program"]), capture());
    }
    std::thread::sleep(Duration::from_millis(2));
    drop(engine);
    bench.until("the keeper's end", || !bench.run.exists());
}

#[test]
fn a_signal_that_comes_too_early_is_sent_later() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let spec = bench.spec("a1", &["sleep", "1000"]);
    let req = engine.req();
    let launch = common::launch(req, "a1", &spec, capture());
    engine.send(&[launch, Request::Signal { req: 7, id: "a1".into(), exec: None, signal: 9 }], &[]);
    assert_eq!(engine.next(), Reply::Done { req: 7 });
    assert_eq!(engine.ended("a1").signal, Some(9));
}

#[test]
fn a_shared_pid_namespace_is_emptied_with_its_container() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "sleep 1000 & sleep 1000 & exit 0"]);
    spec.namespaces.pid = Namespace::HOST;
    spec.filesystems.proc = false;
    spec.masked = vec![];
    spec.readonly = vec![];
    spec.stdio = common::stdio(Stream::Own(OwnStream::Null));
    engine.launch("a1", &spec, capture());
    let end = loop {
        match engine.next() {
            Reply::Started { .. } => {}
            Reply::Failed { error, .. } => {
                panic!("{error}");
            }
            Reply::Ended { exit, .. } => break exit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end.code, 0);
    bench.gone("a1");
}

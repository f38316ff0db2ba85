//! Output that is copied to its reader from the first byte on.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use ardock_keeper::log;
use ardock_keeper::message::{Fds, Log, Output, Reply, Request};
use ardock_launch::Stream;
use common::{exec_spec, Bench, Engine};

fn bench() -> Bench {
    Bench::start(Path::new(env!("CARGO_BIN_EXE_ardock-keeper")))
}

fn attach() -> Output {
    Output { capture: Some(1000), attach: true, ..Output::default() }
}

fn files(fds: Vec<OwnedFd>) -> Vec<File> {
    fds.into_iter().map(File::from).collect()
}

fn rest(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// The start of `id`, which is told by itself, and what it brings.
fn started(engine: &mut Engine, id: &str) -> Vec<File> {
    match engine.next_with_fds() {
        (Reply::Started { id: other, .. }, fds) if other == id => files(fds),
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_attached_has_every_byte_besides_log_and_capture() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "echo first; echo second >&2; cat; exit 5"]);
    spec.stdio.stdin = Stream::PIPE;
    let log = Log { path: "logs/a1".into(), max_size: 100_000, max_files: 1 };
    engine.launch("a1", &spec, Output { log: Some(log), ..attach() });
    let Ok([mut input, output, errors]) = <[File; 3]>::try_from(started(&mut engine, "a1")) else { panic!() };
    input.write_all(b"third\n").unwrap();
    drop(input);
    let req = engine.req();
    engine.send(&[Request::CloseStdin { req, id: "a1".into(), exec: None }], &[]);
    assert_eq!(engine.next(), Reply::Done { req });
    assert_eq!((rest(output), rest(errors)), ("first\nthird\n".into(), "second\n".into()));
    let exit = engine.ended("a1");
    assert_eq!(
        (exit.code, exit.stdout.as_slice(), exit.stderr.as_slice()),
        (5, &b"first\nthird\n"[..], &b"second\n"[..])
    );
    let bytes = fs::read(bench.folder.join("root/logs/a1")).unwrap();
    assert_eq!(log::parse(&bytes).unwrap().1.iter().map(|record| record.data.len()).sum::<usize>(), 19);
    assert_eq!(engine.counter("attached"), 0);
}

#[test]
fn a_program_that_has_ended_brings_the_same_with_its_end() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["echo", "short"]);
    spec.stdio.stdin = Stream::PIPE;
    let mut launch = common::launch(1, "a1", &spec, attach());
    if let Request::Launch { hold_ms, .. } = &mut launch {
        *hold_ms = 1000;
    }
    engine.send(&[launch], &[]);
    let (reply, fds) = engine.next_with_fds();
    assert!(matches!(reply, Reply::Ended { started: Some(_), .. }), "{reply:?}");
    let Ok([mut input, output, errors]) = <[File; 3]>::try_from(files(fds)) else { panic!() };
    assert_eq!(input.write_all(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!((rest(output), rest(errors)), ("short\n".into(), String::new()));
    // Streams that are no pipes bring nothing.
    let mut spec = bench.spec("a2", &["sh", "-c", "echo gone; echo kept >&2"]);
    spec.stdio.stdout = Stream::NULL;
    engine.launch("a2", &spec, attach());
    let Ok([errors]) = <[File; 1]>::try_from(started(&mut engine, "a2")) else { panic!() };
    assert_eq!(rest(errors), "kept\n");
    engine.ended("a2");
}

#[test]
fn a_full_pipe_does_not_wait_for_a_start_that_is_held_back() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    // As much as no pipe holds, in far less than the second of holding back;
    // and its end can come only once somebody has read it.
    let spec = bench.spec("a1", &["seq", "1", "200000"]);
    let mut launch = common::launch(1, "a1", &spec, attach());
    if let Request::Launch { hold_ms, .. } = &mut launch {
        *hold_ms = 1000;
    }
    engine.send(&[launch], &[]);
    let [output, _errors] = <[File; 2]>::try_from(started(&mut engine, "a1")).unwrap();
    let text = rest(output);
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n200000\n"));
    assert_eq!(text.len() as u64, engine.ended("a1").stdout_total);
}

#[test]
fn a_terminal_is_attached_from_its_first_byte() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "stty -echo; echo hello; read x; stty size; echo $x"]);
    spec.stdio.terminal = Some((24, 80));
    engine.launch("a1", &spec, attach());
    let [mut terminal, mut output] = <[File; 2]>::try_from(started(&mut engine, "a1")).unwrap();
    let mut hello = [0; 7];
    output.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello\r\n");
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    terminal.write_all(b"word\n").unwrap();
    assert_eq!(rest(output), "33 77\r\nword\r\n");
    assert_eq!(engine.ended("a1").stdout.as_slice(), b"hello\r\n33 77\r\nword\r\n");
}

#[test]
fn an_exec_is_attached_likewise() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    engine.launch("box", &bench.spec("box", &["sleep", "100"]), common::capture());
    engine.started("box");
    let mut spec = exec_spec(&["cat"]);
    spec.stdio.stdin = Stream::PIPE;
    let (req, id) = (engine.req(), String::from("box"));
    let (exec, output) = (Some(String::from("e1")), attach());
    let launch = Request::Exec {
        req,
        id: id.clone(),
        exec: "e1".into(),
        spec: Box::new(spec),
        output,
        fds: Fds(0, 0),
        hold_ms: 0,
    };
    engine.send(&[launch], &[]);
    let [mut input, output, _errors] = <[File; 3]>::try_from(started(&mut engine, "box")).unwrap();
    input.write_all(b"through\n").unwrap();
    drop(input);
    engine.send(&[Request::CloseStdin { req: 99, id, exec }], &[]);
    assert_eq!(engine.next(), Reply::Done { req: 99 });
    assert_eq!(rest(output), "through\n");
    let ended = engine.next();
    assert!(
        matches!(&ended, Reply::Ended { exec: Some(exec), exit, .. } if exec == "e1" && exit.code == 0),
        "{ended:?}"
    );
}

#[test]
fn a_slow_reader_holds_up_its_program_and_a_lost_one_does_not() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    // It says how far it came when it is told to by a file.
    let spec = bench.spec("a1", &["sh", "-c", "seq 1 200000; echo done >&2"]);
    engine.launch("a1", &spec, attach());
    let [mut output, mut errors] = <[File; 2]>::try_from(started(&mut engine, "a1")).unwrap();
    let mut first = [0; 4];
    output.read_exact(&mut first).unwrap();
    // Nobody reads, so it can not come to its end.
    rustix::io::ioctl_fionbio(&errors, true).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(errors.read(&mut first).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(output);
    let exit = engine.ended("a1");
    assert_eq!((exit.code, exit.stderr.as_slice()), (0, &b"done\n"[..]));
    assert_eq!(exit.stdout_total, 1_288_895);
    drop(errors);
    bench.until("the end of all readers", || engine.counter("attached") == 0);
}

#[test]
fn an_engine_that_goes_before_it_was_told_holds_up_nobody() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    for number in 0..8 {
        let id = format!("c{number}");
        engine.launch(&id, &bench.spec(&id, &["sh", "-c", "seq 1 100000; exit 3"]), attach());
    }
    drop(engine);
    let mut engine = bench.connect();
    let mut exits = 0;
    for entry in engine.list() {
        exits += i32::from(matches!(entry, Reply::Entry { exit: Some(_), .. }));
    }
    while exits < 8 {
        let (reply, fds) = engine.next_with_fds();
        assert!(fds.is_empty(), "{reply:?} brings what was another engine's");
        if let Reply::Ended { exit, .. } = reply {
            assert_eq!((exit.code, exit.stdout_total), (3, 588_895));
            exits += 1;
        }
    }
    assert_eq!(engine.counter("attached"), 0);
}

//! Whatever comes on a connection ends that connection at most.
#![allow(missing_docs)]

#[macro_use]
mod common;

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use ardock_keeper::message::{Output, Reply, Request, MAX_FDS, MAX_PACKET, VERSION};
use ardock_keeper::packet;
use ardock_keeper::wire;
use common::{capture, encode, Bench, Engine};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::event::PollFlags;

fn bench() -> Bench {
    Bench::start(Path::new(env!("CARGO_BIN_EXE_ardock-keeper")))
}

/// The connection was ended, with a word of why.
fn is_ended(engine: &mut Engine) -> Option<String> {
    let mut why = None;
    for _ in 0..1000 {
        if !engine.wait(PollFlags::IN, Duration::from_secs(10)) {
            return None;
        }
        match engine.client.receive(1) {
            Ok(packets) => {
                for (bytes, _) in packets {
                    for reply in rmp_serde::from_slice::<Vec<Reply>>(&bytes).unwrap() {
                        if let Reply::Error { req: 0, message, .. } = reply {
                            why = Some(message);
                        }
                    }
                }
            }
            Err(_) => return Some(why.unwrap_or_default()),
        }
    }
    None
}

fn raw(engine: &Engine, bytes: &[u8]) -> Result<(), rustix::io::Errno> {
    packet::send(engine.client.fd(), &[IoSlice::new(bytes)], &[])
}

#[test]
fn what_is_no_message_ends_its_connection_with_a_word() {
    needs_root!();
    let bench = bench();
    let mut good = bench.connect();
    good.prepare(&bench);
    let sleeper = bench.spec("a1", &["sleep", "100"]);
    good.launch("a1", &sleeper, Output::default());
    good.started("a1");

    let nested = [vec![0x91; 1000], vec![0xc0]].concat();
    let long_array = vec![0xdd, 0xff, 0xff, 0xff, 0xff];
    let long_map = vec![0x91, 0xdf, 0xff, 0xff, 0xff, 0xff];
    let long_bytes = [vec![0x91, 0x81, 0xa1, b't', 0xc6, 0x7f, 0xff, 0xff, 0xff], vec![0; 100]].concat();
    let long_ids = b"\x91\x82\xa1t\xa3ack\xa3ids\xdd\x00\xff\xff\xff".to_vec();
    let hello = encode(&[Request::Hello { version: VERSION }]);
    let bad_id = {
        let mut spec = common::launch(1, "../x", &sleeper, capture());
        if let Request::Launch { id, .. } = &mut spec {
            *id = "../x".into();
        }
        encode(&[spec])
    };
    let no_such_fds = {
        let mut launch = common::launch(1, "b1", &sleeper, capture());
        if let Request::Launch { fds, .. } = &mut launch {
            *fds = ardock_keeper::message::Fds(u32::MAX, 2);
        }
        encode(&[launch])
    };
    let big_blob = {
        let mut launch = common::launch(1, "b1", &sleeper, capture());
        if let Request::Launch { blob, .. } = &mut launch {
            *blob = serde_bytes::ByteBuf::from(vec![0; 17 * 1024]);
        }
        encode(&[launch])
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nested", nested),
        ("long array", long_array),
        ("long map", long_map),
        ("long bytes", long_bytes),
        ("long ids", long_ids),
        ("hello twice", hello.clone()),
        ("not an array", vec![0x81, 0xa1, b't', 0xa4, b'l', b'i', b's', b't']),
        ("no tag", vec![0x91, 0x80]),
        ("unknown tag", b"\x91\x81\xa1t\xa4evil".to_vec()),
        ("unknown field", b"\x91\x83\xa1t\xa4list\xa3req\x01\xa4more\x01".to_vec()),
        ("two values", [hello.clone(), hello].concat()),
        ("an extension", vec![0x91, 0xd4, 1, 1]),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("too long", vec![0xc0; MAX_PACKET + 1]),
        ("bad id", bad_id),
        ("no such descriptors", no_such_fds),
        ("big blob", big_blob),
        ("sealed without a memfd", encode(&[Request::Sealed {}])),
        ("sealed among others", encode(&[Request::List { req: 1 }, Request::Sealed {}])),
    ];
    for (name, bytes) in cases {
        let mut bad = bench.connect();
        raw(&bad, &bytes).unwrap();
        let why = is_ended(&mut bad);
        assert!(why.as_ref().is_some_and(|why| !why.is_empty()), "{name}: {why:?}");
        assert!(name != "nested" || why.is_some_and(|why| why.contains("nested")));
    }
    // Before hello nothing is heard.
    let mut bad = bench.connect_raw();
    bad.send(&[Request::List { req: 1 }], &[]);
    assert!(is_ended(&mut bad).unwrap().contains("hello"));
    let mut bad = bench.connect_raw();
    bad.send(&[Request::Hello { version: VERSION + 1 }], &[]);
    assert!(is_ended(&mut bad).is_some());

    assert_eq!(good.list().len(), 1);
    assert!(good.counter("faults") >= 21);
}

#[test]
fn memfds_that_are_not_sealed_or_too_many_descriptors_end_the_connection() {
    needs_root!();
    let bench = bench();
    let mut good = bench.connect();
    let sealed = encode(&[Request::Sealed {}]);
    let list = encode(&[Request::List { req: 1 }]);
    let open = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    packet::write_all(open.as_fd(), &list).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    for fd in [open.as_fd(), null.as_fd()] {
        let mut bad = bench.connect();
        packet::send(bad.client.fd(), &[IoSlice::new(&sealed)], &[fd]).unwrap();
        assert!(is_ended(&mut bad).unwrap().contains("sealed"));
    }
    let good_one = packet::sealed("x", &list).unwrap();
    let mut fine = bench.connect();
    packet::send(fine.client.fd(), &[IoSlice::new(&sealed)], &[good_one.as_fd()]).unwrap();
    assert_eq!(fine.next(), Reply::Done { req: 1 });

    let mut bad = bench.connect();
    let many = vec![null.as_fd(); MAX_FDS + 1];
    packet::send(bad.client.fd(), &[IoSlice::new(&list)], &many).unwrap();
    assert!(is_ended(&mut bad).unwrap().contains("too long"));
    // Descriptors that no message asked for are closed, and no fault.
    bench.until("the first launchers", || good.counter("launchers_idle") == 2);
    let before = descriptors(&bench);
    let mut odd = bench.connect();
    packet::send(odd.client.fd(), &[IoSlice::new(&list)], &vec![null.as_fd(); MAX_FDS]).unwrap();
    assert_eq!(odd.next(), Reply::Done { req: 1 });
    drop(odd);
    bench.until("the descriptors' closing", || descriptors(&bench) <= before);
    assert_eq!(good.list(), []);
}

fn descriptors(bench: &Bench) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", bench.pid)).unwrap().count()
}

#[test]
fn a_large_packet_travels_in_a_memfd() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut spec = bench.spec("a1", &["sh", "-c", "echo ${#LONG}"]);
    for number in 0..40 {
        let name = if number == 0 { "LONG".to_string() } else { format!("N{number}") };
        spec.process.env.push(serde_bytes::ByteBuf::from(format!("{name}={}", "x".repeat(10_000)).into_bytes()));
    }
    assert!(encode(&[common::launch(1, "a1", &spec, capture())]).len() > 6 * MAX_PACKET);
    engine.launch("a1", &spec, capture());
    assert_eq!(engine.ended("a1").stdout.as_slice(), b"10000\n");
}

#[test]
fn random_and_mutilated_packets_do_no_harm() {
    needs_root!();
    let bench = bench();
    let mut good = bench.connect();
    good.prepare(&bench);
    let valid = encode(&[
        common::launch(1, "x1", &bench.spec("x1", &["true"]), capture()),
        Request::List { req: 2 },
        Request::Ack { ids: vec![("nobody".into(), Some("e".into()))] },
        Request::Captured { req: 3, id: "nobody".into(), exec: None, stream: 9, offset: u64::MAX },
    ]);
    let mutilated = (prop::collection::vec((0..valid.len(), any::<u8>()), 0..6), 0..=valid.len()).prop_map(
        move |(changes, cut)| {
            let mut bytes = valid.clone();
            for (at, value) in changes {
                bytes[at] = value;
            }
            bytes.truncate(cut);
            bytes
        },
    );
    let packets = prop_oneof![prop::collection::vec(any::<u8>(), 1..300), mutilated];
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let number = std::cell::Cell::new(0);
    let good = std::cell::RefCell::new(good);
    runner
        .run(&packets, |bytes| {
            if bytes.is_empty() {
                return Ok(());
            }
            let bad = bench.connect();
            let _ = raw(&bad, &bytes);
            number.set(number.get() + 1);
            if number.get() % 50 == 0 {
                let mut good = good.borrow_mut();
                let id = format!("ok{}", number.get());
                good.launch(&id, &bench.spec(&id, &["true"]), capture());
                prop_assert_eq!(good.ended(&id).code, 0);
                good.ack(&id, None);
            }
            Ok(())
        })
        .unwrap();
    assert!(bench.lives());
    assert!(good.into_inner().counter("faults") > 100);
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Neither the walk nor the decoder panics, and what the walk passes is
    /// whole.
    #[test]
    fn the_walk_takes_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(messages) = wire::split(&bytes) {
            let inside: usize = messages.iter().map(|message| message.len()).sum();
            prop_assert!(inside < bytes.len());
            for message in messages {
                prop_assert_eq!(wire::value_len(message), Ok(message.len()));
                let _ = wire::decode(message);
            }
        }
        let _ = wire::glance(&bytes);
    }

    /// The walk agrees with the encoder about every value.
    #[test]
    fn the_walk_agrees_with_the_encoder(numbers in prop::collection::vec(any::<i64>(), 0..70), text in ".{0,300}", data in prop::collection::vec(any::<u8>(), 0..300), float: f64) {
        let value = (numbers, text, serde_bytes::ByteBuf::from(data), float, Option::<u8>::None, true);
        let bytes = rmp_serde::to_vec(&value).unwrap();
        prop_assert_eq!(wire::value_len(&bytes), Ok(bytes.len()));
        for cut in 0..bytes.len() {
            prop_assert!(wire::value_len(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn an_engine_that_does_not_read_makes_nothing_grow() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let mut deaf = bench.connect();
    let list = encode(&[Request::Info { req: 1 }]);
    let mut sent = 0;
    // Until neither the socket nor the keeper takes more.
    for _ in 0..200_000 {
        match raw(&deaf, &list) {
            Ok(()) => sent += 1,
            Err(rustix::io::Errno::AGAIN) => {
                std::thread::sleep(Duration::from_millis(100));
                if raw(&deaf, &list).is_err() {
                    break;
                }
                sent += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < 200_000, "the keeper takes without end");
    engine.launch("a1", &bench.spec("a1", &["true"]), capture());
    assert_eq!(engine.ended("a1").code, 0);
    let mut answers = 0;
    while answers < sent {
        assert!(deaf.wait(PollFlags::IN, Duration::from_secs(10)), "{answers} of {sent}");
        deaf.take();
        answers += deaf.replies.drain(..).count();
    }
    assert_eq!(answers, sent);
}

#[test]
fn a_long_list_comes_whole() {
    needs_root!();
    let bench = bench();
    let mut engine = bench.connect();
    engine.prepare(&bench);
    let count = 30;
    for number in 0..count {
        let id = format!("c{number}");
        let mut launch = common::launch(number, &id, &bench.spec(&id, &["sh", "-c", "seq 1 10000"]), capture());
        if let Request::Launch { blob, hold_ms, .. } = &mut launch {
            *blob = serde_bytes::ByteBuf::from(vec![number as u8; 16 * 1024]);
            *hold_ms = 1000;
        }
        engine.send(&[launch], &[]);
    }
    let mut ended = 0;
    while ended < count {
        ended += u64::from(matches!(engine.next(), Reply::Ended { .. }));
    }
    let entries = engine.list();
    assert_eq!(entries.len(), count as usize);
    for entry in entries {
        let Reply::Entry { id, blob, exit: Some(exit), .. } = entry else { panic!("{entry:?}") };
        assert_eq!(id, format!("c{}", blob[0]));
        assert_eq!(blob.len(), 16 * 1024);
        assert_eq!(exit.stdout.len(), 12 * 1024);
    }
}

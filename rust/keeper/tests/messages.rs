//! The bytes of messages and records: an engine of another version relies on
//! them. What fails here needs a new version, not new bytes.
#![allow(missing_docs)]

use ardock_keeper::journal::{self, Record};
use ardock_keeper::message::{Exit, Fds, Log, Output, Reply, Request, Started, VERSION};
use ardock_keeper::wire::{self, Incoming};
use ardock_launch::{LaunchError, Step, Timings};
use serde_bytes::ByteBuf;

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn exit() -> Exit {
    Exit {
        code: 3,
        signal: None,
        oom: false,
        finished_at: 5,
        stdout_total: 2,
        stderr_total: 0,
        stdout: ByteBuf::from(b"hi".to_vec()),
        stderr: ByteBuf::new(),
        seq: 1,
        duration_ns: 6,
    }
}

#[test]
fn version_1_has_these_bytes() {
    assert_eq!(VERSION, 1);
    let requests: [(Request, &[u8]); 8] = [
        (Request::Hello { version: 1 }, b"\x82\xa1t\xa5hello\xa7version\x01"),
        (Request::Sealed {}, b"\x81\xa1t\xa6sealed"),
        (
            Request::Program { hash: "ab".into(), code: ByteBuf::from(vec![1, 2]) },
            b"\x83\xa1t\xa7program\xa4hash\xa2ab\xa4code\xc4\x02\x01\x02",
        ),
        (Request::Root { key: 7, fds: Fds(0, 1) }, b"\x83\xa1t\xa4root\xa3key\x07\xa3fds\x92\x00\x01"),
        (
            Request::Signal { req: 300, id: "a".into(), exec: None, signal: 9 },
            b"\x85\xa1t\xa6signal\xa3req\xcd\x01\x2c\xa2id\xa1a\xa4exec\xc0\xa6signal\x09",
        ),
        (
            Request::CloseStdin { req: 1, id: "a".into(), exec: Some("e".into()) },
            b"\x84\xa1t\xabclose_stdin\xa3req\x01\xa2id\xa1a\xa4exec\xa1e",
        ),
        (
            Request::Ack { ids: vec![("a".into(), None), ("b".into(), Some("e".into()))] },
            b"\x82\xa1t\xa3ack\xa3ids\x92\x92\xa1a\xc0\x92\xa1b\xa1e",
        ),
        (Request::List { req: 1 }, b"\x82\xa1t\xa4list\xa3req\x01"),
    ];
    for (request, expected) in requests {
        assert_eq!(bytes(&request), expected, "{request:?}");
        assert_eq!(wire::decode(expected), Ok(Incoming::Other(request)));
    }
    let replies: [(Reply, &[u8]); 3] = [
        (
            Reply::Welcome { version: 1, pid: 2, window: 3, capacity: 4, containers: 5, next_root: 6 },
            b"\x87\xa1t\xa7welcome\xa7version\x01\xa3pid\x02\xa6window\x03\xa8capacity\x04\xaacontainers\x05\
              \xa9next_root\x06",
        ),
        (Reply::Done { req: 1 }, b"\x82\xa1t\xa4done\xa3req\x01"),
        (
            Reply::Ended { req: 1, id: "a".into(), exec: None, started: None, exit: exit(), fds: Fds(0, 0) },
            b"\x87\xa1t\xa5ended\xa3req\x01\xa2id\xa1a\xa4exec\xc0\xa7started\xc0\xa4exit\x8a\xa4code\x03\xa6signal\xc0\
              \xa3oom\xc2\xabfinished_at\x05\xacstdout_total\x02\xacstderr_total\x00\xa6stdout\xc4\x02hi\
              \xa6stderr\xc4\x00\xa3seq\x01\xabduration_ns\x06\xa3fds\x92\x00\x00",
        ),
    ];
    for (reply, expected) in replies {
        assert_eq!(bytes(&reply), expected, "{reply:?}");
        assert_eq!(rmp_serde::from_slice::<Reply>(expected).unwrap(), reply);
    }
}

#[test]
fn a_started_message_and_its_timings_keep_their_names() {
    let started = Started { pid: 9, start_ticks: 8, started_at: 7, timings: Timings::default(), started_boot: 6 };
    let reply = Reply::Started { req: 1, id: "a".into(), exec: None, started, fds: Fds(0, 3) };
    let timings = "queue prepare cgroup stdio clone join root mounts process exec total";
    let mut expected = b"\x86\xa1t\xa7started\xa3req\x01\xa2id\xa1a\xa4exec\xc0\xa7started\x85\xa3pid\x09\xabstart_ticks\x08\xaastarted_at\x07\xa7timings".to_vec();
    // rmp-serde writes structs as maps when it is told to.
    expected.push(0x8b);
    for name in timings.split(' ') {
        expected.push(0xa0 | name.len() as u8);
        expected.extend_from_slice(name.as_bytes());
        expected.push(0);
    }
    expected.extend_from_slice(b"\xacstarted_boot\x06\xa3fds\x92\x00\x03");
    assert_eq!(bytes(&reply), expected);
}

#[test]
fn what_came_before_the_newer_fields_is_still_understood() {
    let welcome = b"\x86\xa1t\xa7welcome\xa7version\x01\xa3pid\x02\xa6window\x03\xa8capacity\x04\xaacontainers\x05";
    let expected = Reply::Welcome { version: 1, pid: 2, window: 3, capacity: 4, containers: 5, next_root: 0 };
    assert_eq!(rmp_serde::from_slice::<Reply>(welcome).unwrap(), expected);
    let ended =
        b"\x87\xa1t\xa5ended\xa3req\x01\xa2id\xa1a\xa4exec\xc0\xa7started\xc0\xa4exit\x89\xa4code\x03\xa6signal\xc0\
        \xa3oom\xc2\xabfinished_at\x05\xacstdout_total\x02\xacstderr_total\x00\xa6stdout\xc4\x02hi\
        \xa6stderr\xc4\x00\xa3seq\x01\xa3fds\x92\x00\x00";
    let exit = Exit { duration_ns: 0, ..exit() };
    let expected = Reply::Ended { req: 1, id: "a".into(), exec: None, started: None, exit, fds: Fds(0, 0) };
    assert_eq!(rmp_serde::from_slice::<Reply>(ended).unwrap(), expected);
}

#[test]
fn an_error_keeps_its_names() {
    let error =
        LaunchError { step: Step::CgroupNamespace, subject: "s".into(), errno: 2, hint: String::new(), exit_code: 125 };
    assert_eq!(
        bytes(&error),
        b"\x85\xa4step\xb0cgroup_namespace\xa7subject\xa1s\xa5errno\x02\xa4hint\xa0\xa9exit_code\x7d"
    );
}

#[test]
fn a_launch_is_taken_apart_without_decoding_its_spec() {
    let message = b"\x88\xa1t\xa6launch\xa3req\x05\xa2id\xa2a1\xa4spec\x81\xa8whatever\x93\x01\x02\x03\
        \xa6output\x83\xa7capture\x0a\xa3log\x83\xa4path\xa1p\xa8max_size\xcd\x03\xe8\xa9max_files\x02\xa6direct\xc2\
        \xa4blob\xc4\x01b\xa3fds\x92\x01\x02\xa7hold_ms\x04";
    let Ok(Incoming::Launch(raw)) = wire::decode(message) else { panic!("{:?}", wire::decode(message)) };
    assert_eq!((raw.req, raw.id, raw.exec, raw.blob, raw.fds, raw.hold_ms), (5, "a1", None, &b"b"[..], Fds(1, 2), 4));
    assert_eq!(raw.spec, b"\x81\xa8whatever\x93\x01\x02\x03");
    let log = Log { path: "p".into(), max_size: 1000, max_files: 2 };
    assert_eq!(raw.output, Output { capture: Some(10), log: Some(log), direct: false, attach: false });
    // The other way round is the derived encoder's.
    assert!(wire::decode(b"\x82\xa1t\xa6launch\xa3req\x05").is_err());
    assert!(wire::decode(b"\x84\xa1t\xa6launch\xa2id\xa1a\xa4spec\x80\xa4exec\xa1e").is_err());
}

#[test]
fn a_journal_of_version_1_has_these_bytes() {
    let mut got = journal::MAGIC.to_vec();
    journal::encode(&Record::Acked { ids: vec![("a".into(), None)] }, &mut got);
    assert_eq!(
        got,
        b"ARDJRNL\x01\x12\0\0\0\xdd\x82\x5f\x54\x82\xa1r\xa5acked\xa3ids\x91\x92\xa1a\xc0",
        "{:02x?}",
        &got[8..16]
    );
    let mut exited = Vec::new();
    journal::encode(&Record::Exited { id: "a".into(), exec: None, exit: exit() }, &mut exited);
    assert!(exited[8..].starts_with(b"\x84\xa1r\xa6exited\xa2id\xa1a\xa4exec\xc0\xa4exit\x8a\xa4code\x03"));
}

//! The reader against an encoder of other people's, against pieces of every
//! size, and against bytes that are no messages.

use ardock_frames::{FrameError, FrameReader};
use proptest::prelude::*;

const MAX: usize = 1 << 16;
const DEPTH: usize = 16;

#[derive(Debug, Clone)]
enum Value {
    Nil,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    Extension(i8, Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

fn write(out: &mut Vec<u8>, value: &Value) {
    use rmp::encode as e;
    match value {
        Value::Nil => e::write_nil(out).unwrap(),
        Value::Bool(it) => e::write_bool(out, *it).unwrap(),
        Value::Signed(it) => drop(e::write_sint(out, *it).unwrap()),
        Value::Unsigned(it) => drop(e::write_uint(out, *it).unwrap()),
        Value::F32(it) => e::write_f32(out, *it).unwrap(),
        Value::F64(it) => e::write_f64(out, *it).unwrap(),
        Value::Text(it) => e::write_str(out, it).unwrap(),
        Value::Bytes(it) => e::write_bin(out, it).unwrap(),
        Value::Extension(kind, it) => {
            e::write_ext_meta(out, it.len() as u32, *kind).unwrap();
            out.extend_from_slice(it);
        }
        Value::Array(items) => {
            e::write_array_len(out, items.len() as u32).unwrap();
            for item in items {
                write(out, item);
            }
        }
        Value::Map(items) => {
            e::write_map_len(out, items.len() as u32).unwrap();
            for (key, item) in items {
                write(out, key);
                write(out, item);
            }
        }
    }
}

/// Lengths around the places where the encoding changes its form.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0..40usize, 1 => Just(255), 1 => Just(256), 1 => Just(65_535), 1 => Just(65_536)];
    length.prop_flat_map(|length| any::<u8>().prop_map(move |byte| vec![byte; length]))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Signed),
        (-200i64..200).prop_map(Value::Signed),
        any::<u64>().prop_map(Value::Unsigned),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        "\\PC{0,40}".prop_map(Value::Text),
        bytes().prop_map(|it| Value::Text("x".repeat(it.len()))),
        bytes().prop_map(Value::Bytes),
        // write_sint gives negative types only to timestamps.
        (0..=127i8, bytes()).prop_map(|(kind, it)| Value::Extension(kind, it)),
        prop_oneof![0..20usize, Just(65_535), Just(65_536)].prop_map(|count| Value::Array(vec![Value::Nil; count])),
    ];
    leaf.prop_recursive(5, 40, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            proptest::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
        ]
    })
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(value(), 3..=4).prop_map(|items| {
        let mut out = Vec::new();
        write(&mut out, &Value::Array(items));
        out
    })
}

/// Feeds `stream` in pieces that end at `cuts`.
fn read(stream: &[u8], cuts: &[usize], max: usize, depth: usize) -> (Vec<Vec<u8>>, Result<usize, FrameError>) {
    let mut reader = FrameReader::new(max, depth);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.push(stream.len());
    cuts.sort_unstable();
    let (mut out, mut from) = (Vec::new(), 0);
    for cut in cuts {
        if let Err(error) = reader.feed(&stream[from..cut], |frame| out.push(frame.to_vec())) {
            assert_eq!(reader.feed(b"\x93\x00\x00\x00", |_| panic!("a message after an error")), Err(error));
            assert_eq!(reader.pending(), 0);
            return (out, Err(error));
        }
        from = cut;
    }
    (out, Ok(reader.pending()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_out_as_it_went_in_however_it_was_cut(
        messages in proptest::collection::vec(message(), 1..5),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
        torn in any::<usize>(),
    ) {
        let mut stream = messages.concat();
        let last = messages.last().unwrap().len();
        let torn = torn % last;
        stream.truncate(stream.len() - last + torn);
        let (out, end) = read(&stream, &cuts, usize::MAX >> 1, 64);
        prop_assert_eq!(&out[..], &messages[..messages.len() - 1]);
        prop_assert_eq!(end, Ok(torn));
    }

    #[test]
    fn random_bytes_mean_the_same_however_they_were_cut(
        mut stream in proptest::collection::vec(any::<u8>(), 0..300),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        if let Some(first) = stream.first_mut() {
            *first = 0x93;
        }
        let whole = read(&stream, &[], MAX, DEPTH);
        prop_assert_eq!(&read(&stream, &cuts, MAX, DEPTH), &whole);
        let every: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&read(&stream, &every, MAX, DEPTH), &whole);
        let used: usize = whole.0.iter().map(Vec::len).sum();
        prop_assert_eq!(&whole.0.concat()[..], &stream[..used]);
    }

    #[test]
    fn the_bound_is_exact(message in message(), less in 1..1000usize) {
        prop_assert_eq!(read(&message, &[], message.len(), 64).0.len(), 1);
        let max = message.len().saturating_sub(less);
        prop_assert_eq!(read(&message, &[], max, 64), (vec![], Err(FrameError::TooLong { max })));
    }
}

#[test]
fn a_message_is_an_array_of_three_or_four() {
    let mut reader = FrameReader::new(MAX, DEPTH);
    let error = reader.feed(b"GET / HTTP/1.1\r\n", |_| panic!("a message")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message begins with the byte 0x47 ('G'), not with a MessagePack array of 3 or 4 values; HTTP is not spoken on this socket"
    );
    for byte in (0..=255u8).filter(|byte| !matches!(byte, 0x93 | 0x94)) {
        let error = FrameReader::new(MAX, DEPTH).feed(&[byte], |_| panic!("a message")).unwrap_err();
        assert_eq!(error, FrameError::Start(byte));
    }
}

#[test]
fn a_length_that_cannot_fit_is_refused_at_its_last_byte() {
    for claim in [
        &b"\x93\xc6\xff\xff\xff\xff"[..], // bytes
        b"\x93\xdb\x00\x01\x00\x00",      // text, as long as the bound without the array around it
        b"\x93\xdd\x00\x01\x00\x00",      // array
        b"\x93\xdf\x00\x00\x80\x00",      // map, two values an entry
        b"\x93\xc9\xff\xff\xff\xff",      // extension
    ] {
        let mut reader = FrameReader::new(MAX, DEPTH);
        let (last, before) = claim.split_last().unwrap();
        assert_eq!(reader.feed(before, |_| panic!("a message")), Ok(()));
        assert_eq!(reader.feed(&[*last], |_| panic!("a message")), Err(FrameError::TooLong { max: MAX }));
    }
}

#[test]
fn depth_is_bounded_at_its_first_byte() {
    let mut deep = vec![0x93];
    deep.resize(DEPTH, 0x91);
    let mut reader = FrameReader::new(MAX, DEPTH);
    assert_eq!(reader.feed(&deep, |_| panic!("a message")), Ok(()));
    assert_eq!(reader.feed(&[0x91], |_| panic!("a message")), Err(FrameError::TooDeep { max: DEPTH }));
    // Empty ones are not gone into.
    deep.extend([0x90, 0xc0, 0xc0]);
    assert_eq!(read(&deep, &[], MAX, DEPTH), (vec![deep.clone()], Ok(0)));
}

#[test]
fn the_unused_byte_is_refused_with_its_place() {
    let error = FrameReader::new(MAX, DEPTH).feed(b"\x93\x00\xa1a\xc1", |_| panic!("a message")).unwrap_err();
    assert_eq!(error.to_string(), "byte 4 of a message is 0xc1, which is no MessagePack");
}

#[test]
fn messages_before_an_error_are_given() {
    let mut count = 0;
    let result = FrameReader::new(MAX, DEPTH).feed(b"\x93\x02\xa1a\x90\x93\x02\xa1a\x90?", |_| count += 1);
    assert_eq!((count, result), (2, Err(FrameError::Start(b'?'))));
}

//! What is in a log's files, whatever befell the disk or the keeper.

use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::file::{LogFile, BATCH};
use super::*;

fn folder(name: &str) -> (std::path::PathBuf, OwnedFd) {
    let path = std::env::temp_dir().join(format!("ardock-log-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).unwrap();
    let fd = fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (path, fd)
}

#[test]
fn rotation_keeps_exactly_the_newest_bytes_within_the_bounds() {
    let (path, store) = folder("rotation");
    let mut log = LogFile::open(&store, "out", 300, 3).unwrap();
    let text: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
    let mut at = 0;
    for (turn, size) in [1, 7, 1000, 283, 284, 285, 3, 900, 2000].into_iter().enumerate() {
        let end = (at + size).min(text.len());
        log.append(turn as i64, 1 + (turn % 2) as u8, &text[at..end]);
        at = end;
    }
    log.flush();
    let mut kept = Vec::new();
    let mut first = None;
    for name in ["out.2", "out.1", "out"] {
        let bytes = std::fs::read(path.join(name)).unwrap();
        assert!(bytes.len() <= 300, "{name} has {} bytes", bytes.len());
        let (offset, records) = parse(&bytes).unwrap();
        let start = *first.get_or_insert(offset);
        assert_eq!(offset, start + kept.len() as u64, "{name} follows its elder");
        for record in records {
            kept.extend_from_slice(record.data);
        }
    }
    assert!(!path.join("out.3").exists());
    let first = first.unwrap() as usize;
    assert!(first > 0 && kept.len() > 400, "{first} {}", kept.len());
    assert_eq!(kept, text[first..at]);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_log_stays_beneath_the_store() {
    let (path, store) = folder("beneath");
    std::os::unix::fs::symlink("/tmp", path.join("link")).unwrap();
    for bad in ["../out", "/tmp/out", "link/out", "a/..", "", "missing/out"] {
        assert!(LogFile::open(&store, bad, 1000, 1).is_err(), "{bad} was opened");
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_a_full_disk_does_not_take_is_told() {
    let (path, store) = folder("full");
    let mut log = LogFile::open(&store, "out", 10_000, 1).unwrap();
    log.append(1, 1, b"before");
    log.flush();
    let good = std::mem::replace(&mut log.file, fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap());
    log.append(2, 1, b"lost one");
    log.append(2, 2, b"lost two");
    log.flush();
    log.file = good;
    log.append(3, 1, b"after");
    log.flush();
    let bytes = std::fs::read(path.join("out")).unwrap();
    let (_, records) = parse(&bytes).unwrap();
    let seen: Vec<_> = records.iter().map(|r| (r.time, r.stream, r.data.to_vec())).collect();
    assert_eq!(seen, [(1, 1, b"before".to_vec()), (3, 0, 16_u64.to_le_bytes().to_vec()), (3, 1, b"after".to_vec())]);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_is_lost_at_a_rotation_is_told_once() {
    let (path, store) = folder("once");
    let mut log = LogFile::open(&store, "out", 300, 2).unwrap();
    log.append(1, 1, &[b'a'; 200]);
    log.flush();
    // The disk takes nothing of the last piece, and then a fresh file.
    let full = fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap();
    log.file = full;
    log.append(2, 1, b"lost");
    log.append(3, 1, &[b'b'; 100]);
    log.flush();
    let bytes = std::fs::read(path.join("out")).unwrap();
    let (offset, records) = parse(&bytes).unwrap();
    assert_eq!(offset, 204);
    assert!(records.iter().all(|record| record.stream == 1), "the header has told it");
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn without_a_fresh_file_output_is_lost_and_the_files_stay() {
    let (path, store) = folder("no-fresh");
    write(&store, 300, &[&[b'a'; 250], &[b'b'; 250]]);
    let before = [read(&path, "out.1"), read(&path, "out")];
    let mut log = LogFile::open(&store, "out", 300, 3).unwrap();
    // A folder of that name is not to be had out of the way.
    std::fs::create_dir(path.join("out.new")).unwrap();
    for _ in 0..5 {
        log.append(1, 1, &[b'c'; 200]);
        log.flush();
    }
    assert_eq!([read(&path, "out.1"), read(&path, "out")], before);
    std::fs::remove_dir(path.join("out.new")).unwrap();
    log.append(1, 1, b"on");
    log.flush();
    assert_eq!(read(&path, "out"), (1500, b"on".to_vec()));
    assert_eq!([read(&path, "out.2"), read(&path, "out.1")], before);
    std::fs::remove_dir_all(path).unwrap();
}

/// A tmpfs of one page that is mounted nowhere.
fn one_page() -> Result<OwnedFd, Errno> {
    use rustix::mount as m;
    let fs = m::fsopen("tmpfs", m::FsOpenFlags::FSOPEN_CLOEXEC)?;
    m::fsconfig_set_string(&fs, "size", "4096")?;
    m::fsconfig_create(&fs)?;
    m::fsmount(&fs, m::FsMountFlags::FSMOUNT_CLOEXEC, m::MountAttrFlags::empty())
}

#[test]
fn of_a_write_that_breaks_off_the_whole_records_stay() {
    let Ok(store) = one_page() else {
        eprintln!("SKIPPED: no file system of one's own may be made here");
        return;
    };
    let mut log = LogFile::open(&store, "out", 10_000, 1).unwrap();
    for number in 0..6 {
        log.append(number, 1, &[b'x'; 900]);
    }
    log.flush();
    let file = fs::openat(&store, "out", OFlags::RDONLY, Mode::empty()).unwrap();
    let content = || {
        let mut bytes = vec![0; 8192];
        let count = rustix::io::pread(&file, &mut bytes[..], 0).unwrap();
        bytes.truncate(count);
        bytes
    };
    let bytes = content();
    // A page has room for four, and for a part of the fifth.
    assert_eq!(bytes.len(), FILE_HEADER + 4 * (RECORD_HEADER + 900));
    assert_eq!(parse(&bytes).unwrap().1.len(), 4);
    assert_eq!((log.size, log.lost), (bytes.len() as u64, 1800));
    // That it was lost is told as soon as there is room for it.
    log.append(7, 1, b"on");
    log.flush();
    let bytes = content();
    let (_, records) = parse(&bytes).unwrap();
    assert_eq!(records[4].data, 1800_u64.to_le_bytes());
    assert_eq!((records[5].data, records.len()), (&b"on"[..], 6));
}

/// Opens it and appends each of these.
fn write(store: &OwnedFd, max_size: u64, texts: &[&[u8]]) {
    let mut log = LogFile::open(store, "out", max_size, 3).unwrap();
    for text in texts {
        log.append(7, 1, text);
    }
    log.finish(8);
}

fn read(path: &std::path::Path, name: &str) -> (u64, Vec<u8>) {
    let bytes = std::fs::read(path.join(name)).unwrap();
    let (offset, records) = parse(&bytes).unwrap();
    (offset, records.iter().flat_map(|record| record.data.to_vec()).collect())
}

#[test]
fn a_log_is_continued_where_it_ended() {
    let (path, store) = folder("continued");
    write(&store, 300, &[b"one ", b"two "]);
    write(&store, 300, &[b"three "]);
    assert_eq!(read(&path, "out"), (0, b"one two three ".to_vec()));
    assert!(!path.join("out.1").exists());
    // No room is left: the next file goes on with the right offset.
    write(&store, 300, &[&[b'x'; 250]]);
    write(&store, 300, &[b"last"]);
    let whole: Vec<u8> = [read(&path, "out.1").1, read(&path, "out").1].concat();
    assert_eq!(read(&path, "out").0, read(&path, "out.1").1.len() as u64);
    assert_eq!(whole, [&b"one two three "[..], &[b'x'; 250], b"last"].concat());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_before_the_log_goes_on() {
    let (path, store) = folder("torn");
    write(&store, 10_000, &[b"first", b"second", b"third"]);
    let bytes = std::fs::read(path.join("out")).unwrap();
    let (_, whole) = parse(&bytes).unwrap();
    let mut ends = vec![FILE_HEADER];
    for record in &whole {
        ends.push(ends[ends.len() - 1] + RECORD_HEADER + record.data.len());
    }
    for cut in 0..=bytes.len() {
        // And with zeroes after it, as a power failure leaves them.
        for zeroes in [0, 1, 40] {
            let _ = std::fs::remove_file(path.join("out.1"));
            std::fs::write(path.join("out"), [&bytes[..cut], &vec![0; zeroes]].concat()).unwrap();
            write(&store, 10_000, &[b"next"]);
            let kept = ends.iter().rposition(|end| *end <= cut).unwrap_or(0);
            let mut expected: Vec<u8> = whole[..kept].iter().flat_map(|record| record.data.to_vec()).collect();
            expected.extend_from_slice(b"next");
            // Zeroes may be the rest of a record whose length is there.
            let filled = ends.get(kept + 1).is_some_and(|end| cut > ends[kept] + 12 && cut + zeroes >= *end);
            if !filled {
                assert_eq!(read(&path, "out"), (0, expected), "cut at {cut}, {zeroes} zeroes");
            }
        }
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn offsets_go_on_where_a_rotation_or_a_header_was_broken_off() {
    let (path, store) = folder("broken");
    write(&store, 10_000, &[b"12345"]);
    std::fs::rename(path.join("out"), path.join("out.1")).unwrap();
    write(&store, 10_000, &[b"next"]);
    assert_eq!(read(&path, "out"), (5, b"next".to_vec()));
    std::fs::write(path.join("out"), b"ARDLOG").unwrap();
    write(&store, 10_000, &[b"more"]);
    assert_eq!(read(&path, "out"), (5, b"more".to_vec()));
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_was_lost_counts_for_the_offset_of_a_continued_log() {
    let (path, store) = folder("loss");
    let mut log = LogFile::open(&store, "out", 10_000, 3).unwrap();
    log.append(1, 1, b"before");
    log.flush();
    let good = std::mem::replace(&mut log.file, fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap());
    log.append(2, 1, &[b'x'; 1000]);
    log.flush();
    log.file = good;
    // The last words tell it.
    log.finish(3);
    let mut log = LogFile::open(&store, "out", 10_000, 3).unwrap();
    assert_eq!(log.offset, 1006);
    log.append(4, 1, &vec![b'y'; 200_000]);
    log.flush();
    let (offset, rest) = read(&path, "out");
    assert_eq!(offset + rest.len() as u64, 201_006);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_long_log_is_read_to_its_end() {
    let (path, store) = folder("long");
    // Records whose headers lie across the pieces that are read.
    let texts: Vec<Vec<u8>> = (0..40_000_usize).map(|number| vec![b'a'; 1 + number % 37]).collect();
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    write(&store, 100 << 20, &texts);
    write(&store, 100 << 20, &[&vec![b'b'; 3 * BATCH]]);
    let log = LogFile::open(&store, "out", 100 << 20, 3).unwrap();
    let bytes = std::fs::read(path.join("out")).unwrap();
    assert_eq!(log.size, bytes.len() as u64);
    assert_eq!(log.offset, (texts.iter().map(|text| text.len()).sum::<usize>() + 3 * BATCH) as u64);
    std::fs::remove_dir_all(path).unwrap();
}

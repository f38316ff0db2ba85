//! Headers of entries, as bytes: ustar, with PAX records where ustar has no
//! room. The same entry always gives the same bytes, and nothing of the machine
//! is in them: no user names, no times but that of the content's last change.

use crate::attributes::Time;
use crate::tar::header::BLOCK;
use crate::tar::parser::{Entry, Kind};

/// Most of what a field of 11 octal digits holds.
const MOST_SIZE: u64 = 0o777_7777_7777;
/// Idem of 7 digits.
const MOST_ID: u32 = 0o777_7777;

/// The header of an entry, with its extended header before it. Its content,
/// where it has some, comes behind, filled up with zeros to a whole block.
pub(crate) fn header(entry: &Entry) -> Vec<u8> {
    let size = match entry.kind {
        Kind::File(size) => size,
        _ => 0,
    };
    let (link, flag): (&[u8], u8) = match &entry.kind {
        Kind::File(_) => (b"", b'0'),
        Kind::HardLink(target) => (target, b'1'),
        Kind::Symlink(target) => (target, b'2'),
        Kind::CharacterDevice(..) => (b"", b'3'),
        Kind::BlockDevice(..) => (b"", b'4'),
        Kind::Directory => (b"", b'5'),
        Kind::Fifo => (b"", b'6'),
    };
    let attributes = &entry.attributes;
    let mut name = entry.name.clone();
    if name.is_empty() {
        name = b"./".to_vec();
    } else if flag == b'5' {
        name.push(b'/');
    }
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut record = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
    for (key, value) in &attributes.xattrs {
        record(&[b"SCHILY.xattr.", &key[..]].concat(), value.clone());
    }
    if attributes.gid > MOST_ID {
        record(b"gid", attributes.gid.to_string().into_bytes());
    }
    if !fits(link) {
        record(b"linkpath", link.to_vec());
    }
    let mtime = attributes.mtime;
    if mtime.ns != 0 || !u64::try_from(mtime.s).is_ok_and(|s| s <= MOST_SIZE) {
        record(b"mtime", time(mtime).into_bytes());
    }
    if !fits(&name) {
        record(b"path", name.clone());
    }
    if size > MOST_SIZE {
        record(b"size", size.to_string().into_bytes());
    }
    if attributes.uid > MOST_ID {
        record(b"uid", attributes.uid.to_string().into_bytes());
    }
    let mut out = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax(key, value)).collect();
        let fields =
            Fields { name: b"PaxHeaders/entry", mode: 0o644, size: body.len() as u64, flag: b'x', ..Fields::default() };
        out.extend_from_slice(&fields.block());
        out.extend_from_slice(&body);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    let (major, minor) = match entry.kind {
        Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) => (major, minor),
        _ => (0, 0),
    };
    let fields = Fields {
        name: &name,
        link,
        flag,
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        size,
        mtime: u64::try_from(mtime.s).unwrap_or(0),
        major,
        minor,
    };
    out.extend_from_slice(&fields.block());
    out
}

/// Whether a name goes into a header as it is. What is no ASCII has no meaning
/// that all readers agree on there.
fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

#[derive(Debug, Default)]
struct Fields<'a> {
    name: &'a [u8],
    link: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: u64,
    major: u32,
    minor: u32,
}

impl Fields<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let text = |field: &mut [u8], text: &[u8]| {
            let length = text.len().min(field.len());
            field[..length].copy_from_slice(&text[..length]);
        };
        // What does not fit is in a record, and 0 here.
        let number = |field: &mut [u8], value: u64| {
            let digits = field.len() - 1;
            let value = if value >> (3 * digits) == 0 { value } else { 0 };
            field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
        };
        text(&mut block[..100], self.name);
        number(&mut block[100..108], self.mode.into());
        number(&mut block[108..116], self.uid.into());
        number(&mut block[116..124], self.gid.into());
        number(&mut block[124..136], self.size);
        number(&mut block[136..148], self.mtime);
        block[148..156].fill(b' ');
        block[156] = self.flag;
        text(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        number(&mut block[329..337], self.major.into());
        number(&mut block[337..345], self.minor.into());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + digits(length) != length {
        length = rest + digits(length);
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// `[-]S[.FRACTION]`, without zeros at the end.
fn time(time: Time) -> String {
    // -1.25 s is kept as -2 s and 750,000,000 ns.
    let (sign, s, ns) = match time {
        Time { s, ns } if s >= 0 => ("", s.unsigned_abs(), ns),
        Time { s, ns: 0 } => ("-", s.unsigned_abs(), 0),
        Time { s, ns } => ("-", s.unsigned_abs() - 1, 1_000_000_000 - ns),
    };
    if ns == 0 {
        return format!("{sign}{s}");
    }
    format!("{sign}{s}.{ns:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;
    use crate::tar::{Parser, Sink};
    use crate::Result;

    #[derive(Default)]
    struct Last(Option<Entry>);

    impl Sink for Last {
        fn entry(&mut self, entry: Entry) -> Result<()> {
            self.0 = Some(entry);
            Ok(())
        }
        fn data(&mut self, _data: &[u8]) -> Result<()> {
            Ok(())
        }
        fn hole(&mut self, _count: u64) -> Result<()> {
            Ok(())
        }
        fn end_of_file(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = vec![b'n'; 300];
        let entries = [
            (&b"a"[..], Kind::File(5)),
            (b"d/e", Kind::Directory),
            (&long, Kind::Symlink(long.clone())),
            ("ü".as_bytes(), Kind::HardLink(b"\xff".to_vec())),
            (b"big", Kind::File(1 << 40)),
            (b"c", Kind::CharacterDevice(4095, 1_048_575)),
            (b"b", Kind::BlockDevice(7, 0)),
            (b"p", Kind::Fifo),
        ];
        let times = [(0, 0), (1, 5), (-1, 0), (-2, 750_000_000), (-1, 1), (1 << 40, 0), (99, 120_000_000)];
        for (name, kind) in entries {
            for (s, ns) in times {
                for id in [0, MOST_ID, MOST_ID + 1, u32::MAX - 1] {
                    let xattrs = [(b"user.a=b".to_vec(), b"\0\n".to_vec())].into_iter().filter(|_| id > 0).collect();
                    let attributes = Attributes { mode: 0o7753, uid: id, gid: id, mtime: Time { s, ns }, xattrs };
                    let entry = Entry { name: name.to_vec(), kind: kind.clone(), attributes };
                    let mut last = Last::default();
                    Parser::default().feed(&header(&entry), &mut last).unwrap();
                    let mut read = last.0.unwrap();
                    if read.name.ends_with(b"/") {
                        read.name.pop();
                    }
                    if id > 0 {
                        // The attribute's name has the sign that ends names in it.
                        read.attributes.xattrs.clone_from(&entry.attributes.xattrs);
                    }
                    assert_eq!(read, entry);
                }
            }
        }
    }
}

//! PAX extended headers: records `LENGTH KEY=VALUE\n` that say what an entry's
//! header has no room for.

use crate::attributes::{is_hosts, Time, Xattrs};
use crate::tar::header::Fault;
use crate::tar::sparse::Map;

/// What the records say, as far as it is about something that a tree keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: Xattrs,
    pub sparse: Sparse,
    /// A record that changes what the content means, or who may read it, in a
    /// way that is not done here: what it is, and the remedy.
    pub unsupported: Option<&'static str>,
}

/// What is said of a sparse file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// The map's form, where the records say it: 1.0 alone has one.
    pub major: Option<u64>,
    pub minor: Option<u64>,
    /// Bytes of the whole file.
    pub size: Option<u64>,
    /// The file's name, where `path` is a made-up one.
    pub name: Option<Vec<u8>>,
    /// The map, in forms 0.0 and 0.1.
    pub map: Option<Map>,
    /// Form 0.0 has the two numbers of a piece in records of their own.
    offset: Option<u64>,
}

/// Adds the records of an extended header, as they come, to `records`.
pub(crate) fn parse(data: &[u8], records: &mut Records) -> Result<(), Fault> {
    let mut rest = data;
    while !rest.is_empty() {
        let fault = "an extended header's record is malformed";
        // Some writers pad with zeros to the block's end.
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or(fault)?;
        let length = decimal(&rest[..blank]).ok_or(fault)?;
        let length = usize::try_from(length).map_err(|_| fault)?;
        if length <= blank + 1 || length > rest.len() {
            return Err(fault);
        }
        let (record, next) = rest.split_at(length);
        let body = record[blank + 1..].strip_suffix(b"\n").ok_or(fault)?;
        let equals = body.iter().position(|byte| *byte == b'=').ok_or(fault)?;
        set(records, &body[..equals], &body[equals + 1..])?;
        rest = next;
    }
    Ok(())
}

fn set(records: &mut Records, key: &[u8], value: &[u8]) -> Result<(), Fault> {
    // An empty value takes back what came before (POSIX).
    let some = || (!value.is_empty()).then(|| value.to_vec());
    let count = |fault| if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or(fault) };
    match key {
        b"path" => records.path = some(),
        b"linkpath" => records.link = some(),
        b"size" => records.size = count("the extended header's size is malformed")?,
        b"uid" => records.uid = count("the extended header's owner is malformed")?,
        b"gid" => records.gid = count("the extended header's group is malformed")?,
        b"mtime" if value.is_empty() => records.mtime = None,
        b"mtime" => records.mtime = Some(time(value).ok_or("the extended header's time is malformed")?),
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                if name.is_empty() || name.contains(&0) {
                    return Err("an extended attribute has a malformed name");
                }
                if !is_hosts(name) {
                    records.xattrs.insert(name.to_vec(), value.to_vec());
                }
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let fault = "an extended attribute is malformed";
                let name = from_percent(name).filter(|it| !it.is_empty() && !it.contains(&0)).ok_or(fault)?;
                let value = from_base64(value).ok_or(fault)?;
                // libarchive says each of them twice, in this form and in the other.
                if !is_hosts(&name) {
                    records.xattrs.entry(name).or_insert(value);
                }
            } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                return sparse(&mut records.sparse, key, value);
            } else if key == b"SCHILY.realsize" {
                records.unsupported =
                    Some("is a sparse file in a form of star's own: make the archive with star -no-sparse");
            } else if key.starts_with(b"SCHILY.acl.") {
                records.unsupported =
                    Some("has an access control list as text, which is not taken: make the archive with --no-acls");
            }
            // Others say nothing that a tree keeps (user names, other times,
            // comments); POSIX: what is not known is passed over.
        }
    }
    Ok(())
}

fn sparse(sparse: &mut Sparse, key: &[u8], value: &[u8]) -> Result<(), Fault> {
    let fault = "a sparse file's map is malformed";
    let count = || decimal(value).ok_or(fault);
    match key {
        b"major" => sparse.major = Some(count()?),
        b"minor" => sparse.minor = Some(count()?),
        b"size" | b"realsize" => sparse.size = Some(count()?),
        b"name" => sparse.name = Some(value.to_vec()),
        b"numblocks" => sparse.map = Some(Map::default()),
        b"map" => {
            let mut map = Map::default();
            map.read_list(value)?;
            sparse.map = Some(map);
        }
        b"offset" => sparse.offset = Some(count()?),
        b"numbytes" => {
            let offset = sparse.offset.take().ok_or(fault)?;
            sparse.map.get_or_insert_default().push(offset, count()?)?;
        }
        _ => {}
    }
    Ok(())
}

/// `%41` is `A`.
fn from_percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, next)) = rest.split_first() {
        if *byte == b'%' {
            let digits = std::str::from_utf8(next.get(..2)?).ok().filter(|it| !it.starts_with('+'))?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &next[2..];
        } else {
            out.push(*byte);
            rest = next;
        }
    }
    Some(out)
}

/// RFC 4648, section 4; padding may be missing, as libarchive leaves it out.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1);
    let (mut bits, mut count) = (0u32, 0);
    let mut out = Vec::with_capacity(end / 4 * 3 + 2);
    for byte in &text[..end] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Digits alone.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[-]S[.FRACTION]`; what is finer than ns is cut off, towards the past.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let s = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut digits = fraction.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0));
    let ns = (0..9).fold(0, |ns, _| ns * 10 + digits.next().unwrap_or_default());
    let finer = fraction.iter().skip(9).any(|digit| *digit != b'0');
    if !negative {
        return Some(Time { s, ns });
    }
    let ns = ns + u32::from(finer);
    Some(if ns == 0 { Time { s: -s, ns: 0 } } else { Time { s: -s - 1, ns: 1_000_000_000 - ns } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases: [(&[u8], Option<Time>); 9] = [
            (b"1", Some(Time { s: 1, ns: 0 })),
            (b"1.5", Some(Time { s: 1, ns: 500_000_000 })),
            (b"1.0000000019", Some(Time { s: 1, ns: 1 })),
            (b"-1", Some(Time { s: -1, ns: 0 })),
            (b"-1.25", Some(Time { s: -2, ns: 750_000_000 })),
            (b"-0.0000000001", Some(Time { s: -1, ns: 999_999_999 })),
            (b"", None),
            (b"1.x", None),
            (b"99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time(text), expected, "{text:?}");
        }
    }

    #[test]
    fn attributes_in_libarchives_form() {
        let mut records = Records::default();
        parse(b"38 LIBARCHIVE.xattr.user.a%20b=aGk+/w\n", &mut records).unwrap();
        assert_eq!(records.xattrs[&b"user.a b"[..]], b"hi>\xff");
        assert_eq!(from_base64(b"aGk="), Some(b"hi".to_vec()));
        assert_eq!((from_base64(b"a*"), from_percent(b"%4"), from_percent(b"%zz")), (None, None, None));
    }

    #[test]
    fn records_may_hold_anything_and_are_taken_back_by_empty_ones() {
        let mut records = Records::default();
        parse(b"15 path=a=\nb \xff\n8 uid=7\n24 SCHILY.xattr.a.b=\0\n=\n\0\0\0", &mut records).unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a=\nb \xff"[..]));
        assert_eq!((records.uid, &records.xattrs[&b"a.b"[..]][..]), (Some(7), &b"\0\n="[..]));
        parse(b"8 path=\n7 uid=\n", &mut records).unwrap();
        assert_eq!((records.path, records.uid), (None, None));
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in [&b"x"[..], b"5 a=b", b"6 a=b\nx", b"99 a=b\n", b"4 a\n", b"2 ", b"-6 a=b\n", b"9 uid=-1\n"] {
            assert!(parse(data, &mut Records::default()).is_err(), "{data:?}");
        }
    }
}

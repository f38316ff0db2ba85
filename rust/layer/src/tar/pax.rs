//! PAX extended headers: records `LENGTH KEY=VALUE\n` that say what an entry's
//! header has no room for.

use crate::attributes::{is_hosts, Time, Xattrs};
use crate::tar::header::Fault;

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
    /// A record that changes what the content means, or who may read it, in a
    /// way that is not done here: what it is, and the remedy.
    pub unsupported: Option<&'static str>,
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
            } else if key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize" {
                records.unsupported =
                    Some("is a sparse file in a form that is not taken: make the archive without --sparse");
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

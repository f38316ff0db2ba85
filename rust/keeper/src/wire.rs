//! Packets and the MessagePack in them, without I/O.
//!
//! What comes from a socket is walked once before anything is decoded
//! ([`split`]): the walk keeps its own short stack, so a deeply nested packet
//! can not exhaust ours, and it checks each claimed length against the bytes
//! that are there, so a decoder never allocates for elements that do not
//! exist. `launch` and `exec` messages are then taken apart by hand, because
//! their spec is not decoded here but handed on as it came.

use serde::Deserialize;

use crate::message::{Fds, Output, Request, MAX_BLOB};

/// Deepest nesting of a packet. A launch message needs 8.
pub const MAX_DEPTH: usize = 16;
/// Most messages in one packet.
pub const MAX_MESSAGES: usize = 4096;
/// Longest id of a container or an exec.
pub const MAX_ID: usize = 64;

/// What is wrong with a packet. Each ends the connection it came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a value, or a length claims more than there is.
    #[error("the packet ends inside a value")]
    Truncated,
    /// More nested than [`MAX_DEPTH`].
    #[error("the packet is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Bytes after the value.
    #[error("there are bytes after the packet's array")]
    Trailing,
    /// Not what was expected at this place.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A bound was passed.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// The decoder's own words.
    #[error("{0}")]
    Decode(String),
}

impl From<rmp_serde::decode::Error> for WireError {
    fn from(error: rmp_serde::decode::Error) -> Self {
        Self::Decode(error.to_string())
    }
}

/// The first bytes of a value: how long this head is with its own payload,
/// and how many values follow that belong to it.
fn head(bytes: &[u8]) -> Result<(usize, usize), WireError> {
    let byte = |at: usize| bytes.get(at).copied().map(usize::from).ok_or(WireError::Truncated);
    let wide =
        |width: usize| -> Result<usize, WireError> { (1..=width).try_fold(0, |sum, at| Ok(sum << 8 | byte(at)?)) };
    let first = byte(0)?;
    Ok(match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, 0),
        0x80..=0x8f => (1, 2 * (first & 0x0f)),
        0x90..=0x9f => (1, first & 0x0f),
        0xa0..=0xbf => (1 + (first & 0x1f), 0),
        0xc4 | 0xd9 => (2 + wide(1)?, 0),
        0xc5 | 0xda => (3 + wide(2)?, 0),
        0xc6 | 0xdb => (5 + wide(4)?, 0),
        0xca | 0xce | 0xd2 => (5, 0),
        0xcb | 0xcf | 0xd3 => (9, 0),
        0xcc | 0xd0 => (2, 0),
        0xcd | 0xd1 => (3, 0),
        0xdc => (3, wide(2)?),
        0xdd => (5, wide(4)?),
        0xde => (3, 2 * wide(2)?),
        0xdf => (5, 2 * wide(4)?),
        // Extensions and the unused byte: no message has them.
        _ => return Err(WireError::Expected("a plain MessagePack value")),
    })
}

/// The length of the first value of `bytes`, all of it being there.
pub fn value_len(bytes: &[u8]) -> Result<usize, WireError> {
    let mut left = [0_usize; MAX_DEPTH];
    let mut depth = 0;
    let mut at = 0;
    left[0] = 1;
    loop {
        while left[depth] == 0 {
            if depth == 0 {
                return Ok(at);
            }
            depth -= 1;
        }
        left[depth] -= 1;
        let (length, children) = head(bytes.get(at..).ok_or(WireError::Truncated)?)?;
        at = at.checked_add(length).filter(|&end| end <= bytes.len()).ok_or(WireError::Truncated)?;
        if children > 0 {
            // Each value has at least one byte.
            if children > bytes.len() - at {
                return Err(WireError::Truncated);
            }
            depth += 1;
            *left.get_mut(depth).ok_or(WireError::TooDeep)? = children;
        }
    }
}

/// How many elements the array or pairs the map at the start has, and where
/// the first one begins.
fn open(bytes: &[u8], map: bool) -> Result<(usize, usize), WireError> {
    let (length, children) = head(bytes)?;
    let is_map = matches!(bytes[0], 0x80..=0x8f | 0xde | 0xdf);
    let is_array = matches!(bytes[0], 0x90..=0x9f | 0xdc | 0xdd);
    match (map, is_map, is_array) {
        (true, true, _) => Ok((children / 2, length)),
        (false, _, true) => Ok((children, length)),
        (true, ..) => Err(WireError::Expected("a map")),
        (false, ..) => Err(WireError::Expected("an array of messages")),
    }
}

/// The messages of a packet, each well-formed MessagePack of bounded depth.
pub fn split(packet: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    if value_len(packet)? != packet.len() {
        return Err(WireError::Trailing);
    }
    let (count, mut at) = open(packet, false)?;
    if count > MAX_MESSAGES {
        return Err(WireError::TooLong("the packet's array"));
    }
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let length = value_len(&packet[at..])?;
        messages.push(&packet[at..at + length]);
        at += length;
    }
    Ok(messages)
}

/// A `launch` or `exec` message whose spec is still as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLaunch<'a> {
    /// The call's number.
    pub req: u64,
    /// The container.
    pub id: &'a str,
    /// The exec's own id; none for a launch.
    pub exec: Option<&'a str>,
    /// MessagePack of a `LaunchSpec` (or `ExecSpec`), not checked.
    pub spec: &'a [u8],
    /// What to do with its output.
    pub output: Output,
    /// The engine's own record.
    pub blob: &'a [u8],
    /// Descriptors of the spec.
    pub fds: Fds,
    /// How long `started` may be held back, ms.
    pub hold_ms: u32,
    /// Tell of kills for want of memory.
    pub watch_oom: bool,
}

/// A message from an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// `launch` or `exec`.
    Launch(RawLaunch<'a>),
    /// Any other.
    Other(Request),
}

fn text(value: &[u8]) -> Result<&str, WireError> {
    rmp_serde::from_slice(value).map_err(|_| WireError::Expected("a text"))
}

fn id(value: &[u8]) -> Result<&str, WireError> {
    let id = text(value)?;
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9')) {
        return Err(WireError::Expected("an id of 1 to 64 characters of [a-z0-9]"));
    }
    Ok(id)
}

/// A byte string without copying it.
fn bytes(value: &[u8]) -> Result<&[u8], WireError> {
    let bytes: &serde_bytes::Bytes = rmp_serde::from_slice(value).map_err(|_| WireError::Expected("a byte string"))?;
    Ok(bytes)
}

/// Decodes one message of [`split`].
pub fn decode(message: &[u8]) -> Result<Incoming<'_>, WireError> {
    let (pairs, start) = open(message, true)?;
    let mut at = start;
    let mut next = || -> Result<&[u8], WireError> {
        let length = value_len(&message[at..])?;
        at += length;
        Ok(&message[at - length..at])
    };
    let mut raw = RawLaunch {
        req: 0,
        id: "",
        exec: None,
        spec: &[],
        output: Output::default(),
        blob: &[],
        fds: Fds::default(),
        hold_ms: 0,
        watch_oom: false,
    };
    let mut kind = None;
    for index in 0..pairs {
        let key = text(next()?)?;
        let value = next()?;
        match key {
            "t" => {
                let tag = text(value)?;
                // The tag stands first in what our own encoders write; a
                // message that is neither launch nor exec goes to serde.
                if !matches!(tag, "launch" | "exec") {
                    return Ok(Incoming::Other(rmp_serde::from_slice(message)?));
                }
                kind = Some(tag);
            }
            "req" => raw.req = rmp_serde::from_slice(value)?,
            "id" => raw.id = id(value)?,
            "exec" => raw.exec = Some(id(value)?),
            "spec" => raw.spec = value,
            "output" => raw.output = rmp_serde::from_slice(value)?,
            "blob" => raw.blob = bytes(value)?,
            "fds" => raw.fds = rmp_serde::from_slice(value)?,
            "hold_ms" => raw.hold_ms = rmp_serde::from_slice(value)?,
            "watch_oom" => raw.watch_oom = rmp_serde::from_slice(value)?,
            _ if index > 0 && kind.is_some() => return Err(WireError::Expected("only known fields")),
            // The tag comes later: let serde name what is wrong.
            _ => return Ok(Incoming::Other(rmp_serde::from_slice(message)?)),
        }
    }
    match (kind, raw.exec.is_some()) {
        (Some("launch"), false) | (Some("exec"), true) => {}
        (Some(_), _) => return Err(WireError::Expected("`exec` in an exec message alone")),
        (None, _) => return Err(WireError::Expected("a tag `t`")),
    }
    if raw.id.is_empty() || raw.spec.is_empty() {
        return Err(WireError::Expected("`id` and `spec`"));
    }
    if raw.blob.len() > MAX_BLOB {
        return Err(WireError::TooLong("the blob"));
    }
    Ok(Incoming::Launch(raw))
}

/// What the keeper itself must know of a spec; the rest is the launcher's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Glance {
    /// The container's own control group folder.
    pub cgroup: Option<GlanceCgroup>,
    /// The root, for its scratch directory.
    pub root: GlanceRoot,
    /// The process id namespace: a shared one outlives PID 1.
    pub namespaces: GlanceNamespaces,
    /// The deadline.
    pub deadline_ms: u32,
}

/// See [`Glance::cgroup`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GlanceCgroup {
    /// Path of the parent.
    pub parent: String,
    /// The folder in it.
    pub name: String,
}

/// See [`Glance::root`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GlanceRoot {
    /// Where writes go.
    pub scratch: GlanceScratch,
}

/// See [`Glance::root`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GlanceScratch {
    /// The directory, for `disk`.
    pub dir: Option<String>,
    /// It is not the keeper's to remove.
    pub keep: bool,
}

/// See [`Glance::namespaces`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GlanceNamespaces {
    /// `"new"` or something else.
    pub pid: GlanceNamespace,
}

/// A namespace choice, roughly.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum GlanceNamespace {
    /// `"new"` or `"host"`.
    Own(String),
    /// A descriptor's index.
    Join(u32),
}

impl Default for GlanceNamespace {
    fn default() -> Self {
        Self::Own("new".into())
    }
}

impl GlanceNamespace {
    /// Whether the namespace ends with the container's first process.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self, Self::Own(name) if name == "new")
    }
}

/// Reads what the keeper must know out of a spec.
pub fn glance(spec: &[u8]) -> Result<Glance, WireError> {
    Ok(rmp_serde::from_slice(spec)?)
}

//! Engines' connections: what comes in. A fault on one ends that one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{accept_with, sockopt, SocketFlags};

use crate::core::{Keeper, Kind};
use crate::message::{Fds, Reply, Request, MAX_FDS, MAX_PACKET, MAX_SEALED};
use crate::packet::{self, Received};
use crate::slab::Key;
use crate::tell::Packet;
use crate::wire::{self, Incoming, WireError};

/// Engines at once: an owner, its successor, and tools.
pub const MAX_CONNECTIONS: usize = 16;
/// Packets read of one connection a wake-up.
const PACKETS: usize = 32;
/// With so many answers, or bytes of them, not taken by an engine, its
/// requests wait as well.
const MAX_REPLIES: usize = 512;
const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// And with so many units to be told of: it might launch and acknowledge
/// without ever listening.
const MAX_TO_TELL: usize = 4096;

/// One engine.
#[derive(Debug)]
pub struct Connection {
    pub(crate) socket: OwnedFd,
    /// It has said hello.
    pub(crate) greeted: bool,
    /// What epoll waits for.
    pub(crate) interest: EventFlags,
    /// Answers, bounded by not reading requests.
    pub(crate) replies: VecDeque<(Reply, Vec<OwnedFd>)>,
    pub(crate) reply_bytes: usize,
    /// Units whose state is to be told; each stands here once.
    pub(crate) to_tell: VecDeque<Key>,
    /// A `list` under way: the call's number and the next place.
    pub(crate) listing: Option<(u64, u32)>,
    /// What the socket did not take.
    pub(crate) stuck: Option<Packet>,
    /// It is at fault, and ends when this is told.
    pub(crate) ending: bool,
}

/// The descriptors of a packet, each to be taken once.
#[derive(Debug)]
pub struct PacketFds(Vec<Option<OwnedFd>>);

impl PacketFds {
    /// A message's share.
    pub fn take(&mut self, share: Fds) -> Result<Vec<OwnedFd>, WireError> {
        let missing = WireError::Expected("descriptors that are there, each used once");
        let end = share.0.checked_add(share.1).ok_or(missing.clone())?;
        let places = self.0.get_mut(share.0 as usize..end as usize).ok_or(missing.clone())?;
        places.iter_mut().map(|place| place.take().ok_or(missing.clone())).collect()
    }
}

impl Keeper {
    /// Engines are at the door.
    pub(crate) fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            // The socket's mode says the same; this holds if somebody widens it.
            let root = sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid.is_root());
            if !root || self.connections.len() >= MAX_CONNECTIONS {
                continue;
            }
            let key = self.connections.insert(Connection {
                socket,
                greeted: false,
                interest: EventFlags::IN,
                replies: VecDeque::new(),
                reply_bytes: 0,
                to_tell: VecDeque::new(),
                listing: None,
                stuck: None,
                ending: false,
            });
            let added = self
                .connections
                .get(key)
                .map(|connection| self.poll.add(connection.socket.as_fd(), Kind::Connection, key, 0, EventFlags::IN));
            if !matches!(added, Some(Ok(()))) {
                self.connections.remove(key);
            }
        }
    }

    /// Whether a connection's requests have to wait.
    pub(crate) fn must_wait(&self, connection: &Connection) -> bool {
        connection.ending
            || connection.replies.len() >= MAX_REPLIES
            || connection.reply_bytes >= MAX_REPLY_BYTES
            || (connection.stuck.is_some() && connection.to_tell.len() >= MAX_TO_TELL)
            || self.pool.is_congested()
    }

    /// A connection has packets or room for some.
    pub(crate) fn connection_ready(&mut self, key: Key, flags: EventFlags) {
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) && !flags.contains(EventFlags::IN) {
            self.close_connection(key);
            return;
        }
        if !flags.contains(EventFlags::IN) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..PACKETS {
            let Some(connection) = self.connections.get(key) else { break };
            if self.must_wait(connection) {
                break;
            }
            // One byte more than is allowed, so that what is too long shows.
            match packet::receive(connection.socket.as_fd(), &mut buffer[..=MAX_PACKET], MAX_FDS) {
                Ok(Received::Packet(length, _)) if length > MAX_PACKET => {
                    self.fault(key, &WireError::TooLong("the packet"));
                }
                Ok(Received::Packet(length, fds)) => {
                    if let Err(error) = self.take_packet(key, &buffer[..length], fds) {
                        self.fault(key, &error);
                    }
                }
                Ok(Received::Truncated) => self.fault(key, &WireError::TooLong("the packet")),
                Err(Errno::AGAIN) => break,
                Ok(Received::End) | Err(_) => {
                    self.close_connection(key);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn take_packet(&mut self, key: Key, packet: &[u8], mut fds: Vec<OwnedFd>) -> Result<(), WireError> {
        let messages = wire::split(packet)?;
        if let [message] = messages[..] {
            if let Ok(Incoming::Other(Request::Sealed {})) = wire::decode(message) {
                if fds.is_empty() {
                    return Err(WireError::Expected("a sealed memfd"));
                }
                let memfd = fds.remove(0);
                let bytes = packet::read_sealed(memfd.as_fd(), MAX_SEALED)
                    .map_err(|_| WireError::Expected("a sealed memfd of at most 16 MiB"))?;
                return self.take_messages(key, &wire::split(&bytes)?, fds);
            }
        }
        self.take_messages(key, &messages, fds)
    }

    fn take_messages(&mut self, key: Key, messages: &[&[u8]], fds: Vec<OwnedFd>) -> Result<(), WireError> {
        let mut fds = PacketFds(fds.into_iter().map(Some).collect());
        let since = Instant::now();
        for message in messages {
            let incoming = wire::decode(message)?;
            let greeted = self.connections.get(key).is_some_and(|connection| connection.greeted);
            match incoming {
                Incoming::Other(Request::Hello { version }) if !greeted => self.hello(key, version)?,
                _ if !greeted => return Err(WireError::Expected("`hello` first")),
                Incoming::Launch(raw) => self.launch(key, &raw, &mut fds, since)?,
                Incoming::Other(request) => self.request(key, request, &mut fds)?,
            }
        }
        Ok(())
    }

    /// Ends a connection for what came from it, with a word of why.
    fn fault(&mut self, key: Key, error: &WireError) {
        self.counters.faults += 1;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.ending = true;
        // The rest of what it waited for is in the next connection's list.
        connection.to_tell.clear();
        connection.listing = None;
        let reply = Reply::Error { req: 0, code: "invalid".into(), message: format!("{error}; the connection ends") };
        self.reply(key, reply, Vec::new());
    }

    /// Forgets a connection. What it owned lives on without an owner.
    pub(crate) fn close_connection(&mut self, key: Key) {
        let Some(connection) = self.connections.remove(key) else { return };
        let _ = self.poll.remove(connection.socket.as_fd());
        self.roots.end(key);
        for unit_key in self.units.keys() {
            let Some(unit) = self.units.get_mut(unit_key).filter(|unit| unit.owner == Some(key)) else { continue };
            unit.owner = None;
            unit.handed = false;
            unit.to_tell = false;
            let attached = std::mem::take(&mut unit.attached).len() as u32;
            self.descriptors.free(&mut unit.reserved, attached);
            if matches!(unit.phase, crate::unit::Phase::Failed(_)) {
                self.drop_unit(unit_key);
                continue;
            }
            // What the engine read itself is the keeper's to read now.
            self.watch_stream(unit_key, 0);
            self.watch_stream(unit_key, 1);
        }
    }
}

//! What goes out. Nothing grows for an engine that does not read: its answers
//! are bounded by not reading its requests, and of its units only the keys are
//! kept; what is told of one is its state when there is room to tell.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use serde::Serialize;

use crate::core::{Keeper, Kind};
use crate::message::{Fds, Reply, MAX_FDS, MAX_PACKET};
use crate::packet;
use crate::slab::Key;
use crate::unit::{Phase, Unit};

/// A packet being packed: an array whose length is written at the end.
#[derive(Debug, Default)]
pub struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    count: u16,
}

impl Packet {
    /// Adds a message with its descriptors, if there is room; else gives it
    /// back. A message alone always fits, see the bounds of what is in one.
    fn push(&mut self, mut reply: Reply, fds: Vec<OwnedFd>) -> Option<(Reply, Vec<OwnedFd>)> {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&[0xdc, 0, 0]);
        }
        if self.fds.len() + fds.len() > MAX_FDS || self.count == u16::MAX {
            return Some((reply, fds));
        }
        if let Reply::Started { fds: share, .. }
        | Reply::Ended { fds: share, .. }
        | Reply::Attached { fds: share, .. } = &mut reply
        {
            *share = Fds(self.fds.len() as u32, fds.len() as u32);
        }
        let start = self.bytes.len();
        let mut serializer = rmp_serde::Serializer::new(&mut self.bytes).with_struct_map();
        let written = reply.serialize(&mut serializer).is_ok();
        if self.bytes.len() > MAX_PACKET && self.count > 0 {
            self.bytes.truncate(start);
            return Some((reply, fds));
        }
        if !written || self.bytes.len() > MAX_PACKET {
            // Can not happen by the bounds; dropped rather than sent torn.
            self.bytes.truncate(start);
            return None;
        }
        self.count += 1;
        self.fds.extend(fds);
        None
    }

    /// Sends it.
    fn send(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        self.bytes[1..3].copy_from_slice(&self.count.to_be_bytes());
        let fds: Vec<_> = self.fds.iter().map(AsFd::as_fd).collect();
        packet::send(socket, &[IoSlice::new(&self.bytes)], &fds)
    }
}

fn weight(reply: &Reply) -> usize {
    match reply {
        Reply::Piece { data, .. } => data.len(),
        _ => 64,
    }
}

impl Keeper {
    /// Answers a request.
    pub(crate) fn reply(&mut self, key: Key, reply: Reply, fds: Vec<OwnedFd>) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.reply_bytes += weight(&reply);
            connection.replies.push_back((reply, fds));
        }
    }

    /// Puts a unit into its owner's list of what is to be told.
    pub(crate) fn tell(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key).filter(|unit| !unit.to_tell) else { return };
        let Some(connection) = unit.owner.and_then(|owner| self.connections.get_mut(owner)) else { return };
        unit.to_tell = true;
        connection.to_tell.push_back(key);
    }

    /// Puts a unit of which there is more to be told at the beginning of it.
    fn tell_next(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let Some(connection) = unit.owner.and_then(|owner| self.connections.get_mut(owner)) else { return };
        unit.to_tell = true;
        connection.to_tell.push_front(key);
    }

    /// A kill for want of memory; a start that is held back is told first.
    pub(crate) fn tell_oom(&mut self, key: Key) {
        self.tell_start(key);
        self.tell(key);
    }

    /// Sends everybody what there is to be told, and as much of it as they
    /// take.
    pub(crate) fn tell_all(&mut self) {
        for key in self.connections.keys() {
            if self.tell_connection(key).is_err() {
                self.close_connection(key);
            }
        }
        self.watch_connections();
    }

    fn tell_connection(&mut self, key: Key) -> Result<(), Errno> {
        let mut given_back = None;
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            let mut packet = connection.stuck.take().unwrap_or_default();
            if packet.count == 0 {
                loop {
                    let next = given_back.take().or_else(|| self.next_message(key));
                    let Some((reply, fds)) = next else { break };
                    given_back = packet.push(reply, fds);
                    if given_back.is_some() {
                        break;
                    }
                }
            }
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            if packet.count == 0 {
                // Told why; nothing else will come.
                return if connection.ending { Err(Errno::PROTO) } else { Ok(()) };
            }
            match packet.send(connection.socket.as_fd()) {
                Ok(()) => self.counters.packets += 1,
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    connection.stuck = Some(packet);
                    if let Some((reply, fds)) = given_back {
                        connection.reply_bytes += weight(&reply);
                        connection.replies.push_front((reply, fds));
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next thing that a connection is to be told.
    fn next_message(&mut self, key: Key) -> Option<(Reply, Vec<OwnedFd>)> {
        let connection = self.connections.get_mut(key)?;
        if let Some((reply, fds)) = connection.replies.pop_front() {
            connection.reply_bytes -= weight(&reply);
            return Some((reply, fds));
        }
        while let Some(unit) = self.connections.get_mut(key)?.to_tell.pop_front() {
            if let Some(message) = self.state_of(unit) {
                return Some(message);
            }
        }
        let connection = self.connections.get_mut(key)?;
        let (req, mut place) = connection.listing?;
        while let Some((unit_key, unit)) = self.units.iter_from(place).next() {
            place = unit_key.index + 1;
            let entry = self.entry(req, unit);
            if let Some(entry) = entry {
                self.connections.get_mut(key)?.listing = Some((req, place));
                return Some((entry, Vec::new()));
            }
        }
        self.connections.get_mut(key)?.listing = None;
        Some((Reply::Done { req }, Vec::new()))
    }

    /// What is news of a unit.
    fn state_of(&mut self, key: Key) -> Option<(Reply, Vec<OwnedFd>)> {
        let unit = self.units.get_mut(key)?;
        unit.to_tell = false;
        let (req, id, exec) = (unit.req, unit.id.clone(), unit.exec.clone());
        if let Phase::Failed(error) = &unit.phase {
            let error = (**error).clone();
            self.drop_unit(key);
            return Some((Reply::Failed { req, id, exec, error }, Vec::new()));
        }
        let started = unit.started.clone().filter(|_| !unit.told_start);
        let exit = unit.exit.clone().filter(|_| unit.recorded && !unit.told_end);
        let kills = unit.oom_kills.saturating_sub(unit.told_kills);
        if kills > 0 && unit.told_start {
            unit.told_kills = unit.oom_kills;
            let kills = unit.oom_kills;
            if exit.is_some() {
                self.tell_next(key);
            }
            return Some((Reply::Oom { id, kills }, Vec::new()));
        }
        // Kills are told between the start and the end.
        let exit = exit.filter(|_| kills == 0 || started.is_none());
        unit.told_start |= started.is_some();
        unit.told_end |= exit.is_some();
        let handed = unit.handed && started.is_some();
        let mut fds = std::mem::take(&mut unit.attached);
        self.descriptors.free(&mut unit.reserved, fds.len() as u32);
        if handed {
            fds = self.direct_fds(key).map_or_else(|_| Vec::new(), |(_, fds)| fds);
        }
        if kills > 0 {
            self.tell_next(key);
        }
        match (started, exit) {
            (Some(started), None) => Some((Reply::Started { req, id, exec, started, fds: Fds::default() }, fds)),
            (started, Some(exit)) => {
                let req = if started.is_some() { req } else { 0 };
                Some((Reply::Ended { req, id, exec, started, exit, fds: Fds::default() }, fds))
            }
            (None, None) => None,
        }
    }

    /// A container's entry in a list.
    fn entry(&self, req: u64, unit: &Unit) -> Option<Reply> {
        if unit.exec.is_some() || matches!(unit.phase, Phase::Failed(_) | Phase::Lingering) {
            return None;
        }
        let execs = unit.execs.iter().filter_map(|key| {
            let exec = self.units.get(*key)?;
            Some((exec.exec.clone()?, exec.exit_without_output()))
        });
        Some(Reply::Entry {
            req,
            id: unit.id.clone(),
            blob: serde_bytes::ByteBuf::from(unit.blob.clone()),
            started: unit.started.clone(),
            exit: unit.exit.clone().filter(|_| unit.recorded),
            execs: execs.collect(),
            oom_kills: unit.oom_kills,
        })
    }

    /// Sets what epoll waits for on each connection.
    pub(crate) fn watch_connections(&mut self) {
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get(key) else { continue };
            let mut interest = EventFlags::empty();
            if !self.must_wait(connection) {
                interest |= EventFlags::IN;
            }
            if connection.stuck.is_some() {
                interest |= EventFlags::OUT;
            }
            if interest != connection.interest {
                let _ = self.poll.modify(connection.socket.as_fd(), Kind::Connection, key, interest);
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.interest = interest;
                }
            }
        }
    }
}

//! A fresh journal of what is left, when the old one is mostly of what is
//! long forgotten.

use serde_bytes::ByteBuf;

use crate::core::Keeper;
use crate::journal::Record;
use crate::slab::Key;
use crate::unit::{Phase, Unit};

impl Keeper {
    /// Journal records of all that is left, for a fresh file.
    pub(crate) fn compact(&mut self) {
        let mut records = Vec::new();
        let mut keys: Vec<Key> = self.ids.values().copied().collect();
        keys.sort();
        for container in keys {
            let execs = self.units.get(container).map(|unit| unit.execs.clone()).unwrap_or_default();
            for key in std::iter::once(container).chain(execs) {
                if let Some(unit) = self.units.get(key) {
                    unit.records(&mut records);
                }
            }
        }
        // What is pushed but not yet written may be among them; a record that
        // comes twice says the same twice.
        self.journal.rewrite(&mut records.into_iter());
    }
}

impl Unit {
    /// The records that lead to its state.
    fn records(&self, out: &mut Vec<Record>) {
        if matches!(self.phase, Phase::Failed(_) | Phase::Lingering) {
            return;
        }
        let (id, exec) = (self.id.clone(), self.exec.clone());
        out.push(Record::Launch {
            id: id.clone(),
            exec: exec.clone(),
            blob: ByteBuf::from(self.blob.clone()),
            cgroup: self.cgroup.clone(),
            scratch: self.scratch.clone(),
        });
        if let Some(started) = &self.started {
            out.push(Record::Started {
                id: id.clone(),
                exec: exec.clone(),
                pid: started.pid,
                start_ticks: started.start_ticks,
                started_at: started.started_at,
                started_boot: started.started_boot,
            });
        }
        if let Some(exit) = self.exit.clone().filter(|exit| exit.seq > 0) {
            out.push(Record::Exited { id, exec, exit });
        }
    }
}

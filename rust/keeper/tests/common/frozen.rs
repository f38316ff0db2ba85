//! A frozen control group of a bench's own (v1's freezer).

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Bench, PATIENCE};

const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// The group. Dropping it thaws it, gives back what it held and removes it: a
/// failed test, too, leaves nothing that can not die.
pub struct Frozen {
    folder: PathBuf,
}

impl Frozen {
    /// An empty one that is not frozen; none, visibly, where there is no v1
    /// freezer.
    pub fn new(bench: &Bench) -> Option<Self> {
        if !Path::new(FREEZER).join("tasks").exists() {
            eprintln!("SKIPPED: no v1 freezer");
            return None;
        }
        let folder = Path::new(FREEZER).join(format!("ardock-{}/frozen", bench.engine));
        fs::create_dir_all(&folder).unwrap();
        Some(Self { folder })
    }

    /// Takes a thread in.
    pub fn take(&self, task: &str) {
        fs::write(self.folder.join("tasks"), task).unwrap();
    }

    /// The threads in it, one a line.
    pub fn tasks(&self) -> String {
        fs::read_to_string(self.folder.join("tasks")).unwrap()
    }

    /// For a launch that is to join it.
    pub fn open(&self) -> OwnedFd {
        fs::File::open(&self.folder).unwrap().into()
    }

    /// Freezes it; what is in it stands still when this returns.
    pub fn freeze(&self) {
        let state = self.folder.join("freezer.state");
        fs::write(&state, "FROZEN").unwrap();
        // FREEZING until the last thread has come to where it can be frozen.
        let end = Instant::now() + PATIENCE;
        while fs::read_to_string(&state).unwrap().trim() != "FROZEN" {
            assert!(Instant::now() < end, "it does not freeze");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets everything in it go on.
    pub fn thaw(&self) {
        fs::write(self.folder.join("freezer.state"), "THAWED").unwrap();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
        let end = Instant::now() + PATIENCE;
        while self.folder.exists() && Instant::now() < end {
            for task in self.tasks().lines() {
                let _ended = fs::write(Path::new(FREEZER).join("tasks"), task);
            }
            if fs::remove_dir(&self.folder).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

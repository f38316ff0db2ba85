//! What one tree has that another has not.

use std::collections::HashSet;

use rustix::fs::FileType;

use crate::name::Name;
use crate::stack::{Item, Layout, Listing, Stack};
use crate::{Cancelled, Error, Result};

/// What has become of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is another, or, of a directory, something in it is.
    Changed,
    /// It is gone.
    Deleted,
}

impl Change {
    /// `A`, `C` or `D`, as in `docker diff`.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Added => "A",
            Self::Changed => "C",
            Self::Deleted => "D",
        }
    }
}

/// Is told of each difference, a directory before what is in it.
pub(crate) trait Visit {
    /// The new tree has it.
    fn item(&mut self, new: &mut Stack, item: &Item, change: Change) -> Result<()>;
    /// The old tree had it, and nothing has its name now; `hidden`: it was told
    /// that its directory is opaque.
    fn gone(&mut self, name: Name, hidden: bool) -> Result<()>;
    /// The directory shows nothing of what the old one had; `first`: the one
    /// that it lies in does.
    fn opaque(&mut self, name: &Name, first: bool) -> Result<()>;
}

/// What counts as a difference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Each directory that the topmost layer has is one, and so is a
    /// directory's time.
    pub directories: bool,
    /// What is not looked at, in neither tree.
    pub hidden: HashSet<Name>,
}

struct Frame {
    item: Item,
    change: Change,
    /// The visitor knows of it.
    told: bool,
    /// Nothing of the old tree is seen through it.
    opaque: bool,
    steps: std::vec::IntoIter<Step>,
}

enum Step {
    Item(Box<Item>, Option<Item>),
    Gone(Name),
}

struct Walk<'a> {
    new: &'a mut Stack,
    old: Option<&'a mut Stack>,
    options: Options,
    frames: Vec<Frame>,
}

/// Goes through the directory `start` of `new` and tells `visit` of what is not
/// so in `old`; of everything, the directory itself first, where there is no `old`.
pub(crate) fn walk(
    new: &mut Stack,
    start: Item,
    old: Option<&mut Stack>,
    options: Options,
    cancelled: Cancelled<'_>,
    visit: &mut impl Visit,
) -> Result<()> {
    let old_start = old.as_ref().map(|old| old.root()).transpose()?;
    let mut walk = Walk { new, old, options, frames: Vec::new() };
    walk.directory(start, old_start.as_ref(), false, visit)?;
    while let Some(frame) = walk.frames.last_mut() {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let opaque = frame.opaque;
        match frame.steps.next() {
            None => {
                walk.frames.pop();
            }
            Some(Step::Gone(name)) => {
                walk.tell(visit)?;
                visit.gone(name, opaque)?;
            }
            Some(Step::Item(item, old)) if item.is_directory() => {
                walk.directory(*item, old.as_ref(), opaque, visit)?;
            }
            Some(Step::Item(item, old)) => {
                let change = if old.is_some() { Change::Changed } else { Change::Added };
                if let (Some(old), Layout::Tree) = (&old, walk.new.layout()) {
                    if walk.same(&item, old)? {
                        continue;
                    }
                }
                walk.tell(visit)?;
                visit.item(walk.new, &item, change)?;
            }
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// Enters a directory.
    fn directory(&mut self, item: Item, old: Option<&Item>, opaque: bool, visit: &mut impl Visit) -> Result<()> {
        let mut listing = self.new.list(&item)?;
        let old_directory = old.filter(|old| old.is_directory());
        let mut old_listing = match (&mut self.old, old_directory) {
            (Some(stack), Some(old)) => stack.list(old)?,
            _ => Listing::default(),
        };
        if !self.options.hidden.is_empty() {
            let seen = |last: &[u8]| !self.options.hidden.contains(&item.name.join(last));
            listing.items.retain(|last, _| seen(last));
            listing.whiteouts.retain(|last| seen(last));
            old_listing.items.retain(|last, _| seen(last));
        }
        let change = if old.is_some() { Change::Changed } else { Change::Added };
        let is_root = item.name == Name::root();
        let layered = self.new.layout() != Layout::Tree;
        let told = match old {
            None => true,
            Some(old) => {
                (layered && self.options.directories && !is_root) || !old.is_directory() || !self.same(&item, old)?
            }
        };
        if told {
            self.tell(visit)?;
            visit.item(self.new, &item, change)?;
        }
        let hides = layered && old_directory.is_some() && (opaque || listing.opaque);
        if hides && !old_listing.items.is_empty() {
            // What is above it was told of where this one was.
            if !told {
                self.tell(visit)?;
                visit.item(self.new, &item, change)?;
            }
            visit.opaque(&item.name, !opaque)?;
        }
        let told = told || (hides && !old_listing.items.is_empty());
        let steps = self.steps(&item, listing, old_listing, hides);
        // A change within makes every directory above one, but for the root.
        self.frames.push(Frame { item, change, told: told || is_root, opaque: opaque || hides, steps });
        Ok(())
    }

    /// What is to be told of a directory, by name.
    fn steps(&self, item: &Item, listing: Listing, mut old: Listing, hides: bool) -> std::vec::IntoIter<Step> {
        let gone: Vec<Vec<u8>> = if self.new.layout() == Layout::Tree || hides {
            old.items.keys().filter(|last| !listing.items.contains_key(*last)).cloned().collect()
        } else {
            listing.whiteouts.into_iter().filter(|last| old.items.contains_key(last)).collect()
        };
        let mut steps: Vec<(Vec<u8>, Step)> =
            gone.into_iter().map(|last| (last.clone(), Step::Gone(item.name.join(&last)))).collect();
        for (last, new) in listing.items {
            let old = old.items.remove(&last);
            steps.push((last, Step::Item(Box::new(new), old)));
        }
        steps.sort_by(|one, other| one.0.cmp(&other.0));
        steps.into_iter().map(|(_, step)| step).collect::<Vec<_>>().into_iter()
    }

    /// Tells of the directories on the way here that were not told of.
    fn tell(&mut self, visit: &mut impl Visit) -> Result<()> {
        let Some(first) = self.frames.iter().rposition(|frame| frame.told).map(|at| at + 1) else { return Ok(()) };
        for frame in &mut self.frames[first..] {
            frame.told = true;
            visit.item(self.new, &frame.item, frame.change)?;
        }
        Ok(())
    }

    /// Whether both are alike, by all but their content: who writes to a file
    /// changes its time. Of a directory the time is not asked (as docker does
    /// it: everything that is made in it changes that).
    fn same(&mut self, new: &Item, old: &Item) -> Result<bool> {
        let (one, other) = (&new.stat, &old.stat);
        if (one.st_mode, one.st_uid, one.st_gid, one.st_rdev)
            != (other.st_mode, other.st_uid, other.st_gid, other.st_rdev)
        {
            return Ok(false);
        }
        let timed = if new.is_directory() { self.options.directories && new.name != Name::root() } else { true };
        if timed && (one.st_mtime, one.st_mtime_nsec) != (other.st_mtime, other.st_mtime_nsec) {
            return Ok(false);
        }
        if !new.is_directory() && one.st_size != other.st_size {
            return Ok(false);
        }
        let Some(stack) = &mut self.old else { return Ok(false) };
        if new.kind() == FileType::Symlink && self.new.read_link(new)? != stack.read_link(old)? {
            return Ok(false);
        }
        let xattrs = |it: Option<crate::Attributes>| it.map(|it| it.xattrs);
        Ok(xattrs(self.new.attributes(new)?) == xattrs(stack.attributes(old)?))
    }
}

struct List(Vec<(Change, Vec<u8>)>);

impl List {
    fn push(&mut self, change: Change, name: &Name) {
        let mut path = b"/".to_vec();
        path.extend_from_slice(name.as_bytes());
        self.0.push((change, path));
    }
}

impl Visit for List {
    fn item(&mut self, _new: &mut Stack, item: &Item, change: Change) -> Result<()> {
        // Docker does not tell of the root.
        if item.name != Name::root() {
            self.push(change, &item.name);
        }
        Ok(())
    }

    fn gone(&mut self, name: Name, _hidden: bool) -> Result<()> {
        self.push(Change::Deleted, &name);
        Ok(())
    }

    fn opaque(&mut self, _name: &Name, _first: bool) -> Result<()> {
        Ok(())
    }
}

/// What the tree that `dirs` make has changed of the one that `below` make, by
/// absolute path, in the order of the paths' bytes. In the overlay's layout and
/// in aufs's, `dirs` is one directory: the layer on top of `below`.
///
/// As `docker diff` of its driver that compares trees (vfs): a directory whose
/// content has changed is changed, and of what is deleted or added as a whole
/// the top is deleted and each part is added. Of layers, each file that they
/// have is taken for changed.
pub fn changes<P: AsRef<std::path::Path>>(
    dirs: &[P],
    below: &[P],
    layout: Layout,
    cancelled: Cancelled<'_>,
) -> Result<Vec<(Change, Vec<u8>)>> {
    let mut new = Stack::open(dirs, layout, &[])?;
    let mut old = Stack::open(below, layout, &[])?;
    let start = new.root()?;
    let mut list = List(Vec::new());
    let old = (!old.is_empty()).then_some(&mut old);
    walk(&mut new, start, old, Options::default(), cancelled, &mut list)?;
    list.0.sort_by(|one, other| one.1.cmp(&other.1));
    Ok(list.0)
}

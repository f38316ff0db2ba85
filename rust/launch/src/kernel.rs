//! What this kernel has of what a launch uses where it is there and does
//! without where it is not.
//!
//! Each is found by trying, never by the kernel's version: distributions carry
//! features back, and a sandbox may forbid what the kernel has. All of it
//! together takes some 70 microseconds and leaves nothing behind, but that
//! the first look at overlay loads its module where it is one.
//!
//! What is there can be declared absent, by [`VARIABLE`]: for tests of the
//! ways around it on a kernel that has it, and for a kernel of which one
//! feature is not to be trusted.

use std::os::fd::AsRawFd;

use crate::sys;

/// Names of [`Feature`]s separated by commas, read when a keeper is started
/// and when an engine opens: they are taken as absent.
pub const VARIABLE: &str = "ARDOCK_KERNEL_WITHOUT";

macro_rules! features {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// One thing that a kernel may have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Feature {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Feature {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, for people and for [`VARIABLE`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

features! {
    /// The overlay file system itself.
    Overlay = "overlay",
    /// Lower directories one by one, by fsconfig(2) (Linux 6.8).
    LowerdirAdd = "lowerdir+",
    /// The same by descriptor (Linux 6.13).
    LowerdirFd = "lowerdir+fd",
    /// A copied mount with its attributes in one call (Linux 6.15).
    OpenTreeAttr = "open_tree_attr",
    /// A memfd that says that it is to be executed (Linux 6.3).
    MfdExec = "mfd_exec",
    /// A memfd can be executed (`vm.memfd_noexec` below 2).
    ExecutableMemfd = "memfd",
    /// The mapping of a mount's user ids (Linux 5.12).
    IdmappedMounts = "idmap",
    /// A procfs of a pid namespace that is named (Linux 6.17).
    ProcPidns = "proc_pidns",
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u32);

impl Features {
    /// Adds one.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u32)
    }

    /// All but `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether one is among them.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 != 0
    }

    /// Reads names separated by commas.
    pub fn parse(names: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let Some(feature) = Feature::ALL.iter().find(|feature| feature.name() == name) else {
                let known: Vec<&str> = Feature::ALL.iter().map(|feature| feature.name()).collect();
                return Err(format!("{VARIABLE}: {name:?} is none of {}", known.join(", ")));
            };
            found = found.with(*feature);
        }
        Ok(found)
    }

    /// What [`VARIABLE`] declares absent in this process's environment.
    pub fn declared_absent() -> Result<Self, String> {
        match std::env::var(VARIABLE) {
            Ok(names) => Self::parse(&names),
            Err(std::env::VarError::NotPresent) => Ok(Self::default()),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("{VARIABLE}: it is not text")),
        }
    }

    /// Their names, as [`Self::parse`] reads them.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<&str> =
            Feature::ALL.iter().filter(|feature| self.has(**feature)).map(|feature| feature.name()).collect();
        names.join(",")
    }

    /// Looks at the running kernel. Needs CAP_SYS_ADMIN; without it most seem
    /// absent.
    #[must_use]
    pub fn probe() -> Self {
        let mut found = probe_overlay(Self::default());
        // Invalid flags: what tells is whether it is ENOSYS. A sandbox of
        // another engine says EPERM.
        if !matches!(
            sys::clone_tree_attr(-1, c"", usize::MAX, &sys::MountAttr::default()),
            Err(libc::ENOSYS | libc::EPERM)
        ) {
            found = found.with(Feature::OpenTreeAttr);
        }
        match sys::memfd_create(c"ardock-probe", MFD_CLOEXEC | MFD_EXEC) {
            Ok(memfd) => {
                drop(sys::owned(memfd));
                found = found.with(Feature::MfdExec).with(Feature::ExecutableMemfd);
            }
            // Not known: there every memfd can be executed.
            Err(libc::EINVAL) => found = found.with(Feature::ExecutableMemfd),
            Err(_) => found = found.with(Feature::MfdExec),
        }
        if knows_idmapped_mounts() == Ok(true) {
            found = found.with(Feature::IdmappedMounts);
        }
        if knows_proc_pidns() == Ok(true) {
            found = found.with(Feature::ProcPidns);
        }
        found
    }
}

const MFD_CLOEXEC: u32 = 0x1;
const MFD_EXEC: u32 = 0x10;

/// In a context that is thrown away before there is a superblock.
fn probe_overlay(mut found: Features) -> Features {
    let Ok(context) = sys::fsopen(c"overlay").map(sys::owned) else { return found };
    found = found.with(Feature::Overlay);
    // Before 6.5 a context takes any option and looks later. The directory is
    // one that exists: of others the kernel's log would tell.
    let takes = |key| sys::fsconfig_string(context.as_raw_fd(), key, c"/").is_ok();
    if !takes(c"ardock-probe") && takes(c"lowerdir+") {
        found = found.with(Feature::LowerdirAdd);
        if let Ok(root) = sys::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0).map(sys::owned) {
            if sys::fsconfig_fd(context.as_raw_fd(), c"lowerdir+", root.as_raw_fd()).is_ok() {
                found = found.with(Feature::LowerdirFd);
            }
        }
    }
    found
}

/// Of no mount at all: EINVAL is what a kernel says that does not know the
/// attribute, others look at the mapping first. A copy of a mount to try it on
/// would be let go of by the slow way (RCU), some milliseconds.
fn knows_idmapped_mounts() -> Result<bool, i32> {
    let users = sys::owned(sys::openat(libc::AT_FDCWD, c"/proc/self/ns/user", libc::O_RDONLY, 0)?);
    let attr = sys::MountAttr { set: sys::ATTR_IDMAP, userns: users.as_raw_fd() as u64, ..sys::MountAttr::default() };
    Ok(sys::mount_setattr(-1, c"", sys::AT_EMPTY, &attr) != Err(libc::EINVAL))
}

fn knows_proc_pidns() -> Result<bool, i32> {
    let context = sys::owned(sys::fsopen(c"proc")?);
    let own = sys::owned(sys::openat(libc::AT_FDCWD, c"/proc/self/ns/pid", libc::O_RDONLY, 0)?);
    Ok(sys::fsconfig_fd(context.as_raw_fd(), c"pidns", own.as_raw_fd()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        let some = Features::parse(" lowerdir+,mfd_exec,").unwrap();
        assert_eq!(some, Features::default().with(Feature::LowerdirAdd).with(Feature::MfdExec));
        assert_eq!(Features::parse(&some.names()), Ok(some));
        assert!(Features::parse("").is_ok_and(|none| none == Features::default()));
        let error = Features::parse("lowerdir").unwrap_err();
        assert!(error.contains("\"lowerdir\" is none of overlay, lowerdir+, "), "{error}");
    }

    #[test]
    fn what_is_declared_absent_is_gone() {
        let all = Feature::ALL.iter().fold(Features::default(), |all, feature| all.with(*feature));
        let left = all.without(Features::default().with(Feature::LowerdirAdd));
        assert!(!left.has(Feature::LowerdirAdd) && left.has(Feature::LowerdirFd));
    }

    #[test]
    fn probing_is_quick_and_leaves_no_descriptor() {
        let _module_is_loaded = Features::probe();
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (before, start) = (count(), std::time::Instant::now());
        let found = Features::probe();
        let took = start.elapsed();
        eprintln!("{} in {took:?}", found.names());
        assert_eq!(found, Features::probe());
        // Other tests of this process open some of their own.
        assert!(count() <= before + 20);
        assert!(took < std::time::Duration::from_millis(100), "{took:?}");
    }
}

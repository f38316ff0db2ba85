//! Why a launch failed: the step, the thing it was about, the kernel's reason.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A step of a launch, in the order in which they happen. The value
        /// crosses from the child by shared memory or a pipe.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u32)]
        pub enum Step {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Step {
            /// Every step, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The step as a phrase that completes "could not ...".
            #[must_use]
            pub const fn phrase(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

steps! {
    /// The spec itself is wrong; nothing was tried.
    Spec = "accept the specification",
    /// Making and limiting the control groups.
    Cgroup = "set up the control group",
    /// Opening the pipes or the terminal.
    Stdio = "open the standard streams",
    /// Making the scratch directories.
    Scratch = "make the scratch directory",
    /// clone3.
    Clone = "start a process",
    /// Joining namespaces by descriptor.
    JoinNamespace = "join the namespace",
    /// Writing into the control groups' task files.
    JoinCgroup = "enter the control group",
    /// A fresh cgroup namespace.
    CgroupNamespace = "make a cgroup namespace",
    /// The container's own tmpfs.
    Tmpfs = "mount the container's tmpfs",
    /// Attaching or overlaying the root.
    Root = "mount the root file system",
    /// /dev and what is in it.
    Dev = "set up /dev",
    /// /proc.
    Proc = "mount /proc",
    /// /dev/pts.
    Pts = "mount /dev/pts",
    /// /dev/shm.
    Shm = "mount /dev/shm",
    /// /dev/mqueue.
    Mqueue = "mount /dev/mqueue",
    /// /sys.
    Sys = "mount /sys",
    /// /sys/fs/cgroup.
    SysCgroup = "mount /sys/fs/cgroup",
    /// A bind, volume or tmpfs of the spec.
    Mount = "mount",
    /// /etc/hosts and the like.
    File = "provide the file",
    /// sysctls.
    Sysctl = "set the kernel parameter",
    /// Masked paths.
    Mask = "mask the path",
    /// Read-only paths.
    Readonly = "make the path read-only",
    /// pivot_root and letting go of the old root.
    Pivot = "enter the root file system",
    /// Host and domain name.
    Hostname = "set the host name",
    /// The loopback link.
    Loopback = "set the loopback link up",
    /// setsid and the controlling terminal.
    Session = "start the session",
    /// The working directory.
    Cwd = "enter the working directory",
    /// dup2 onto 0, 1 and 2.
    Streams = "connect the standard streams",
    /// Resource limits.
    Rlimit = "set the resource limit",
    /// oom_score_adj.
    OomScore = "set the OOM score",
    /// AppArmor.
    Apparmor = "apply the AppArmor profile",
    /// no_new_privs.
    NoNewPrivileges = "set no_new_privs",
    /// Bounding, inheritable and ambient sets.
    Capabilities = "set the capabilities",
    /// Groups, gid and uid.
    Ids = "set the user and group ids",
    /// Death signal.
    DeathSignal = "set the parent death signal",
    /// The seccomp program.
    Seccomp = "apply the seccomp policy",
    /// Closing everything inherited.
    CloseFds = "close inherited descriptors",
    /// execve.
    Exec = "execute",
    /// The launch took longer than its deadline; `during` names the step.
    Deadline = "finish in time",
}

impl Step {
    /// The step with this number, as the child reports it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

/// A failed launch. `Display` is one clear sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchError {
    /// What was being done.
    pub step: Step,
    /// The path, name or value it was about; empty where there is none.
    pub subject: String,
    /// The kernel's errno; 0 where the reason is in `hint` alone.
    pub errno: i32,
    /// What to do about it, or why, in words; may be empty.
    pub hint: String,
    /// The exit code that a command line reports: 125, 126 or 127.
    pub exit_code: u8,
}

impl LaunchError {
    /// An error of the kernel's.
    #[must_use]
    pub fn os(step: Step, subject: impl Into<String>, errno: i32) -> Self {
        Self { step, subject: subject.into(), errno, hint: String::new(), exit_code: 125 }
    }

    /// An error that is a reason in words.
    #[must_use]
    pub fn because(step: Step, subject: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { step, subject: subject.into(), errno: 0, hint: hint.into(), exit_code: 125 }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.step.phrase())?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        if self.errno != 0 {
            let text = std::io::Error::from_raw_os_error(self.errno).to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            write!(f, ": {text}")?;
        }
        if !self.hint.is_empty() {
            write!(f, ": {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for LaunchError {}

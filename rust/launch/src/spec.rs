//! What is to be launched, with everything resolved.
//!
//! These records are what crosses from the engine (which decides) to the
//! launch core (which does). They hold no name that would have to be looked
//! up and no path of the host: host paths travel as descriptors of detached
//! mounts (see [`Source`]). On the wire they are MessagePack maps with the
//! field names below; unknown fields are refused, so that a newer engine is
//! never half obeyed.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A namespace of the new process: `"new"`, `"host"` (the launcher's own), or
/// the index of a namespace descriptor in the message's descriptor list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Namespace {
    /// `"new"` or `"host"`.
    Own(OwnNamespace),
    /// Join the namespace behind descriptor number N of the message.
    Join(u32),
}

/// The two namespaces that need no descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnNamespace {
    /// A fresh one.
    New,
    /// The host's.
    Host,
}

impl Namespace {
    /// A fresh namespace.
    pub const NEW: Self = Self::Own(OwnNamespace::New);
    /// The host's namespace.
    pub const HOST: Self = Self::Own(OwnNamespace::Host);
}

/// One choice for each kind of namespace. `user` and `time` have their seat
/// here; anything but `"host"` is refused for them by [`crate::launch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespaces {
    /// Process ids.
    pub pid: Namespace,
    /// Network. A new one has its loopback link set up.
    pub net: Namespace,
    /// System V IPC and POSIX message queues.
    pub ipc: Namespace,
    /// Mounts. Must be `"new"`: a container never runs on the host's table.
    pub mnt: Namespace,
    /// Host name.
    pub uts: Namespace,
    /// Control group root.
    pub cgroup: Namespace,
    /// User ids (refused for now).
    pub user: Namespace,
    /// Clocks (refused for now).
    pub time: Namespace,
}

/// Where a mount comes from: the index of a descriptor of a *detached* mount
/// (`open_tree(OPEN_TREE_CLONE)`, made by the engine in the host's mount
/// namespace with its flags already set) in the message's descriptor list, or
/// an absolute path in the launcher's own mount namespace (`/roots/KEY`,
/// `/store/...`; see `crate::home`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// Descriptor number N of the message.
    Fd(u32),
    /// A path in the launcher's own mount namespace.
    Path(String),
}

/// The container's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// One directory (`scratch` none) or the overlay's lower directories, the
    /// topmost first.
    pub layers: Vec<Source>,
    /// Where writes go.
    pub scratch: Scratch,
    /// Make the root itself read-only (after everything is mounted on it).
    pub readonly: bool,
}

/// Where an overlay's writes go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Scratch {
    /// No overlay: the single layer is the root, writes go into it.
    None,
    /// Upper and work on the container's own tmpfs, `size` bytes at most
    /// (0: as the kernel's default, half of memory), charged to its cgroup.
    Memory {
        /// Bytes.
        size: u64,
    },
    /// Upper and work in the directory `dir` (a path in the launcher's mount
    /// namespace, made by the launcher, mode 0700). `volatile`: never synced.
    Disk {
        /// Absolute path in the launcher's mount namespace; must not exist
        /// unless it is to be kept.
        dir: String,
        /// Mount the overlay `volatile`; not looked at with `keep`, since the
        /// kernel refuses the upper directory of a volatile one that was not
        /// unmounted in good order.
        volatile: bool,
        /// What was written is there again at the next launch: `dir` is used
        /// as it is, made (the folder that it lies in, too) where it is not
        /// there, and never removed.
        #[serde(default)]
        keep: bool,
    },
}

/// The kernel file systems that a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filesystems {
    /// `/proc` (a fresh procfs of its pid namespace).
    pub proc: bool,
    /// `/dev` with Docker's nodes and links, `/dev/shm`.
    pub dev: bool,
    /// `/dev/pts`, a devpts instance of its own.
    pub pts: bool,
    /// `/dev/mqueue`.
    pub mqueue: bool,
    /// `/sys`, read-only (sysfs of its network namespace).
    pub sys: bool,
    /// `/sys/fs/cgroup`, read-only, the container's own cgroups as roots.
    pub cgroup: bool,
    /// `Some(bytes)`: `/dev/shm` as a tmpfs of its own of that size. `None`:
    /// a folder of the container's one tmpfs (DESIGN section 3, rule 8).
    pub shm_size: Option<u64>,
    /// Do not make `/sys` and `/sys/fs/cgroup` read-only, mask nothing
    /// (`--privileged`-like; the engine also sends empty masks).
    pub writable: bool,
}

/// What [`Mount`] mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum MountKind {
    /// Attach a detached mount (bind mount or volume).
    Bind {
        /// The detached mount.
        source: Source,
        /// The source is not a directory: the target is made as a file.
        file: bool,
    },
    /// A fresh tmpfs with mount(2) data such as `size=65536k,mode=1777`.
    Tmpfs {
        /// Options as for mount(2); at most 255 characters.
        data: String,
        /// `MS_*` flags from mount(2).
        flags: u64,
    },
}

/// One mount on top of the root, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path in the container; made where missing; resolved beneath
    /// the root (`RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`).
    pub target: String,
    /// What is mounted there.
    pub what: MountKind,
}

/// A small file that the launcher writes on the container's tmpfs and binds
/// over `target` (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Absolute path in the container; made where missing.
    pub target: String,
    /// Contents, 64 KiB at most.
    pub content: ByteBuf,
}

/// A rule of the device cgroup, in Docker's form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// `'a'`, `'b'` or `'c'`.
    pub kind: char,
    /// Major number; `None` is any.
    pub major: Option<u32>,
    /// Minor number; `None` is any.
    pub minor: Option<u32>,
    /// Letters of `r`, `w`, `m`.
    pub access: String,
}

/// A device node to make in `/dev` besides Docker's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Absolute path in the container, beneath `/dev`.
    pub target: String,
    /// `'b'`, `'c'` or `'p'`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The weight of a container's requests on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceWeight {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// 10 to 1,000.
    pub weight: u16,
}

/// The most that is read from or written to one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRate {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes or requests a second; not 0.
    pub rate: u64,
}

/// Limits on block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Io {
    /// 10 to 1,000 (v2: converted where the scheduler is not BFQ).
    pub weight: Option<u16>,
    /// Idem on single devices.
    pub weight_devices: Vec<DeviceWeight>,
    /// Bytes read a second.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes written a second.
    pub write_bps: Vec<DeviceRate>,
    /// Reads a second.
    pub read_iops: Vec<DeviceRate>,
    /// Writes a second.
    pub write_iops: Vec<DeviceRate>,
}

/// Limits, in the kernel's own units; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, bytes; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// Soft limit, bytes.
    pub memory_reservation: Option<u64>,
    /// Above it, the container is slowed and its memory reclaimed; bytes (v2).
    pub memory_high: Option<u64>,
    /// A kill for want of memory ends all of the container at once (v2).
    pub oom_group: bool,
    /// µs of CPU a period.
    pub cpu_quota: Option<i64>,
    /// µs.
    pub cpu_period: Option<u64>,
    /// cgroup v1 shares, 2 to 262,144 (v2: converted to a weight).
    pub cpu_shares: Option<u64>,
    /// Such as `0-1,3`.
    pub cpuset_cpus: Option<String>,
    /// Such as `0`.
    pub cpuset_mems: Option<String>,
    /// Tasks; -1 is unlimited.
    pub pids: Option<i64>,
    /// Block devices.
    pub io: Option<Io>,
    /// Device rules in order, the first being deny-all as a rule. `None`: no
    /// device cgroup is joined.
    pub devices: Option<Vec<DeviceRule>>,
}

/// The container's control groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cgroup {
    /// Path beneath each hierarchy's root, without a leading slash, such as
    /// `ardock-0123abcd/k1`; exists already (made by the keeper).
    pub parent: String,
    /// The container's own folder beneath it.
    pub name: String,
    /// The limits.
    pub resources: Resources,
    /// Extra cgroup folders to join, as indices of directory descriptors of
    /// the message (tests; a freezer; a pod's shared memory cgroup).
    pub join: Vec<u32>,
}

/// Capability sets as bit masks (bit N is capability number N).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Bounding set.
    pub bounding: u64,
    /// Effective set.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
    /// Ambient set.
    pub ambient: u64,
}

/// One resource limit (`RLIMIT_*` by number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// Where one standard stream of the program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stream {
    /// `"null"` or `"pipe"`.
    Own(OwnStream),
    /// Descriptor number N of the message.
    Fd(u32),
}

/// The streams that need no descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnStream {
    /// `/dev/null`.
    Null,
    /// A pipe, whose other end is in [`crate::Launched`].
    Pipe,
}

impl Stream {
    /// `/dev/null`.
    pub const NULL: Self = Self::Own(OwnStream::Null);
    /// A pipe.
    pub const PIPE: Self = Self::Own(OwnStream::Pipe);
}

/// The program's standard streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdio {
    /// A terminal on the container's own devpts for all three streams; the
    /// others are then ignored. Rows and columns; (0, 0) leaves the size.
    pub terminal: Option<(u16, u16)>,
    /// Standard input.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
}

/// What every program has, a container's first one and one joined by exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Program and arguments; `argv[0]` without a slash is looked up along
    /// the `PATH` of `env` inside the container.
    pub argv: Vec<ByteBuf>,
    /// `NAME=value` each.
    pub env: Vec<ByteBuf>,
    /// Absolute; made where missing (mode 0755, owned by the user).
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode mask.
    pub umask: u32,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Hash of a seccomp program that the launcher was given before.
    pub seccomp: Option<String>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `/proc/self/oom_score_adj`; `None` leaves the launcher's, which is 0.
    pub oom_score_adj: Option<i32>,
}

/// A container's first program and all that is around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// The program.
    pub process: Process,
    /// Its standard streams.
    pub stdio: Stdio,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Host name; needs a uts namespace that is not the host's.
    pub hostname: Option<String>,
    /// NIS domain name; idem.
    pub domainname: Option<String>,
    /// Root file system.
    pub root: Root,
    /// Kernel file systems.
    pub filesystems: Filesystems,
    /// Device nodes besides Docker's own.
    pub devices: Vec<Device>,
    /// Further mounts, in order.
    pub mounts: Vec<Mount>,
    /// Generated files.
    pub files: Vec<File>,
    /// Paths hidden by an empty file or folder; missing ones are skipped.
    pub masked: Vec<String>,
    /// Paths made read-only; missing ones are skipped.
    pub readonly: Vec<String>,
    /// `net.ipv4.ip_forward` and the like, with their values.
    pub sysctls: Vec<(String, String)>,
    /// Control groups; `None` stays in the launcher's.
    pub cgroup: Option<Cgroup>,
    /// After so many ms the launch is given up and its child killed.
    pub deadline_ms: u32,
}

/// A program to be joined to a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// The program.
    pub process: Process,
    /// Its standard streams.
    pub stdio: Stdio,
    /// After so many ms the exec is given up.
    pub deadline_ms: u32,
}

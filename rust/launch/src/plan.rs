//! From a [`LaunchSpec`] to what the child needs: every string as the kernel
//! takes it, every descriptor as a number, every choice made. All that
//! allocates, parses or can fail for a user's reason happens here.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::cgroup::Prepared;
use crate::error::{LaunchError, Step};
use crate::home::{c_path, Home};
use crate::isolate::Isolated;
use crate::kernel::{Feature, Features};
use crate::launch::Parent;
use crate::overlay::OverlayPlan;
use crate::process::ProcessPlan;
use crate::spec::{Device, LaunchSpec, MountKind, Namespace, OwnNamespace, Scratch, Source};
use crate::sys;

/// A place in the container, to be resolved beneath its root.
#[derive(Debug)]
pub(crate) struct Target {
    /// Without its leading slash.
    pub path: CString,
    /// `a`, `a/b`, `a/b/c` and the last name of each, for making what is
    /// missing.
    pub prefixes: Vec<(CString, CString)>,
}

impl Target {
    /// Cleans an absolute path as Docker does (`.` and `..` by name, before
    /// anything is looked up).
    pub fn new(step: Step, path: &str) -> Result<Self, LaunchError> {
        if !path.starts_with('/') {
            return Err(LaunchError::because(step, format!("{path:?}"), "the path must be absolute"));
        }
        let mut names: Vec<&str> = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        if names.is_empty() {
            return Err(LaunchError::because(step, format!("{path:?}"), "the path must not be the root itself"));
        }
        let mut prefixes = Vec::with_capacity(names.len());
        for end in 1..=names.len() {
            prefixes.push((c_path(step, names[..end].join("/"))?, c_path(step, names[end - 1])?));
        }
        Ok(Self { path: c_path(step, names.join("/"))?, prefixes })
    }
}

/// A layer or single root.
#[derive(Debug)]
pub(crate) enum Tree {
    /// A detached mount.
    Fd(i32),
    /// A path in the launcher's namespace.
    Path(CString),
}

#[derive(Debug)]
pub(crate) enum RootPlan {
    /// The tree itself.
    Plain(Tree),
    /// An overlay of several.
    Overlay(OverlayPlan),
}

#[derive(Debug)]
pub(crate) struct NodePlan {
    pub path: CString,
    /// Folders to be made for it, the outermost first.
    pub folders: Vec<CString>,
    pub mode: u32,
    pub device: u64,
    pub owner: (u32, u32),
}

#[derive(Debug)]
pub(crate) enum PtsPlan {
    None,
    /// Mount a fresh instance.
    Fresh,
    /// The detached instance on which the terminal was opened.
    Tree(i32),
}

/// What /sys/fs/cgroup shows.
#[derive(Debug)]
pub(crate) struct CgroupsPlan {
    /// v1: the folder of the stage that is mounted there.
    pub folder: Option<CString>,
    /// For each hierarchy (v2: the one): source in the launcher's namespace,
    /// its place in that folder, its place in the container.
    pub shown: Vec<(CString, CString, CString)>,
}

#[derive(Debug)]
pub(crate) enum MountPlan {
    Bind { tree: Tree, file: bool },
    Tmpfs { data: CString, flags: u64 },
}

/// Everything between clone and execve.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub failpoint: u32,
    pub keeper: i32,
    pub ignored: &'a [i32],
    pub clone_flags: u64,
    /// The program goes into a pid namespace that exists: it is cloned by the
    /// child, last of all (DESIGN 3.3).
    pub isolated: Option<Isolated>,
    pub joins: Vec<(i32, i32)>,
    pub pid_namespace: Option<i32>,
    pub tasks: Vec<i32>,
    pub cgroup_namespace: bool,
    pub stage: CString,
    pub root: RootPlan,
    pub root_nodev: bool,
    pub root_readonly: bool,
    /// Copies of mounts get their attributes by open_tree_attr(2).
    pub open_tree_attr: bool,
    pub proc: bool,
    pub dev: bool,
    pub core_link: bool,
    pub nodes: Vec<NodePlan>,
    pub pts: PtsPlan,
    pub console: bool,
    pub mqueue: bool,
    pub shm: Option<CString>,
    pub sys: bool,
    pub sys_writable: bool,
    pub cgroups: Option<CgroupsPlan>,
    pub files: Vec<(CString, &'a [u8], Target)>,
    pub mounts: Vec<(Target, MountPlan)>,
    pub sysctls: Vec<(CString, &'a [u8])>,
    pub masked: Vec<CString>,
    pub readonly: Vec<CString>,
    pub hostname: Option<&'a [u8]>,
    pub domainname: Option<&'a [u8]>,
    pub loopback: bool,
    pub process: ProcessPlan<'a>,
}

/// Docker's device nodes.
const NODES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// A node named `name` beneath /dev.
fn node(name: &str, kind: u32, mode: u32, major: u32, minor: u32, owner: (u32, u32)) -> Result<NodePlan, LaunchError> {
    let at = |name: &str| c_path(Step::Dev, format!("/stage/d/{name}"));
    let folders = name.match_indices('/').map(|(end, _)| at(&name[..end])).collect::<Result<_, _>>()?;
    Ok(NodePlan { path: at(name)?, folders, mode: kind | mode, device: libc::makedev(major, minor), owner })
}

fn spec_device(device: &Device) -> Result<NodePlan, LaunchError> {
    let Some(name) = device
        .target
        .strip_prefix("/dev/")
        .filter(|name| !name.is_empty() && !name.split('/').any(|part| part.is_empty() || part == "." || part == ".."))
    else {
        return Err(LaunchError::because(
            Step::Dev,
            format!("device node {:?}", device.target),
            "its path in the container must lie beneath /dev",
        ));
    };
    let kind = match device.kind {
        'b' => libc::S_IFBLK,
        'c' => libc::S_IFCHR,
        'p' => libc::S_IFIFO,
        other => {
            return Err(LaunchError::because(Step::Dev, format!("device type {other:?}"), "it must be b, c or p"));
        }
    };
    node(name, kind, device.mode & 0o7777, device.major, device.minor, (device.uid, device.gid))
}

/// The descriptor with an index of the message's list.
pub(crate) fn descriptor(step: Step, fds: &[OwnedFd], index: u32) -> Result<i32, LaunchError> {
    fds.get(index as usize).map(AsRawFd::as_raw_fd).ok_or_else(|| {
        LaunchError::because(
            step,
            format!("descriptor number {index}"),
            format!("the message carries {} descriptors", fds.len()),
        )
    })
}

fn tree(step: Step, fds: &[OwnedFd], source: &Source) -> Result<Tree, LaunchError> {
    match source {
        Source::Fd(index) => Ok(Tree::Fd(descriptor(step, fds, *index)?)),
        Source::Path(path) if path.starts_with('/') => Ok(Tree::Path(c_path(step, path.as_str())?)),
        Source::Path(path) => Err(LaunchError::because(step, format!("{path:?}"), "the path must be absolute")),
    }
}

/// Namespace choices as clone flags and joins.
struct Namespaces {
    clone_flags: u64,
    joins: Vec<(i32, i32)>,
    pid: Option<i32>,
    cgroup_new: bool,
}

fn namespaces(spec: &LaunchSpec, fds: &[OwnedFd]) -> Result<Namespaces, LaunchError> {
    let choice = &spec.namespaces;
    for (name, namespace) in [("user", choice.user), ("time", choice.time)] {
        if namespace != Namespace::HOST {
            return Err(LaunchError::because(
                Step::Spec,
                format!("{name} namespace"),
                "only the host's is supported so far",
            ));
        }
    }
    if choice.mnt != Namespace::NEW {
        return Err(LaunchError::because(Step::Spec, "mount namespace", "a container needs a new one"));
    }
    let mut out = Namespaces { clone_flags: libc::CLONE_NEWNS as u64, joins: Vec::new(), pid: None, cgroup_new: false };
    let kinds = [
        (choice.pid, libc::CLONE_NEWPID),
        (choice.net, libc::CLONE_NEWNET),
        (choice.ipc, libc::CLONE_NEWIPC),
        (choice.uts, libc::CLONE_NEWUTS),
        (choice.cgroup, libc::CLONE_NEWCGROUP),
    ];
    for (namespace, flag) in kinds {
        match namespace {
            // A cgroup namespace made by clone would have the launcher's own
            // group as its root; the child makes it after it has entered its
            // groups (DESIGN 3.4).
            Namespace::Own(OwnNamespace::New) if flag == libc::CLONE_NEWCGROUP => out.cgroup_new = true,
            Namespace::Own(OwnNamespace::New) => out.clone_flags |= flag as u64,
            Namespace::Own(OwnNamespace::Host) => {}
            Namespace::Join(index) => {
                let fd = descriptor(Step::JoinNamespace, fds, index)?;
                if flag == libc::CLONE_NEWPID {
                    out.pid = Some(fd);
                } else {
                    out.joins.push((fd, flag));
                }
            }
        }
    }
    let own_uts = choice.uts != Namespace::HOST;
    if !own_uts && (spec.hostname.is_some() || spec.domainname.is_some()) {
        return Err(LaunchError::because(
            Step::Hostname,
            spec.hostname.clone().unwrap_or_default(),
            "the host's uts namespace is used; its name is not the container's to change",
        ));
    }
    Ok(out)
}

fn root(kernel: Features, spec: &LaunchSpec, fds: &[OwnedFd]) -> Result<RootPlan, LaunchError> {
    let layers = &spec.root.layers;
    if layers.is_empty() {
        return Err(LaunchError::because(Step::Root, "", "no directory was given for it"));
    }
    if let (Scratch::None, [only]) = (&spec.root.scratch, layers.as_slice()) {
        return tree(Step::Root, fds, only).map(RootPlan::Plain);
    }
    let trees = layers.iter().map(|layer| tree(Step::Root, fds, layer)).collect::<Result<Vec<_>, _>>()?;
    OverlayPlan::new(kernel, trees, &spec.root.scratch).map(RootPlan::Overlay)
}

fn shown(prepared: &Prepared) -> Result<CgroupsPlan, LaunchError> {
    let path = |text: String| c_path(Step::SysCgroup, text);
    let mut plan = CgroupsPlan { folder: None, shown: Vec::new() };
    if prepared.into.is_none() {
        plan.folder = Some(path("/stage/c".to_owned())?);
    }
    for (name, source) in &prepared.shown {
        let (staged, at) = if name.is_empty() {
            (String::new(), "sys/fs/cgroup".to_owned())
        } else {
            (format!("/stage/c/{name}"), format!("sys/fs/cgroup/{name}"))
        };
        plan.shown.push((path(source.clone())?, path(staged)?, path(at)?));
    }
    Ok(plan)
}

/// Whose a kernel parameter is: those beneath these names belong to the
/// namespace, all others to the host (Docker's list, and the uts one of runc).
fn sysctl_namespace(path: &str, choice: &crate::spec::Namespaces) -> Option<Namespace> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if path.starts_with("net/") {
        Some(choice.net)
    } else if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some(choice.ipc)
    } else if ["kernel/domainname", "kernel/hostname"].contains(&path) {
        Some(choice.uts)
    } else {
        None
    }
}

/// A kernel parameter of a namespace of the container's own. The write is
/// made with the launcher's rights, so the host's must be refused here.
fn sysctl(name: &str, choice: &crate::spec::Namespaces) -> Result<CString, LaunchError> {
    let path = sysctl_path(name)?;
    let below = path.to_str().unwrap_or_default().trim_start_matches("sys/");
    match sysctl_namespace(below, choice) {
        Some(namespace) if namespace != Namespace::HOST => Ok(path),
        _ => Err(LaunchError::because(
            Step::Sysctl,
            name,
            "it belongs to the host, not to a namespace of the container's; set it on the host",
        )),
    }
}

/// `net.ipv4.ip_forward` as the path `sys/net/ipv4/ip_forward` beneath /proc;
/// dots in an interface's name can be kept by writing slashes, as sysctl does.
fn sysctl_path(name: &str) -> Result<CString, LaunchError> {
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(LaunchError::because(
            Step::Sysctl,
            format!("{name:?}"),
            "it is not the name of a kernel parameter",
        ));
    }
    c_path(Step::Sysctl, format!("sys/{path}"))
}

impl<'a> Plan<'a> {
    /// Prepares the child's part of a launch. `pts` is the detached devpts
    /// instance of a terminal, `stack` what the child runs on.
    #[allow(clippy::too_many_arguments)] // what the one caller has at hand
    pub fn new(
        home: &'a Home,
        spec: &'a LaunchSpec,
        fds: &[OwnedFd],
        prepared: &Prepared,
        pts: Option<i32>,
        process: ProcessPlan<'a>,
        parent: Parent,
        stack: std::ops::Range<usize>,
    ) -> Result<Self, LaunchError> {
        let namespaces = namespaces(spec, fds)?;
        let filesystems = &spec.filesystems;
        if filesystems.proc && namespaces.pid.is_some() && !home.kernel().has(Feature::ProcPidns) {
            // A procfs shows the pid namespace of who mounts it. The one way
            // on an older kernel is a process in that namespace with the
            // launcher's rights, which the container could take over.
            return Err(LaunchError::because(
                Step::Proc,
                "",
                "this kernel cannot mount a /proc of a pid namespace that is joined (Linux 6.17 can)",
            ));
        }
        let mut nodes = Vec::new();
        if filesystems.dev {
            for (name, major, minor) in NODES {
                nodes.push(node(name, libc::S_IFCHR, 0o666, *major, *minor, (0, 0))?);
            }
            for device in &spec.devices {
                nodes.push(spec_device(device)?);
            }
        } else if !spec.devices.is_empty() {
            return Err(LaunchError::because(
                Step::Dev,
                spec.devices[0].target.clone(),
                "there is no /dev to put it in",
            ));
        }
        // One tmpfs holds /dev, /dev/shm, generated files and, with scratch in
        // memory, what the container writes: its size is the scratch size.
        let size = match spec.root.scratch {
            Scratch::Memory { size } if size > 0 => format!(",size={size}"),
            Scratch::Memory { .. } => String::new(),
            _ => ",size=67108864".to_owned(),
        };
        let mut files = Vec::new();
        for (number, file) in spec.files.iter().enumerate() {
            if file.content.len() > 64 * 1024 {
                return Err(LaunchError::because(Step::File, file.target.clone(), "it is longer than 64 KiB"));
            }
            let at = c_path(Step::File, format!("/stage/f{number}"))?;
            files.push((at, file.content.as_slice(), Target::new(Step::File, &file.target)?));
        }
        let mut mounts = Vec::new();
        for mount in &spec.mounts {
            let plan = match &mount.what {
                MountKind::Bind { source, file } => {
                    MountPlan::Bind { tree: tree(Step::Mount, fds, source)?, file: *file }
                }
                MountKind::Tmpfs { data, flags } => {
                    MountPlan::Tmpfs { data: c_path(Step::Mount, data.as_str())?, flags: *flags }
                }
            };
            mounts.push((Target::new(Step::Mount, &mount.target)?, plan));
        }
        let mut sysctls = Vec::new();
        for (name, value) in &spec.sysctls {
            sysctls.push((sysctl(name, &spec.namespaces)?, value.as_bytes()));
        }
        let relative = |step, paths: &[String]| -> Result<Vec<CString>, LaunchError> {
            paths.iter().map(|path| Target::new(step, path).map(|target| target.path)).collect()
        };
        let devices_enforced = prepared.devices || spec.cgroup.as_ref().is_none_or(|c| c.resources.devices.is_none());
        Ok(Self {
            failpoint: home.failpoint(),
            keeper: home.keeper(),
            ignored: home.ignored(parent),
            clone_flags: namespaces.clone_flags,
            isolated: match namespaces.pid {
                Some(_) => Some(Isolated::new(&process.last(true), stack)?),
                None => None,
            },
            joins: namespaces.joins,
            pid_namespace: namespaces.pid,
            tasks: prepared.tasks.iter().map(AsRawFd::as_raw_fd).collect(),
            cgroup_namespace: namespaces.cgroup_new,
            stage: c_path(Step::Tmpfs, format!("mode=755{size}"))?,
            root: root(home.kernel(), spec, fds)?,
            root_nodev: !devices_enforced,
            root_readonly: spec.root.readonly,
            open_tree_attr: home.kernel().has(Feature::OpenTreeAttr),
            proc: filesystems.proc,
            dev: filesystems.dev,
            core_link: home.has_kcore(),
            nodes,
            pts: match (filesystems.pts, pts) {
                (_, Some(tree)) => PtsPlan::Tree(tree),
                (true, None) => PtsPlan::Fresh,
                (false, None) => PtsPlan::None,
            },
            console: pts.is_some(),
            mqueue: filesystems.mqueue,
            shm: match filesystems.shm_size {
                Some(size) => Some(c_path(Step::Shm, format!("mode=1777,size={size}"))?),
                None => None,
            },
            sys: filesystems.sys,
            sys_writable: filesystems.writable,
            cgroups: if filesystems.cgroup && filesystems.sys { Some(shown(prepared)?) } else { None },
            files,
            mounts,
            sysctls,
            masked: relative(Step::Mask, &spec.masked)?,
            readonly: relative(Step::Readonly, &spec.readonly)?,
            hostname: spec.hostname.as_deref().map(str::as_bytes),
            domainname: spec.domainname.as_deref().map(str::as_bytes),
            loopback: spec.namespaces.net == Namespace::NEW,
            process,
        })
    }

    /// What the child's step was about, for the message to the user.
    pub fn subject(&self, step: Step, index: usize) -> String {
        let shown = |path: &CString| format!("/{}", path.to_string_lossy());
        match step {
            Step::Mount => self.mounts.get(index).map(|(target, _)| shown(&target.path)),
            Step::File => self.files.get(index).map(|(_, _, target)| shown(&target.path)),
            Step::Mask => self.masked.get(index).map(shown),
            Step::Readonly => self.readonly.get(index).map(shown),
            Step::Sysctl => self.sysctls.get(index).map(|(path, value)| {
                let name = path.to_string_lossy().trim_start_matches("sys/").replace('/', ".");
                format!("{name} to {:?}", String::from_utf8_lossy(value))
            }),
            Step::Dev => self.nodes.get(index).map(|node| node.path.to_string_lossy().replace("/stage/d", "/dev")),
            Step::Hostname => self.hostname.map(|name| String::from_utf8_lossy(name).into_owned()),
            Step::SysCgroup => None,
            _ => self.process.subject(step, index),
        }
        .unwrap_or_default()
    }
}

/// A detached devpts instance with a terminal opened on it: (instance,
/// master, slave).
pub(crate) fn open_terminal(size: (u16, u16), uid: u32) -> Result<(OwnedFd, OwnedFd, OwnedFd), LaunchError> {
    let failed = |errno| LaunchError::os(Step::Stdio, "a terminal", errno);
    let fs = sys::owned(sys::fsopen(c"devpts").map_err(failed)?);
    for (key, value) in [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", c"5")] {
        sys::fsconfig_string(fs.as_raw_fd(), key, value).map_err(failed)?;
    }
    sys::fsconfig_create(fs.as_raw_fd()).map_err(failed)?;
    let instance = sys::owned(sys::fsmount(fs.as_raw_fd(), sys::ATTR_NOSUID | sys::ATTR_NOEXEC).map_err(failed)?);
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = sys::owned(sys::openat(instance.as_raw_fd(), c"ptmx", flags, 0).map_err(failed)?);
    let mut unlock: libc::c_int = 0;
    sys::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &mut unlock).map_err(failed)?;
    let peer = sys::ioctl_number(master.as_raw_fd(), libc::TIOCGPTPEER, (flags | libc::O_CLOEXEC) as usize);
    let slave = sys::owned(peer.map_err(failed)?);
    set_size(&master, size).map_err(failed)?;
    if uid != 0 {
        rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None)
            .map_err(|error| failed(error.raw_os_error()))?;
    }
    Ok((instance, master, slave))
}

/// Sets a terminal's size unless it is (0, 0).
pub(crate) fn set_size(master: &OwnedFd, (rows, cols): (u16, u16)) -> Result<(), i32> {
    if (rows, cols) == (0, 0) {
        return Ok(());
    }
    let mut size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    sys::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &mut size).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_cleaned_by_name_and_never_leave_the_root() {
        let target = Target::new(Step::Mount, "/a/./../../b//c/").unwrap();
        assert_eq!(target.path.as_c_str(), c"b/c");
        let prefixes: Vec<_> = target.prefixes.iter().map(|(path, name)| (path.as_c_str(), name.as_c_str())).collect();
        assert_eq!(prefixes, [(c"b", c"b"), (c"b/c", c"c")]);
    }

    #[test]
    fn a_relative_target_and_the_root_itself_are_refused() {
        for bad in ["a", "", "/", "/..", "/a/.."] {
            assert!(Target::new(Step::Mount, bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn sysctl_names_become_paths_beneath_proc_sys() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap().as_c_str(), c"sys/net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.1/forwarding").unwrap().as_c_str(),
            c"sys/net/ipv4/conf/eth0.1/forwarding"
        );
        assert!(sysctl_path("net/../../kcore").is_err());
        assert!(sysctl_path("").is_err());
    }

    #[test]
    fn only_a_namespaces_own_parameters_may_be_set() {
        let mut choice = crate::spec::Namespaces {
            pid: Namespace::NEW,
            net: Namespace::NEW,
            ipc: Namespace::NEW,
            mnt: Namespace::NEW,
            uts: Namespace::NEW,
            cgroup: Namespace::NEW,
            user: Namespace::HOST,
            time: Namespace::HOST,
        };
        for name in ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.domainname"] {
            assert!(sysctl(name, &choice).is_ok(), "{name}");
        }
        for name in ["kernel.panic", "kernel.shm", "vm.swappiness", "fs.file-max", "net", "kernel.sem/../panic"] {
            assert!(sysctl(name, &choice).is_err(), "{name}");
        }
        choice.net = Namespace::HOST;
        assert!(sysctl("net.core.somaxconn", &choice).is_err());
        choice.net = Namespace::Join(0);
        assert!(sysctl("net.core.somaxconn", &choice).is_ok());
    }
}

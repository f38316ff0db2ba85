//! Between clone and execve: system calls only.
//!
//! The child of a launch may share its launcher's memory (`CLONE_VM`), so
//! nothing here allocates, frees, locks, logs, unwinds or runs a destructor
//! that does. Everything it reads was prepared by [`crate::plan`]; all it
//! writes is its [`Slot`]. What it opens is closed by execve or exit.
//!
//! The order is one for all kernels (DESIGN 3.7): in its own copy of the
//! launcher's mount namespace the child attaches the root, mounts the rest on
//! it by descriptor, enters it with pivot_root and lets go of the old root.

use core::ffi::{c_void, CStr};

use crate::error::Step;
use crate::plan::{CgroupsPlan, MountPlan, Plan, PtsPlan, RootPlan, Target, Tree};
use crate::process::{self, Progress};
use crate::slot::Slot;
use crate::sys::{self, MountAttr, OpenHow};

/// `PROC_SUPER_MAGIC`.
const PROC_MAGIC: i64 = 0x9fa0;
const KERNEL_ATTR: u64 = sys::ATTR_NOSUID | sys::ATTR_NODEV | sys::ATTR_NOEXEC;
const KERNEL_FS: u64 = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
/// Where the root is assembled.
const MERGED: &CStr = c"/stage/m";

/// What a child is given.
pub(crate) struct Start<'a> {
    pub plan: &'a Plan<'a>,
    pub slot: &'a Slot,
}

/// A child's way of telling where it stands.
pub(crate) struct Watched<'a> {
    pub slot: &'a Slot,
    pub failpoint: u32,
}

impl Progress for Watched<'_> {
    fn at(&self, step: Step, index: usize) -> Result<(), i32> {
        self.slot.enter(step, index);
        if self.failpoint == step as u32 {
            return Err(libc::EIO);
        }
        Ok(())
    }
}

/// The child's first instruction.
pub(crate) extern "C" fn entry(argument: *mut c_void) -> ! {
    #[allow(unsafe_code)]
    // SAFETY: `launch` passes a `Start` that outlives the child (it waits in
    // clone3 until the child has called execve or ended), and nobody writes it.
    let start = unsafe { &*argument.cast::<Start<'_>>() };
    start.slot.mark(0);
    let progress = Watched { slot: start.slot, failpoint: start.plan.failpoint };
    let errno = match assemble(start.plan, &progress) {
        Err(errno) => errno,
        Ok(()) => match start.plan.isolated.as_ref() {
            Some(isolated) => crate::join::fork_program(isolated, &progress),
            None => process::execute(&start.plan.process.last(false), Some(start.plan.keeper), &progress),
        },
    };
    start.slot.errno.store(errno, core::sync::atomic::Ordering::Relaxed);
    sys::exit(127);
}

/// From the launcher's namespaces to the container's root and rights.
fn assemble(plan: &Plan<'_>, progress: &Watched<'_>) -> Result<(), i32> {
    // What this process was started with is not the program's: handlers are
    // cleared by CLONE_CLEAR_SIGHAND, but ignored stays ignored.
    sys::set_signal_mask(0)?;
    for signal in plan.ignored {
        sys::default_signal(*signal)?;
    }
    process::new_keyring()?;

    for (index, (fd, kind)) in plan.joins.iter().enumerate() {
        progress.at(Step::JoinNamespace, index)?;
        sys::setns(*fd, *kind)?;
    }

    if let Some(namespace) = plan.pid_namespace {
        // For the program, which is cloned last; this process stays outside.
        progress.at(Step::JoinNamespace, plan.joins.len())?;
        sys::setns(namespace, libc::CLONE_NEWPID)?;
    }

    // Memory first: what the mounts below allocate in the kernel is then the
    // container's. cpu last: from there on a small quota may throttle.
    for (index, tasks) in plan.tasks.iter().enumerate() {
        progress.at(Step::JoinCgroup, index)?;
        sys::write(*tasks, b"0")?;
    }
    if plan.cgroup_namespace {
        progress.at(Step::CgroupNamespace, 0)?;
        sys::unshare(libc::CLONE_NEWCGROUP)?;
    }
    process::before_pivot(&plan.process, progress)?;
    progress.slot.mark(1);

    let root = mount_root(plan, progress)?;
    progress.slot.mark(2);

    if plan.proc {
        progress.at(Step::Proc, 0)?;
        mount_proc(plan, root)?;
    }
    if plan.sys {
        progress.at(Step::Sys, 0)?;
        let flags = if plan.sys_writable { KERNEL_FS } else { KERNEL_FS | libc::MS_RDONLY };
        enter_folder(root, c"sys")?;
        sys::mount(c"sysfs", c".", c"sysfs", flags, None)?;
    }
    if let Some(cgroups) = &plan.cgroups {
        progress.at(Step::SysCgroup, 0)?;
        show_cgroups(plan, cgroups, root)?;
    }
    if plan.dev {
        make_dev(plan, root, progress)?;
    }
    if plan.hostname.is_some() || plan.domainname.is_some() {
        progress.at(Step::Hostname, 0)?;
        if let Some(name) = plan.hostname {
            sys::sethostname(name)?;
        }
        if let Some(name) = plan.domainname {
            sys::setdomainname(name)?;
        }
    }
    for (index, (staged, content, target)) in plan.files.iter().enumerate() {
        progress.at(Step::File, index)?;
        provide_file(root, staged, content, target)?;
    }
    for (index, (target, what)) in plan.mounts.iter().enumerate() {
        progress.at(Step::Mount, index)?;
        mount_one(root, target, what)?;
    }
    if plan.loopback {
        progress.at(Step::Loopback, 0)?;
        loopback_up()?;
    }
    if !plan.sysctls.is_empty() {
        set_sysctls(plan, root, progress)?;
    }
    for (index, path) in plan.readonly.iter().enumerate() {
        progress.at(Step::Readonly, index)?;
        make_readonly(plan, root, path)?;
    }
    for (index, path) in plan.masked.iter().enumerate() {
        progress.at(Step::Mask, index)?;
        mask(root, path)?;
    }
    if plan.root_readonly {
        progress.at(Step::Readonly, plan.readonly.len())?;
        let attr = MountAttr { set: sys::ATTR_RDONLY, ..MountAttr::default() };
        sys::mount_setattr(root, c"", sys::AT_EMPTY, &attr)?;
    }

    // The new root is also where the old one is put; the old one lies on top
    // of it then and is taken away. Nobody's mount table but this one changes.
    progress.at(Step::Pivot, 0)?;
    sys::fchdir(root)?;
    sys::pivot_root(c".", c".")?;
    sys::umount2(c".", libc::MNT_DETACH)?;
    sys::chdir(c"/")?;
    progress.slot.mark(3);

    // A working directory that is missing is made, as Docker does.
    if let Some(cwd) = plan.process.missing_cwd() {
        progress.at(Step::Cwd, 1)?;
        make_cwd(root, cwd, plan.process.owner())?;
    }
    process::become_program(&plan.process, root, plan.isolated.is_none(), progress)?;
    progress.slot.mark(4);
    Ok(())
}

/// Beneath the container's root, whatever links its image holds.
fn beneath(root: i32, path: &CStr, flags: i32) -> Result<i32, i32> {
    let how = OpenHow {
        flags: (flags | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS,
    };
    sys::openat2(root, path, &how).map(|fd| fd as i32)
}

/// A folder right beneath the root, made where missing. A link in its place
/// is refused (ELOOP), anything else too (ENOTDIR).
fn folder(root: i32, name: &CStr) -> Result<i32, i32> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    match beneath(root, name, flags) {
        Err(libc::ENOENT) => {
            sys::mkdirat(root, name, 0o755)?;
            beneath(root, name, flags)
        }
        other => other,
    }
}

fn enter_folder(root: i32, name: &CStr) -> Result<(), i32> {
    let fd = folder(root, name)?;
    sys::fchdir(fd)?;
    sys::close(fd).map(|_| ())
}

/// The target of a mount; what is missing of it is made, its last name as a
/// file or a folder.
fn open_target(root: i32, target: &Target, file: bool) -> Result<i32, i32> {
    match beneath(root, &target.path, libc::O_PATH) {
        Err(libc::ENOENT) => {}
        other => return other,
    }
    let mut parent = root;
    for (index, (prefix, name)) in target.prefixes.iter().enumerate() {
        let last = index + 1 == target.prefixes.len();
        let found = match beneath(root, prefix, libc::O_PATH) {
            Err(libc::ENOENT) => {
                // Neither call follows a link at the last name, so what is
                // made is beneath `parent`; a dangling link stays ENOENT.
                if last && file {
                    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW;
                    match sys::openat(parent, name, flags, 0o644) {
                        Ok(fd) => sys::close(fd as i32)?,
                        Err(libc::EEXIST) => return Err(libc::ENOENT),
                        Err(errno) => return Err(errno),
                    };
                } else {
                    match sys::mkdirat(parent, name, 0o755) {
                        Ok(_) => {}
                        Err(libc::EEXIST) => return Err(libc::ENOENT),
                        Err(errno) => return Err(errno),
                    }
                }
                beneath(root, prefix, libc::O_PATH)?
            }
            other => other?,
        };
        if parent != root {
            sys::close(parent)?;
        }
        parent = found;
    }
    Ok(parent)
}

/// Makes the missing folders of a working directory; the last one is the
/// user's, as with Docker.
fn make_cwd(root: i32, cwd: &Target, (uid, gid): (u32, u32)) -> Result<(), i32> {
    match beneath(root, &cwd.path, libc::O_PATH) {
        Err(libc::ENOENT) => {}
        Err(errno) => return Err(errno),
        Ok(fd) => return sys::close(fd).map(|_| ()),
    }
    let fd = open_target(root, cwd, false)?;
    sys::fchownat_empty(fd, uid, gid)?;
    sys::close(fd).map(|_| ())
}

/// Attaches a detached mount onto an open place and closes both.
fn attach_and_close(tree: i32, place: i32) -> Result<(), i32> {
    sys::attach(tree, place, c"")?;
    sys::close(tree)?;
    sys::close(place).map(|_| ())
}

/// The container's tmpfs at /stage, and on it the root. Returns the root.
fn mount_root(plan: &Plan<'_>, progress: &Watched<'_>) -> Result<i32, i32> {
    progress.at(Step::Tmpfs, 0)?;
    let flags = libc::MS_NOSUID | libc::MS_STRICTATIME;
    sys::mount(c"tmpfs", c"/stage", c"tmpfs", flags, Some(&plan.stage))?;
    progress.at(Step::Root, 0)?;
    sys::mkdirat(libc::AT_FDCWD, MERGED, 0o755)?;
    match &plan.root {
        RootPlan::Plain(Tree::Fd(fd)) => {
            sys::attach(*fd, libc::AT_FDCWD, MERGED)?;
        }
        RootPlan::Plain(Tree::Path(path)) => {
            let tree = sys::clone_tree(libc::AT_FDCWD, path, 0)? as i32;
            sys::attach(tree, libc::AT_FDCWD, MERGED)?;
            sys::close(tree)?;
        }
        RootPlan::Overlay(overlay) => overlay.mount(MERGED, progress)?,
    }
    let root = sys::above_streams(sys::openat(libc::AT_FDCWD, MERGED, libc::O_PATH | libc::O_DIRECTORY, 0)?)?;
    if plan.root_nodev {
        let attr = MountAttr { set: sys::ATTR_NODEV, ..MountAttr::default() };
        sys::mount_setattr(root, c"", sys::AT_EMPTY, &attr)?;
    }
    Ok(root)
}

fn mount_proc(plan: &Plan<'_>, root: i32) -> Result<(), i32> {
    if let Some(namespace) = plan.pid_namespace {
        // A procfs shows the pid namespace of who mounts it, and this process
        // is not in the one it joins (only its children will be). Since 6.17
        // the namespace can be named; on others the plan was refused.
        let fs = sys::fsopen(c"proc")? as i32;
        sys::fsconfig_fd(fs, c"pidns", namespace)?;
        sys::fsconfig_create(fs)?;
        let tree = sys::fsmount(fs, sys::ATTR_NOSUID | sys::ATTR_NODEV | sys::ATTR_NOEXEC)? as i32;
        sys::close(fs)?;
        return attach_and_close(tree, folder(root, c"proc")?);
    }
    enter_folder(root, c"proc")?;
    sys::mount(c"proc", c".", c"proc", KERNEL_FS, None).map(|_| ())
}

/// /sys/fs/cgroup: on v1 a read-only folder of the container's tmpfs with one
/// mount for each hierarchy that limits it, on v2 its one group. They are
/// copies of the launcher's mounts: a mount of the cgroup file system itself
/// would be a superblock for each namespace and hierarchy (DESIGN 3.8).
fn show_cgroups(plan: &Plan<'_>, cgroups: &CgroupsPlan, root: i32) -> Result<(), i32> {
    let writable = if plan.sys_writable { 0 } else { sys::ATTR_RDONLY };
    let attr = MountAttr { set: KERNEL_ATTR | writable, ..MountAttr::default() };
    if let Some(folder) = &cgroups.folder {
        sys::mkdirat(libc::AT_FDCWD, folder, 0o755)?;
        for (_, staged, _) in &cgroups.shown {
            sys::mkdirat(libc::AT_FDCWD, staged, 0o755)?;
        }
        bind(plan, folder, root, c"sys/fs/cgroup", &attr)?;
    }
    for (from, _, at) in &cgroups.shown {
        bind(plan, from, root, at, &attr)?;
    }
    Ok(())
}

/// A detached copy of a mount, with these attributes: in one call where the
/// kernel can (2 % of a bind).
fn copy_mount(plan: &Plan<'_>, dir: i32, path: &CStr, flags: usize, attr: &MountAttr) -> Result<i32, i32> {
    if plan.open_tree_attr {
        return sys::clone_tree_attr(dir, path, flags, attr).map(|tree| tree as i32);
    }
    let tree = sys::clone_tree(dir, path, flags)? as i32;
    sys::mount_setattr(tree, c"", sys::AT_EMPTY | flags & sys::AT_RECURSIVE, attr)?;
    Ok(tree)
}

/// A copy of a mount of the launcher's onto a path that only the kernel and
/// this launch have made.
fn bind(plan: &Plan<'_>, from: &CStr, root: i32, at: &CStr, attr: &MountAttr) -> Result<(), i32> {
    let tree = copy_mount(plan, libc::AT_FDCWD, from, 0, attr)?;
    sys::attach(tree, root, at)?;
    sys::close(tree).map(|_| ())
}

/// /dev: a folder of the container's tmpfs with Docker's nodes and links,
/// /dev/shm, /dev/pts, /dev/mqueue.
fn make_dev(plan: &Plan<'_>, root: i32, progress: &Watched<'_>) -> Result<(), i32> {
    const HERE: i32 = libc::AT_FDCWD;
    progress.at(Step::Dev, usize::MAX)?;
    sys::mkdirat(HERE, c"/stage/d", 0o755)?;
    for (index, node) in plan.nodes.iter().enumerate() {
        progress.at(Step::Dev, index)?;
        for folder in &node.folders {
            match sys::mkdirat(HERE, folder, 0o755) {
                Ok(_) | Err(libc::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        sys::mknodat(HERE, &node.path, node.mode, node.device)?;
        if node.owner != (0, 0) {
            sys::lchownat(HERE, &node.path, node.owner.0, node.owner.1)?;
        }
    }
    progress.at(Step::Dev, usize::MAX)?;
    sys::symlinkat(c"/proc/self/fd", HERE, c"/stage/d/fd")?;
    sys::symlinkat(c"/proc/self/fd/0", HERE, c"/stage/d/stdin")?;
    sys::symlinkat(c"/proc/self/fd/1", HERE, c"/stage/d/stdout")?;
    sys::symlinkat(c"/proc/self/fd/2", HERE, c"/stage/d/stderr")?;
    if plan.core_link {
        sys::symlinkat(c"/proc/kcore", HERE, c"/stage/d/core")?;
    }
    sys::symlinkat(c"pts/ptmx", HERE, c"/stage/d/ptmx")?;
    sys::mkdirat(HERE, c"/stage/d/shm", 0o1777)?;
    if !matches!(plan.pts, PtsPlan::None) {
        sys::mkdirat(HERE, c"/stage/d/pts", 0o755)?;
    }
    if plan.mqueue {
        sys::mkdirat(HERE, c"/stage/d/mqueue", 0o755)?;
    }
    if plan.console {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
        sys::close(sys::openat(HERE, c"/stage/d/console", flags, 0o600)? as i32)?;
    }
    let dev = sys::clone_tree(HERE, c"/stage/d", 0)? as i32;
    attach_and_close(dev, folder(root, c"dev")?)?;

    progress.at(Step::Shm, 0)?;
    match &plan.shm {
        // The same tmpfs with flags of its own (DESIGN 3.8).
        None => {
            let attr = MountAttr { set: KERNEL_ATTR, ..MountAttr::default() };
            bind(plan, c"/stage/d/shm", root, c"dev/shm", &attr)?;
        }
        Some(data) => {
            enter(root, c"dev/shm")?;
            sys::mount(c"shm", c".", c"tmpfs", KERNEL_FS, Some(data))?;
        }
    }
    match plan.pts {
        PtsPlan::None => {}
        PtsPlan::Fresh => {
            progress.at(Step::Pts, 0)?;
            enter(root, c"dev/pts")?;
            let data = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
            sys::mount(c"devpts", c".", c"devpts", libc::MS_NOSUID | libc::MS_NOEXEC, Some(data))?;
        }
        PtsPlan::Tree(tree) => {
            progress.at(Step::Pts, 0)?;
            sys::attach(tree, root, c"dev/pts")?;
            if plan.console {
                let slave = beneath(root, c"dev/pts/0", libc::O_PATH)?;
                let tree = sys::clone_tree(slave, c"", sys::AT_EMPTY)? as i32;
                sys::close(slave)?;
                sys::attach(tree, root, c"dev/console")?;
                sys::close(tree)?;
            }
        }
    }
    if plan.mqueue {
        progress.at(Step::Mqueue, 0)?;
        enter(root, c"dev/mqueue")?;
        sys::mount(c"mqueue", c".", c"mqueue", KERNEL_FS, None)?;
    }
    Ok(())
}

/// Makes a path of this launch's own making the current directory.
fn enter(root: i32, path: &CStr) -> Result<(), i32> {
    let fd = beneath(root, path, libc::O_PATH | libc::O_DIRECTORY)?;
    sys::fchdir(fd)?;
    sys::close(fd).map(|_| ())
}

fn provide_file(root: i32, staged: &CStr, content: &[u8], target: &Target) -> Result<(), i32> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let fd = sys::openat(libc::AT_FDCWD, staged, flags, 0o644)? as i32;
    let mut rest = content;
    while !rest.is_empty() {
        let written = sys::write(fd, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    sys::close(fd)?;
    let place = open_target(root, target, true)?;
    let tree = sys::clone_tree(libc::AT_FDCWD, staged, 0)? as i32;
    attach_and_close(tree, place)
}

fn mount_one(root: i32, target: &Target, what: &MountPlan) -> Result<(), i32> {
    match what {
        MountPlan::Bind { tree, file } => {
            let place = open_target(root, target, *file)?;
            let (tree, ours) = match tree {
                Tree::Fd(fd) => (*fd, false),
                Tree::Path(path) => (sys::clone_tree(libc::AT_FDCWD, path, 0)? as i32, true),
            };
            sys::attach(tree, place, c"")?;
            if ours {
                sys::close(tree)?;
            }
            sys::close(place).map(|_| ())
        }
        MountPlan::Tmpfs { data, flags } => {
            let place = open_target(root, target, false)?;
            sys::fchdir(place)?;
            sys::close(place)?;
            sys::mount(c"tmpfs", c".", c"tmpfs", *flags, Some(data)).map(|_| ())
        }
    }
}

/// `ip link set lo up`, in one ioctl.
fn loopback_up() -> Result<(), i32> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM)? as i32;
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&(libc::IFF_UP as u16).to_ne_bytes());
    sys::ioctl(socket, libc::SIOCSIFFLAGS, &mut request)?;
    sys::close(socket).map(|_| ())
}

/// Kernel parameters, through the container's own procfs, which is checked to
/// be one: an image must not be able to have another file written
/// (CVE-2019-16884, CVE-2025-52881).
fn set_sysctls(plan: &Plan<'_>, root: i32, progress: &Watched<'_>) -> Result<(), i32> {
    let proc = beneath(root, c"proc", libc::O_PATH | libc::O_DIRECTORY)?;
    if sys::fs_type_of(proc)? != PROC_MAGIC {
        return Err(libc::EXDEV);
    }
    for (index, (path, value)) in plan.sysctls.iter().enumerate() {
        progress.at(Step::Sysctl, index)?;
        let fd = beneath(proc, path, libc::O_WRONLY)?;
        if sys::fs_type_of(fd)? != PROC_MAGIC {
            return Err(libc::EXDEV);
        }
        sys::write(fd, value)?;
        sys::close(fd)?;
    }
    sys::close(proc).map(|_| ())
}

fn make_readonly(plan: &Plan<'_>, root: i32, path: &CStr) -> Result<(), i32> {
    let place = match beneath(root, path, libc::O_PATH) {
        Err(libc::ENOENT) => return Ok(()),
        other => other?,
    };
    let attr = MountAttr { set: sys::ATTR_RDONLY, ..MountAttr::default() };
    let tree = copy_mount(plan, place, c"", sys::AT_EMPTY | sys::AT_RECURSIVE, &attr)?;
    attach_and_close(tree, place)
}

/// Hides a path behind an empty file or folder of the launcher's, never of
/// the image's (CVE-2025-31133).
fn mask(root: i32, path: &CStr) -> Result<(), i32> {
    let place = match beneath(root, path, libc::O_PATH) {
        Err(libc::ENOENT) => return Ok(()),
        other => other?,
    };
    let folder = sys::mode_of(place)? & libc::S_IFMT == libc::S_IFDIR;
    let tree = match sys::clone_tree(libc::AT_FDCWD, if folder { c"/empty/dir" } else { c"/empty/file" }, 0) {
        Err(libc::ENOENT) => own_empty(folder)?,
        other => other? as i32,
    };
    attach_and_close(tree, place)
}

/// An empty file or folder of the container's own tmpfs, where the kernel has
/// no overlay and the launcher none that stays read-only. With CAP_SYS_ADMIN a
/// container may make it writable; what it then writes, it alone sees.
fn own_empty(folder: bool) -> Result<i32, i32> {
    const HERE: i32 = libc::AT_FDCWD;
    let at = if folder { c"/stage/empty-dir" } else { c"/stage/empty-file" };
    let made = if folder {
        sys::mkdirat(HERE, at, 0o555)
    } else {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        sys::openat(HERE, at, flags, 0o444).and_then(|fd| sys::close(fd as i32))
    };
    match made {
        Ok(_) | Err(libc::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let tree = sys::clone_tree(HERE, at, 0)? as i32;
    let attr = MountAttr { set: sys::ATTR_RDONLY | KERNEL_ATTR, ..MountAttr::default() };
    sys::mount_setattr(tree, c"", sys::AT_EMPTY, &attr)?;
    Ok(tree)
}

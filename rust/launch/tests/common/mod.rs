//! What the launch tests share: a root file system of busybox, a home in the
//! test's own thread, a spec as a flagless run has it.
#![allow(dead_code, missing_docs)]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ardock_launch::*;
use serde_bytes::ByteBuf;

/// A folder that goes with its value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ardock-launch-{}-{name}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Why these tests cannot run here, if they cannot.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("no /bin/busybox (Debian: busybox-static)");
    }
    None
}

/// Skips a test visibly where it cannot run.
#[macro_export]
macro_rules! needs_root {
    () => {
        if let Some(reason) = common::missing() {
            eprintln!("SKIPPED: {reason}");
            return;
        }
    };
}

pub fn busybox_root(folder: &Path) -> PathBuf {
    let root = folder.join("rootfs");
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in ["sh", "true", "false", "cat", "echo", "sleep", "id", "mknod", "dd", "ls", "stat", "hostname", "mount", "grep", "ip", "touch", "mkdir", "head", "tr", "kill", "sync", "od", "readlink", "wc", "test", "env", "tail", "seq"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
    root
}

pub const DOCKER_CAPS: u64 = 0xa804_25fb;

pub fn process(argv: &[&str]) -> Process {
    Process {
        argv: argv.iter().map(|word| ByteBuf::from(word.as_bytes())).collect(),
        env: vec![ByteBuf::from("PATH=/usr/bin:/bin")],
        cwd: "/".into(),
        uid: 0,
        gid: 0,
        groups: vec![],
        umask: 0o022,
        capabilities: Capabilities {
            bounding: DOCKER_CAPS,
            effective: DOCKER_CAPS,
            permitted: DOCKER_CAPS,
            inheritable: 0,
            ambient: 0,
        },
        seccomp: None,
        no_new_privileges: false,
        apparmor: None,
        rlimits: vec![],
        oom_score_adj: None,
    }
}

pub fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    DeviceRule { allow, kind, major, minor, access: "rwm".into() }
}

/// A spec as a flagless run has it, output piped, root number 0 of the
/// message's descriptors.
pub fn spec(name: &str, argv: &[&str]) -> LaunchSpec {
    LaunchSpec {
        process: process(argv),
        stdio: Stdio { terminal: None, stdin: Stream::NULL, stdout: Stream::PIPE, stderr: Stream::PIPE },
        namespaces: Namespaces {
            pid: Namespace::NEW,
            net: Namespace::NEW,
            ipc: Namespace::NEW,
            mnt: Namespace::NEW,
            uts: Namespace::NEW,
            cgroup: Namespace::NEW,
            user: Namespace::HOST,
            time: Namespace::HOST,
        },
        hostname: Some("box".into()),
        domainname: None,
        root: Root { layers: vec![Source::Fd(0)], scratch: Scratch::Memory { size: 64 << 20 }, readonly: false },
        filesystems: Filesystems {
            proc: true,
            dev: true,
            pts: true,
            mqueue: true,
            sys: true,
            cgroup: true,
            shm_size: None,
            writable: false,
        },
        devices: vec![],
        mounts: vec![],
        files: vec![
            File { target: "/etc/hosts".into(), content: ByteBuf::from("127.0.0.1\tlocalhost\n") },
            File { target: "/etc/hostname".into(), content: ByteBuf::from("box\n") },
            File { target: "/etc/resolv.conf".into(), content: ByteBuf::from("nameserver 192.0.2.1\n") },
        ],
        masked: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"].map(String::from).to_vec(),
        readonly: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(String::from).to_vec(),
        sysctls: vec![],
        cgroup: Some(Cgroup {
            parent: format!("ardock-test{:x}", std::process::id()),
            name: name.into(),
            resources: Resources {
                memory: Some(64 << 20),
                cpu_shares: Some(1024),
                pids: Some(64),
                devices: Some(vec![
                    rule(false, 'a', None, None),
                    DeviceRule { access: "m".into(), ..rule(true, 'c', None, None) },
                    DeviceRule { access: "m".into(), ..rule(true, 'b', None, None) },
                    rule(true, 'c', Some(1), Some(3)),
                    rule(true, 'c', Some(1), Some(5)),
                    rule(true, 'c', Some(5), Some(0)),
                    rule(true, 'c', Some(5), Some(2)),
                    rule(true, 'c', Some(136), None),
                ]),
                ..Resources::default()
            },
            join: vec![],
        }),
        deadline_ms: 10_000,
    }
}

/// A thread of its own for launching, as the extension has it. Dropping it
/// removes the control group's parent.
pub struct Bench {
    pub folder: Folder,
    pub rootfs: PathBuf,
    pub home: Home,
    pub programs: Programs,
    pub slots: Slots,
    parent: String,
}

impl Bench {
    /// Takes the calling test's thread into a home.
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let rootfs = busybox_root(&folder.0);
        Self::with(folder, rootfs)
    }

    pub fn with(folder: Folder, rootfs: PathBuf) -> Self {
        let home = Home::enter(&HomeConfig { store: Some(folder.0.clone()) }).unwrap();
        let parent = format!("ardock-test{:x}", std::process::id());
        home.cgroups().make_parent(&parent).unwrap();
        Self { folder, rootfs, home, programs: Programs::default(), slots: Slots::map(1).unwrap(), parent }
    }

    pub fn launch(&self, spec: &LaunchSpec, fds: &[OwnedFd]) -> Result<Launched, Failure> {
        launch(&self.home, &self.programs, spec, fds, &self.slots[0], Parent::Caller)
    }
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub oom: u64,
}

/// Reads both streams, waits, cleans.
pub fn finish(bench: &Bench, spec: &LaunchSpec, launched: Launched) -> Ended {
    let read = |fd: Option<OwnedFd>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(fd) = fd {
                let _ = std::fs::File::from(fd).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let (out, err) = (read(launched.stdout), read(launched.stderr));
    let code = wait(launched.pid);
    drop(launched.mount_ns);
    let oom = spec.cgroup.as_ref().map_or(0, |group| bench.home.cgroups().oom_kills(&group.parent, &group.name));
    clean(&bench.home, spec).unwrap();
    Ended { code, stdout: out.join().unwrap(), stderr: err.join().unwrap(), oom }
}

/// Exit code, 128 + signal for a signal.
pub fn wait(pid: i32) -> i32 {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let status = rustix::process::waitid(rustix::process::WaitId::Pid(pid), rustix::process::WaitIdOptions::EXITED)
        .unwrap()
        .unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}

pub fn root_fd(rootfs: &Path) -> OwnedFd {
    host::open_root(rootfs).unwrap()
}

//! What the launch tests share: a root file system of busybox, a home in a
//! thread of the test's own, a spec as a flagless run has it.
#![allow(dead_code, clippy::wildcard_imports)]

pub mod look;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ardock_launch::*;
use serde_bytes::ByteBuf;

/// A number that this process has not used yet.
pub fn fresh() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A folder that goes with its value.
#[derive(Debug)]
pub struct Folder(pub PathBuf, Option<std::thread::JoinHandle<()>>, Option<mpsc::Sender<()>>);

impl Folder {
    pub fn new() -> Self {
        let name = format!("ardock-launch-{}-{}", std::process::id(), fresh());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        // From a home the path does not resolve: a thread stays outside.
        let (gone, wait) = mpsc::channel::<()>();
        let host = path.clone();
        let janitor = std::thread::spawn(move || {
            let _ = wait.recv();
            let _ = std::fs::remove_dir_all(&host);
        });
        Self(path, Some(janitor), Some(gone))
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

/// Runs a test in a thread of its own (a home takes its thread for ever) and
/// with a time limit.
pub fn alone(test: impl FnOnce() + Send + 'static) {
    alone_for(Duration::from_secs(60), test);
}

pub fn alone_for(limit: Duration, test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        let _ = done.send(());
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let limit = limit * patience();
    assert!(wait.recv_timeout(limit).is_ok(), "the test has not ended after {limit:?}");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// How many times as long as usual a test may take: an emulated machine is slow.
fn patience() -> u32 {
    if std::env::var_os("ARDOCK_VM").is_some() {
        10
    } else {
        1
    }
}

/// A small root file system with every applet of busybox.
pub fn busybox_root(folder: &Path) -> PathBuf {
    let root = folder.join("rootfs");
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "mnt"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for name in String::from_utf8(list).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
    root
}

pub const DOCKER_CAPS: u64 = 0xa804_25fb;
pub const SYS_PTRACE: u64 = 1 << 19;
pub const SYS_ADMIN: u64 = 1 << 21;

pub fn words(argv: &[&str]) -> Vec<ByteBuf> {
    argv.iter().map(|word| ByteBuf::from(word.as_bytes())).collect()
}

pub fn process(argv: &[&str]) -> Process {
    Process {
        argv: words(argv),
        env: vec![ByteBuf::from("PATH=/usr/bin:/bin")],
        cwd: "/".into(),
        uid: 0,
        gid: 0,
        groups: vec![],
        umask: 0o022,
        capabilities: caps(DOCKER_CAPS),
        seccomp: None,
        no_new_privileges: false,
        apparmor: None,
        rlimits: vec![],
        oom_score_adj: None,
    }
}

/// These capabilities in all sets but the inheritable and the ambient one.
pub fn caps(set: u64) -> Capabilities {
    Capabilities { bounding: set, effective: set, permitted: set, inheritable: 0, ambient: 0 }
}

pub fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    DeviceRule { allow, kind, major, minor, access: "rwm".into() }
}

/// Docker's device rules.
pub fn device_rules() -> Vec<DeviceRule> {
    let nodes = |kind| DeviceRule { access: "m".into(), ..rule(true, kind, None, None) };
    let mut rules = vec![rule(false, 'a', None, None), nodes('c'), nodes('b')];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(rule(true, 'c', Some(major), Some(minor)));
    }
    rules.push(rule(true, 'c', Some(136), None));
    rules
}

/// A home in the calling thread, with its own control group parent and with
/// the root file system at /roots/1. The test's folder is /store in it.
pub struct Bench {
    pub folder: Folder,
    pub rootfs: PathBuf,
    pub home: Home,
    pub programs: Programs,
    pub slots: Slots,
    pub parent: String,
    /// What `host` has opened.
    pub fds: Vec<OwnedFd>,
}

impl Bench {
    /// Takes the calling thread into a home.
    pub fn new() -> Self {
        Self::prepare(|_, _| vec![])
    }

    /// The same; `host` runs before, in the host's mount namespace, with the
    /// test's folder and the root file system in it.
    pub fn prepare(host: impl FnOnce(&Path, &Path) -> Vec<OwnedFd>) -> Self {
        Self::without(Features::default(), host)
    }

    /// As [`Self::prepare`], on a kernel without some of what it has.
    pub fn without(absent: Features, host: impl FnOnce(&Path, &Path) -> Vec<OwnedFd>) -> Self {
        let folder = Folder::new();
        let rootfs = busybox_root(&folder.0);
        let fds = host(&folder.0, &rootfs);
        Self::on_kernel(absent, folder, rootfs, fds)
    }

    /// The same with a root file system that is there.
    pub fn on(folder: Folder, rootfs: PathBuf, fds: Vec<OwnedFd>) -> Self {
        Self::on_kernel(Features::default(), folder, rootfs, fds)
    }

    /// The same on a kernel without some of what it has.
    pub fn on_kernel(absent: Features, folder: Folder, rootfs: PathBuf, fds: Vec<OwnedFd>) -> Self {
        let root = host::open_root(&rootfs).unwrap();
        let home = Home::enter(&HomeConfig { store: Some(folder.0.clone()), absent }).unwrap();
        home.add_root(1, root.as_fd()).unwrap();
        let parent = format!("ardock-test{:x}-{}/k1", std::process::id(), fresh());
        home.cgroups().make_parent(&parent).unwrap();
        Self { folder, rootfs, home, programs: Programs::default(), slots: Slots::map(1).unwrap(), parent, fds }
    }

    /// A spec as a flagless run has it, output piped.
    pub fn spec(&self, argv: &[&str]) -> LaunchSpec {
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
            root: Root {
                layers: vec![Source::Path("/roots/1".into())],
                scratch: Scratch::Memory { size: 64 << 20 },
                readonly: false,
            },
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
            masked: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]
                .map(String::from)
                .to_vec(),
            readonly: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(String::from)
                .to_vec(),
            sysctls: vec![],
            cgroup: Some(Cgroup {
                parent: self.parent.clone(),
                name: format!("c{}", fresh()),
                resources: Resources {
                    memory: Some(64 << 20),
                    cpu_shares: Some(1024),
                    pids: Some(64),
                    devices: Some(device_rules()),
                    ..Resources::default()
                },
                join: vec![],
            }),
            deadline_ms: 10_000,
        }
    }

    /// A flagless shell.
    pub fn shell(&self, script: &str) -> LaunchSpec {
        self.spec(&["sh", "-c", script])
    }

    pub fn try_launch(&self, spec: &LaunchSpec, fds: &[OwnedFd]) -> Result<Launched, Failure> {
        launch(&self.home, &self.programs, spec, fds, &self.slots[0], Parent::Caller)
    }

    /// Starts a container that goes when the value goes.
    pub fn start(&self, spec: &LaunchSpec) -> Container<'_> {
        match self.try_launch(spec, &self.fds) {
            Ok(launched) => Container { bench: self, spec: spec.clone(), launched, code: None },
            Err(failure) => panic!("{}", failure.error),
        }
    }

    /// Runs a container to its end.
    pub fn run(&self, spec: &LaunchSpec) -> Ended {
        self.start(spec).finish()
    }

    /// A flagless shell's standard output; nothing may come on the other.
    pub fn output(&self, script: &str) -> String {
        let ended = self.run(&self.shell(script));
        assert_eq!(ended.stderr, "");
        ended.stdout
    }

    /// The error of a launch that must fail and leave nothing.
    pub fn refused(&self, spec: &LaunchSpec) -> LaunchError {
        match self.try_launch(spec, &self.fds) {
            Ok(launched) => {
                let ended = Container { bench: self, spec: spec.clone(), launched, code: None }.finish();
                panic!("it was launched: {ended:?}")
            }
            Err(failure) => {
                assert_eq!((failure.pid, failure.helper), (None, None), "left to be reaped");
                failure.error
            }
        }
    }

    /// Compiles Docker's policy and gives it to the launcher.
    pub fn docker_seccomp(&mut self, caps: u64) -> String {
        let profile = seccomp::Profile::docker_default();
        let program = seccomp::compile(profile, caps, seccomp::host_kernel()).unwrap();
        self.programs.insert(program.hash(), program.as_bytes()).unwrap();
        program.hash().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What a failed test has left running holds its groups.
        for name in self.home.cgroups().children(&self.parent) {
            let _ = self.home.cgroups().kill(&self.parent, &name);
        }
        let top = self.parent.split('/').next().unwrap();
        let _ = self.home.cgroups().remove_parent(&self.parent);
        let _ = self.home.cgroups().remove_parent(top);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.2.take());
        let _ = self.1.take().map(std::thread::JoinHandle::join);
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

impl Ended {
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// A running container, killed when the value goes.
pub struct Container<'a> {
    pub bench: &'a Bench,
    pub spec: LaunchSpec,
    pub launched: Launched,
    code: Option<i32>,
}

impl Container<'_> {
    /// Reads both streams, waits, cleans.
    pub fn finish(mut self) -> Ended {
        drop(self.launched.stdin.take());
        let read = |fd: Option<OwnedFd>| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                if let Some(fd) = fd {
                    let _ = std::fs::File::from(fd).read_to_end(&mut text);
                }
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let (out, err) = (read(self.launched.stdout.take()), read(self.launched.stderr.take()));
        let (code, oom) = self.end();
        Ended { code, stdout: out.join().unwrap(), stderr: err.join().unwrap(), oom }
    }

    /// Waits for the program's end and cleans.
    fn end(&mut self) -> (i32, u64) {
        let code = wait(self.launched.pid);
        self.code = Some(code);
        drop(self.launched.mount_ns.take());
        let groups = self.bench.home.cgroups();
        let oom = self.spec.cgroup.as_ref().map_or(0, |group| groups.oom_kills(&group.parent, &group.name));
        clean_soon(&self.bench.home, &self.spec);
        (code, oom)
    }

    /// A line of its output.
    pub fn line(&mut self) -> String {
        let out = self.launched.stdout.as_ref().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while rustix::io::read(out, &mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// A line for its input.
    pub fn tell(&self, line: &str) {
        rustix::io::write(self.launched.stdin.as_ref().unwrap(), format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.launched.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// Somebody else has waited for it and cleaned behind it.
    pub fn collected(mut self) {
        self.code = Some(-1);
    }

    /// Joins a program to it.
    pub fn try_exec(&self, spec: &ExecSpec) -> Result<Launched, Failure> {
        let pid = rustix::process::Pid::from_raw(self.launched.pid).unwrap();
        let target = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let group = self.spec.cgroup.as_ref().map(|group| (group.parent.as_str(), group.name.as_str()));
        let bench = self.bench;
        exec(&bench.home, &bench.programs, spec, target.as_fd(), group, &bench.fds, &bench.slots[0], Parent::Caller)
    }

    /// Joins a program to it and waits for its end.
    pub fn exec(&self, spec: &ExecSpec) -> Ended {
        let mut launched = self.try_exec(spec).unwrap_or_else(|failure| panic!("{}", failure.error));
        let read = |fd: Option<OwnedFd>| {
            let mut text = String::new();
            if let Some(fd) = fd {
                let _ = std::fs::File::from(fd).read_to_string(&mut text);
            }
            text
        };
        let (stdout, stderr) = (read(launched.stdout.take()), read(launched.stderr.take()));
        Ended { code: wait(launched.pid), stdout, stderr, oom: 0 }
    }

    /// What a shell joined to it writes.
    pub fn exec_output(&self, script: &str) -> String {
        let ended = self.exec(&exec_spec(&["sh", "-c", script]));
        assert_eq!(ended.stderr, "");
        ended.stdout
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.code.is_none() {
            self.kill();
            self.end();
        }
    }
}

/// A program to be joined, output piped.
pub fn exec_spec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        process: process(argv),
        stdio: Stdio { terminal: None, stdin: Stream::NULL, stdout: Stream::PIPE, stderr: Stream::PIPE },
        deadline_ms: 10_000,
    }
}

/// As a keeper does: again while a process that is just ending holds it.
pub fn clean_soon(home: &Home, spec: &LaunchSpec) {
    if let Some(group) = &spec.cgroup {
        home.cgroups().remove_patiently(&group.parent, &group.name, Duration::from_secs(5)).unwrap();
    }
    clean(home, spec).unwrap();
}

/// Exit code, 128 + signal for a signal.
pub fn wait(pid: i32) -> i32 {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let status = rustix::process::waitid(rustix::process::WaitId::Pid(pid), rustix::process::WaitIdOptions::EXITED)
        .unwrap()
        .unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}

/// Everything that comes on a descriptor until `text` has come.
pub fn read_until(fd: &OwnedFd, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains(text) {
        let mut poll = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut poll, Some(&limit)).unwrap();
        assert_ne!(ready, 0, "{text:?} does not come; only {seen:?}");
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) | Err(_) => panic!("it ended before {text:?} came; only {seen:?}"),
            Ok(n) => seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
        }
    }
    seen
}

pub fn write_all(fd: &OwnedFd, text: &str) {
    std::fs::File::from(fd.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
}

//! What the keeper's tests share: a keeper of their own in folders of its own,
//! a blocking client, a spec as a flagless run has it.
#![allow(dead_code, missing_docs, clippy::missing_panics_doc, clippy::must_use_candidate)]

pub mod frozen;

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ardock_keeper::client::Client;
use ardock_keeper::message::{Exit, Fds, Output, Reply, Request, Started, VERSION};
use ardock_keeper::spawn::{spawn, Binary, Spawn};
use ardock_launch::seccomp;
use ardock_launch::{
    host, Capabilities, Cgroup, DeviceRule, ExecSpec, Filesystems, LaunchSpec, Namespace, Namespaces, Process,
    Resources, Root, Scratch, Source, Stdio, Stream,
};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use serde_bytes::ByteBuf;

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Why these tests can not run here, if they can not.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("no /bin/busybox (Debian: busybox-static)");
    }
    None
}

/// Skips a test visibly where it can not run.
#[macro_export]
macro_rules! needs_root {
    () => {
        if let Some(reason) = common::missing() {
            eprintln!("SKIPPED: {reason}");
            return;
        }
    };
}

/// Capabilities that Docker gives.
pub const DOCKER_CAPS: u64 = 0xa804_25fb;

pub fn process(argv: &[&str]) -> Process {
    let caps = DOCKER_CAPS;
    Process {
        argv: argv.iter().map(|word| ByteBuf::from(word.as_bytes())).collect(),
        env: vec![ByteBuf::from("PATH=/usr/bin:/bin")],
        cwd: "/".into(),
        uid: 0,
        gid: 0,
        groups: vec![],
        umask: 0o022,
        capabilities: Capabilities { bounding: caps, effective: caps, permitted: caps, inheritable: 0, ambient: 0 },
        seccomp: None,
        no_new_privileges: false,
        apparmor: None,
        rlimits: vec![],
        oom_score_adj: None,
    }
}

pub fn stdio(stream: Stream) -> Stdio {
    Stdio { terminal: None, stdin: Stream::NULL, stdout: stream, stderr: stream }
}

pub fn exec_spec(argv: &[&str]) -> ExecSpec {
    ExecSpec { process: process(argv), stdio: stdio(Stream::PIPE), deadline_ms: 10_000 }
}

fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
    DeviceRule { allow, kind, major, minor, access: access.into() }
}

/// A keeper and all that is its own. Dropping it ends the keeper and removes
/// what it left.
pub struct Bench {
    pub folder: PathBuf,
    pub engine: String,
    pub run: PathBuf,
    pub pid: i32,
}

impl Bench {
    /// Starts a keeper from `binary`.
    pub fn start(binary: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let engine = format!("{:08x}", std::process::id() << 10 | NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("ardock-keeper-{engine}"));
        let run = folder.join("run");
        fs::create_dir_all(&run).unwrap();
        fs::create_dir_all(folder.join("root/scratch/k1")).unwrap();
        fs::create_dir_all(folder.join("root/logs")).unwrap();
        let rootfs = folder.join("rootfs");
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in ["sh", "true", "cat", "echo", "sleep", "dd", "seq", "head", "kill", "stty", "tail", "yes"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        let mut bench = Self { folder, engine, run, pid: 0 };
        bench.spawn(binary);
        bench
    }

    fn spawn(&mut self, binary: &Path) {
        spawn(&Spawn {
            binary: Binary::File(binary),
            engine: &self.engine,
            number: 1,
            root: self.folder.join("root"),
            run: self.run.clone(),
            patience: PATIENCE,
            restricted: true,
            absent: ardock_launch::Features::default(),
        })
        .unwrap();
        self.pid = self.connect().keeper;
    }

    /// A new connection that has said hello.
    pub fn connect(&self) -> Engine {
        let mut engine = self.connect_raw();
        engine.send(&[Request::Hello { version: VERSION }], &[]);
        match engine.next() {
            Reply::Welcome { pid, version: VERSION, .. } => engine.keeper = pid,
            other => panic!("{other:?}"),
        }
        engine
    }

    pub fn connect_raw(&self) -> Engine {
        Engine { client: Client::connect(&self.run).unwrap(), replies: VecDeque::new(), keeper: 0, next_req: 0 }
    }

    /// A detached mount of the test's own root file system.
    pub fn root(&self) -> OwnedFd {
        host::open_root(&self.folder.join("rootfs")).unwrap()
    }

    /// A spec as a flagless run has it; its root is `/roots/1`.
    pub fn spec(&self, id: &str, argv: &[&str]) -> LaunchSpec {
        LaunchSpec {
            process: process(argv),
            stdio: stdio(Stream::PIPE),
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
            files: vec![],
            masked: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]
                .map(String::from)
                .to_vec(),
            readonly: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(String::from)
                .to_vec(),
            sysctls: vec![],
            cgroup: Some(Cgroup {
                parent: format!("ardock-{}/k1", self.engine),
                name: id.into(),
                resources: Resources {
                    memory: Some(64 << 20),
                    cpu_quota: Some(100_000),
                    cpu_period: Some(100_000),
                    pids: Some(64),
                    devices: Some(vec![
                        rule(false, 'a', None, None, "rwm"),
                        rule(true, 'c', None, None, "m"),
                        rule(true, 'b', None, None, "m"),
                        rule(true, 'c', Some(1), Some(3), "rwm"),
                        rule(true, 'c', Some(1), Some(5), "rwm"),
                        rule(true, 'c', Some(5), None, "rwm"),
                        rule(true, 'c', Some(136), None, "rwm"),
                    ]),
                    ..Resources::default()
                },
                join: vec![],
            }),
            deadline_ms: 10_000,
        }
    }

    /// The containers' control group in the memory hierarchy, or in the only one.
    pub fn cgroup(&self) -> PathBuf {
        let parent = format!("ardock-{}/k1", self.engine);
        let v1 = Path::new("/sys/fs/cgroup/memory").join(&parent);
        if v1.exists() {
            v1
        } else {
            Path::new("/sys/fs/cgroup").join(&parent)
        }
    }

    /// Waits for something.
    #[allow(clippy::unused_self)] // reads well at the place of use
    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a container's control group is removed.
    pub fn gone(&self, id: &str) {
        let folder = self.cgroup().join(id);
        self.until("the control group's end", || !folder.exists());
    }

    /// Whether the keeper's process is there.
    pub fn lives(&self) -> bool {
        ardock_keeper::boot::is_alive(&self.run).unwrap()
    }

    pub fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        self.until("the keeper's death", || !self.lives());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.lives() {
            self.kill();
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let own = hierarchy.path().join(format!("ardock-{}", self.engine));
            for _ in 0..200 {
                remove_cgroup(&own);
                if !own.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let own = Path::new("/sys/fs/cgroup").join(format!("ardock-{}", self.engine));
        remove_cgroup(&own);
        for entry in fs::read_dir("/dev/shm").unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("ardock-{}-", self.engine)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn remove_cgroup(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// A blocking engine's end of a connection.
pub struct Engine {
    pub client: Client,
    pub replies: VecDeque<(Reply, Vec<OwnedFd>)>,
    pub keeper: i32,
    next_req: u64,
}

pub fn encode(requests: &[Request]) -> Vec<u8> {
    rmp_serde::to_vec_named(requests).unwrap()
}

pub fn time(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

impl Engine {
    pub fn req(&mut self) -> u64 {
        self.next_req += 1;
        self.next_req
    }

    pub fn send(&mut self, requests: &[Request], fds: &[BorrowedFd<'_>]) {
        self.send_bytes(&encode(requests), fds);
    }

    pub fn send_bytes(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        while let Err(error) = self.client.send(bytes, fds) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
            self.wait(PollFlags::OUT | PollFlags::IN, PATIENCE);
            self.take();
        }
    }

    pub fn wait(&self, flags: PollFlags, patience: Duration) -> bool {
        poll(&mut [PollFd::from_borrowed_fd(self.client.fd(), flags)], Some(&time(patience))).unwrap() > 0
    }

    /// Takes what is there.
    pub fn take(&mut self) -> usize {
        let packets = self.client.receive(64).unwrap();
        let count = packets.len();
        for (bytes, fds) in packets {
            let replies: Vec<Reply> = rmp_serde::from_slice(&bytes).unwrap();
            let mut fds: Vec<Option<OwnedFd>> = fds.into_iter().map(Some).collect();
            for reply in replies {
                let share = match &reply {
                    Reply::Started { fds, .. } | Reply::Ended { fds, .. } | Reply::Attached { fds, .. } => *fds,
                    _ => Fds(0, 0),
                };
                let own = fds[share.0 as usize..(share.0 + share.1) as usize].iter_mut().map(|fd| fd.take().unwrap());
                self.replies.push_back((reply, own.collect()));
            }
            assert!(fds.iter().all(Option::is_none), "descriptors that no message has");
        }
        count
    }

    pub fn next_with_fds(&mut self) -> (Reply, Vec<OwnedFd>) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(next) = self.replies.pop_front() {
                return next;
            }
            assert!(self.wait(PollFlags::IN, end.saturating_duration_since(Instant::now())), "no reply in time");
            self.take();
        }
    }

    pub fn next(&mut self) -> Reply {
        self.next_with_fds().0
    }

    /// Gives the keeper the root and the default seccomp program; its hash.
    pub fn prepare(&mut self, bench: &Bench) -> String {
        let program =
            seccomp::compile(seccomp::Profile::docker_default(), DOCKER_CAPS, seccomp::host_kernel()).unwrap();
        let root = bench.root();
        let hash = program.hash().to_string();
        let requests = [
            Request::Program { hash: hash.clone(), code: ByteBuf::from(program.as_bytes().to_vec()) },
            Request::Root { key: 1, fds: Fds(0, 1) },
        ];
        self.send(&requests, &[root.as_fd()]);
        hash
    }

    pub fn launch(&mut self, id: &str, spec: &LaunchSpec, output: Output) -> u64 {
        let req = self.req();
        let launch = launch(req, id, spec, output);
        self.send(&[launch], &[]);
        req
    }

    /// The next reply, which is a start.
    pub fn started(&mut self, id: &str) -> Started {
        match self.next() {
            Reply::Started { id: other, started, .. } if other == id => started,
            other => panic!("{other:?}"),
        }
    }

    /// The end of a container, whether or not its start comes first.
    pub fn ended(&mut self, id: &str) -> Exit {
        loop {
            match self.next() {
                Reply::Started { id: other, .. } if other == id => {}
                Reply::Ended { id: other, exit, .. } if other == id => return exit,
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn ack(&mut self, id: &str, exec: Option<&str>) {
        self.send(&[Request::Ack { ids: vec![(id.into(), exec.map(Into::into))] }], &[]);
    }

    /// All entries of a list. What else is told between them is kept for later.
    pub fn list(&mut self) -> Vec<Reply> {
        let req = self.req();
        self.send(&[Request::List { req }], &[]);
        let (mut entries, mut others) = (Vec::new(), Vec::new());
        loop {
            match self.next_with_fds() {
                (Reply::Done { req: other }, _) if other == req => break,
                (entry @ Reply::Entry { .. }, _) => entries.push(entry),
                other => others.push(other),
            }
        }
        for other in others.into_iter().rev() {
            self.replies.push_front(other);
        }
        entries
    }

    /// A counter of `info`.
    pub fn counter(&mut self, name: &str) -> u64 {
        let req = self.req();
        self.send(&[Request::Info { req }], &[]);
        match self.next() {
            Reply::Info { counters, .. } => counters.iter().find(|(known, _)| known == name).unwrap().1,
            other => panic!("{other:?}"),
        }
    }
}

pub fn launch(req: u64, id: &str, spec: &LaunchSpec, output: Output) -> Request {
    Request::Launch {
        req,
        id: id.into(),
        spec: Box::new(spec.clone()),
        output,
        blob: ByteBuf::from(format!("blob of {id}").into_bytes()),
        fds: Fds(0, 0),
        hold_ms: 0,
        watch_oom: false,
    }
}

pub fn capture() -> Output {
    Output { capture: Some(1 << 20), ..Output::default() }
}

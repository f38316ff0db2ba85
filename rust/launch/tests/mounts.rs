//! Bind mounts and tmpfs mounts of the spec.
#[allow(missing_docs)]
mod common;

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use ardock_launch::host::{open_bind, BindOptions, Propagation};
use ardock_launch::*;
use common::*;

fn bind(target: &str, fd: u32, file: bool) -> Mount {
    Mount { target: target.into(), what: MountKind::Bind { source: Source::Fd(fd), file } }
}

fn tmpfs(target: &str, data: &str) -> Mount {
    Mount { target: target.into(), what: MountKind::Tmpfs { data: data.into(), flags: libc::MS_NOSUID } }
}

/// A folder with a file in it, to be bound.
fn data(folder: &Path) -> PathBuf {
    let path = folder.join("data");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("file"), "host\n").unwrap();
    path
}

/// A bench whose descriptor 0 is that folder.
fn with_data(options: BindOptions) -> Bench {
    Bench::prepare(|folder, _| vec![open_bind(&data(folder), options).unwrap().0])
}

#[test]
fn a_bind_mount_is_the_hosts_folder_and_read_only_where_asked() {
    needs_root!();
    for readonly in [false, true] {
        alone(move || {
            let bench = with_data(BindOptions { readonly, recursive: true, ..BindOptions::default() });
            let mut spec = bench.shell("cat /mnt/file; echo new > /mnt/new; echo $?");
            spec.mounts.push(bind("/mnt", 0, false));
            let ended = bench.run(&spec);
            assert_eq!(ended.lines(), ["host", if readonly { "1" } else { "0" }], "{ended:?}");
            assert_eq!(Path::new("/store/data/new").exists(), !readonly);
        });
    }
}

#[test]
fn a_bind_mounts_options_are_those_asked_for() {
    needs_root!();
    alone(|| {
        let bench = with_data(BindOptions { nosuid: true, nodev: true, noexec: true, ..BindOptions::default() });
        let mut spec = bench.shell("grep ' /mnt ' /proc/mounts");
        spec.mounts.push(bind("/mnt", 0, false));
        let out = bench.run(&spec).stdout;
        assert!(out.contains("rw,nosuid,nodev,noexec"), "{out}");
    });
}

#[test]
fn a_file_is_bound_onto_a_file_that_is_made_where_missing() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|folder, _| {
            let path = data(folder).join("file");
            let one = || {
                let (fd, file) = open_bind(&path, BindOptions::default()).unwrap();
                assert!(file);
                fd
            };
            vec![one(), one(), one()]
        });
        let mut spec = bench.shell("cat /etc/passwd /new/folder/name");
        spec.mounts = vec![bind("/etc/passwd", 0, true), bind("/new/folder/name", 1, true)];
        let ended = bench.run(&spec);
        assert_eq!(ended.stdout, "host\nhost\n", "{ended:?}");
        spec.mounts = vec![bind("/mnt", 2, true)];
        let error = bench.refused(&spec);
        assert!(error.step == Step::Mount && error.to_string().contains("both be folders or both be files"), "{error}");
    });
}

/// A thread with a mount namespace of its own, in which `folder` is a tmpfs
/// of the given propagation: the host's table stays as it is.
struct HostSide {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl HostSide {
    fn new() -> Self {
        let (work, jobs) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || {
            #[allow(unsafe_code)]
            // SAFETY: takes this thread alone into namespaces of its own.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS) };
            assert_eq!(unshared, 0);
            let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            for job in jobs {
                job();
            }
        });
        Self { work }
    }

    fn on<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, wait) = mpsc::channel();
        self.work
            .send(Box::new(move || {
                let _ = done.send(job());
            }))
            .unwrap();
        wait.recv().unwrap()
    }

    fn tmpfs(&self, path: PathBuf) {
        self.on(move || {
            std::fs::create_dir_all(&path).unwrap();
            rustix::mount::mount("t", &path, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            std::fs::write(path.join("here"), "").unwrap();
        });
    }

    /// A shared tmpfs at `path` with another one at `path`/sub.
    fn shared(&self, path: &Path) {
        self.tmpfs(path.to_owned());
        let at = path.to_owned();
        self.on(move || rustix::mount::mount_change(at, rustix::mount::MountPropagationFlags::SHARED).unwrap());
        self.tmpfs(path.join("sub"));
    }

    fn open(&self, path: &Path, options: BindOptions) -> OwnedFd {
        let path = path.to_owned();
        self.on(move || open_bind(&path, options).unwrap().0)
    }
}

#[test]
fn mounts_beneath_a_bind_mount_come_along_only_when_asked() {
    needs_root!();
    alone(|| {
        let side = HostSide::new();
        let bench = Bench::prepare(|folder, _| {
            let path = folder.join("shared");
            side.shared(&path);
            let with = |recursive, readonly_recursive| {
                let readonly = readonly_recursive;
                side.open(&path, BindOptions { recursive, readonly, readonly_recursive, ..BindOptions::default() })
            };
            vec![with(false, false), with(true, false), with(true, true)]
        });
        let look = |number: u32| {
            let mut spec = bench.shell("ls /mnt/sub; touch /mnt/sub/new 2>/dev/null && echo written");
            spec.mounts.push(bind("/mnt", number, false));
            bench.run(&spec).stdout
        };
        assert_eq!(look(0), "written\n");
        assert_eq!(look(1), "here\nwritten\n");
        assert_eq!(look(2), "here\nnew\n", "a recursively read-only mount was written to");
    });
}

#[test]
fn propagation_goes_the_way_that_was_asked_for() {
    needs_root!();
    for propagation in [Propagation::Private, Propagation::Slave, Propagation::Shared] {
        alone(move || {
            let side = HostSide::new();
            let mut path = PathBuf::new();
            let bench = Bench::prepare(|folder, _| {
                path = folder.join("shared");
                side.shared(&path);
                vec![side.open(&path, BindOptions { recursive: true, propagation, ..BindOptions::default() })]
            });
            let mut spec = bench.shell(
                "mkdir /mnt/inner; mount -t tmpfs t /mnt/inner; touch /mnt/inner/inside; echo up; read line; \
                 ls /mnt/late; read line",
            );
            spec.process.capabilities = caps(DOCKER_CAPS | SYS_ADMIN);
            spec.stdio.stdin = Stream::PIPE;
            spec.mounts.push(bind("/mnt", 0, false));
            let mut running = bench.start(&spec);
            assert_eq!(running.line(), "up");
            let inner = path.join("inner/inside");
            let outwards = side.on(move || inner.exists());
            side.tmpfs(path.join("late"));
            running.tell("look");
            drop(running.launched.stdin.take());
            let ended = running.finish();
            let inwards = ended.stdout == "here\n";
            let expected = match propagation {
                Propagation::Private => (false, false),
                Propagation::Slave => (true, false),
                Propagation::Shared => (true, true),
            };
            assert_eq!((inwards, outwards), expected, "{propagation:?}: {ended:?}");
            assert!(!look::host_mounts().iter().any(|line| line.contains("/shared")), "it reached the host's table");
        });
    }
}

#[test]
fn a_source_must_be_absolute_there_and_no_magic_link() {
    needs_root!();
    let folder = Folder::new();
    let path = data(&folder.0);
    let opened = std::fs::File::open(&path).unwrap();
    let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
    let cases = [
        (PathBuf::from("relative"), "must be an absolute path"),
        (path.join("missing"), "must exist"),
        (PathBuf::from(magic), "symbolic link"),
    ];
    for (path, words) in cases {
        let error = open_bind(&path, BindOptions::default()).unwrap_err();
        assert!(error.step == Step::Mount && error.to_string().contains(words), "{error}");
    }
    symlink(&path, folder.0.join("link")).unwrap();
    assert!(open_bind(&folder.0.join("link"), BindOptions::default()).is_ok());
}

#[test]
fn a_tmpfs_has_its_size_mode_and_flags() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "stat -c %a /run; grep ' /run ' /proc/mounts; dd if=/dev/zero of=/run/x bs=4k count=100 2>/dev/null; stat -c %s /run/x",
        );
        spec.mounts = vec![tmpfs("/run", "size=64k,mode=750")];
        let ended = bench.run(&spec);
        let lines = ended.lines();
        assert!(lines[0] == "750" && lines[1].contains("rw,nosuid") && lines[2] == "65536", "{ended:?}");
        spec.mounts = vec![tmpfs("/run", "size=lots")];
        let error = bench.refused(&spec);
        assert!(error.step == Step::Mount && error.subject == "/run", "{error}");
    });
}

#[test]
fn targets_stay_beneath_the_root_whatever_links_there_are() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::fs::create_dir(rootfs.join("real")).unwrap();
            symlink("/real", rootfs.join("absolute")).unwrap();
            symlink("../../../../real", rootfs.join("escaping")).unwrap();
            symlink("/proc/self/root/real", rootfs.join("magic")).unwrap();
            symlink("/nowhere", rootfs.join("dangling")).unwrap();
            symlink("dangling/more", rootfs.join("chain")).unwrap();
            vec![]
        });
        for (target, place) in [
            ("/absolute", "/real"),
            ("/escaping", "/real"),
            ("/escaping/deep/er", "/real/deep/er"),
            ("/../../real", "/real"),
            ("/mnt/../real/.", "/real"),
            ("/mnt/a/b", "/mnt/a/b"),
        ] {
            let mut spec = bench.shell("cut -d' ' -f2,3 /proc/mounts | grep tmpfs");
            spec.mounts = vec![tmpfs(target, "size=4k")];
            let ended = bench.run(&spec);
            assert!(ended.stdout.contains(&format!("{place} tmpfs\n")), "{target}: {ended:?}");
        }
        for target in ["/dangling", "/dangling/x", "/chain", "/magic", "/etc/passwd/x"] {
            let mut spec = bench.spec(&["true"]);
            spec.mounts = vec![tmpfs(target, "size=4k")];
            let error = bench.refused(&spec);
            assert!(
                error.step == Step::Mount && error.subject == target && !error.hint.is_empty(),
                "{target}: {error}"
            );
        }
        for path in ["/store/rootfs/nowhere", "/store/nowhere", "/nowhere", "/real"] {
            assert!(!Path::new(path).exists(), "{path} was made");
        }
        for target in ["relative", "", "/", "/mnt/.."] {
            let mut spec = bench.spec(&["true"]);
            spec.mounts = vec![tmpfs(target, "size=4k")];
            assert_eq!(bench.refused(&spec).step, Step::Mount, "{target:?}");
        }
    });
}

#[test]
fn a_missing_target_in_a_read_only_root_is_explained() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("grep -c ' /missing ' /proc/mounts");
        spec.root.readonly = true;
        spec.mounts = vec![tmpfs("/missing", "size=4k")];
        // An overlay takes it in its upper, before the root is made read-only.
        assert_eq!(bench.run(&spec).stdout, "1\n");
    });
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            let options = BindOptions { readonly: true, ..BindOptions::default() };
            vec![open_bind(rootfs, options).unwrap().0]
        });
        let mut spec = bench.spec(&["true"]);
        spec.root = Root { layers: vec![Source::Fd(0)], scratch: Scratch::None, readonly: true };
        spec.mounts = vec![tmpfs("/missing", "size=4k")];
        let error = bench.refused(&spec);
        assert!(error.to_string().contains("the target is missing and the root file system is read-only"), "{error}");
    });
}

#[test]
fn generated_files_are_writable_and_replace_the_images() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::fs::write(rootfs.join("etc/hosts"), "image").unwrap();
            symlink("/run/systemd/resolve/stub-resolv.conf", rootfs.join("etc/resolv.conf")).unwrap();
            std::fs::create_dir_all(rootfs.join("run/systemd/resolve")).unwrap();
            std::fs::write(rootfs.join("run/systemd/resolve/stub-resolv.conf"), "image").unwrap();
            vec![]
        });
        let ended = bench.run(&bench.shell(
            "cat /etc/hosts /etc/resolv.conf; echo more >> /etc/hosts; tail -n1 /etc/hosts; stat -c '%a %u' /etc/hosts",
        ));
        assert_eq!(ended.lines(), ["127.0.0.1\tlocalhost", "nameserver 192.0.2.1", "more", "644 0"], "{ended:?}");
        assert_eq!(std::fs::read_to_string("/store/rootfs/etc/hosts").unwrap(), "image");
        let mut spec = bench.spec(&["true"]);
        spec.files[0].content = vec![b'x'; 64 * 1024 + 1].into();
        assert!(bench.refused(&spec).to_string().contains("longer than 64 KiB"));
    });
}

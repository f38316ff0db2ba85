//! The program itself: how it is found, where it starts, its limits.
#[allow(missing_docs)]
mod common;

use std::os::unix::fs::PermissionsExt;

use ardock_launch::*;
use common::*;

fn executable(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_name_is_looked_up_along_the_path_of_its_own_environment() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            for name in ["one", "two"] {
                std::fs::create_dir(rootfs.join(name)).unwrap();
            }
            executable(&rootfs.join("two/hello"), "#!/bin/sh\necho two \"$@\"\n");
            // Found first, and cannot be run: the search goes on.
            std::fs::write(rootfs.join("one/hello"), "").unwrap();
            vec![]
        });
        let mut spec = bench.spec(&["hello", "a b", ""]);
        spec.process.env = words(&["X=1", "PATH=/none:/one:/two", "PATH=/bin"]);
        assert_eq!(bench.run(&spec).stdout, "two a b \n");
        spec.process.argv = words(&["env"]);
        spec.process.env = words(&["A=1", "B=", "C"]);
        assert_eq!(bench.run(&spec).stdout, "A=1\nB=\nC\n", "without PATH, Docker's is searched");
    });
}

#[test]
fn what_cannot_be_run_gives_127_or_126_and_says_why() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::fs::write(rootfs.join("bin/plain"), "#!/bin/sh\n").unwrap();
            executable(&rootfs.join("bin/text"), "echo no first line\n");
            executable(&rootfs.join("bin/orphan"), "#!/no/such/interpreter\n");
            vec![]
        });
        let cases: [(&str, u8, &str); 10] = [
            ("nonsense", 127, "no such program"),
            ("/no/such", 127, "no such program"),
            ("/etc/passwd/x", 127, "\"/etc/passwd/x\""),
            ("/bin/orphan", 127, "interpreter it names is missing"),
            ("", 127, "the command is empty"),
            ("plain", 126, "Permission denied"),
            ("/bin/plain", 126, "Permission denied"),
            ("/bin", 126, "Permission denied"),
            ("/bin/text", 126, "begins with #!"),
            ("/etc", 126, "\"/etc\""),
        ];
        let sleeper = bench.start(&bench.spec(&["sleep", "60"]));
        for (command, code, words) in cases {
            let error = bench.refused(&bench.spec(&[command]));
            assert!(error.exit_code == code && error.to_string().contains(words), "{command}: {error:?}");
            let failure = sleeper.try_exec(&exec_spec(&[command])).unwrap_err();
            let error = failure.error;
            assert!(error.exit_code == code && error.to_string().contains(words), "exec {command}: {error:?}");
            assert_eq!((failure.pid, failure.helper), (None, None));
        }
    });
}

#[test]
fn argument_and_environment_too_long_are_refused_with_their_length() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let long = "x".repeat(128 * 1024);
        let mut spec = bench.spec(&["true", &long]);
        let error = bench.refused(&spec);
        assert!(error.step == Step::Spec && error.to_string().contains("131072 bytes long"), "{error}");
        spec.process.argv = words(&["true"]);
        spec.process.env = words(&[&long]);
        assert!(bench.refused(&spec).to_string().contains("environment entry"));
        spec.process.env = vec![words(&[&long[..100_000]])[0].clone(); 80];
        assert!(bench.refused(&spec).to_string().contains("bytes together"));
        // Fewer bytes than that, and still more than the stack limit allows.
        spec.process.env.truncate(50);
        spec.process.rlimits = vec![Rlimit { resource: libc::RLIMIT_STACK, soft: 1 << 20, hard: 1 << 20 }];
        let error = bench.refused(&spec);
        assert!(error.exit_code == 126 && error.to_string().contains("too long together"), "{error}");
        spec.process.env = words(&[&long[..120_000], "PATH=/bin"]);
        assert_eq!(bench.run(&spec).code, 0);
        spec.process.argv = vec![b"a\0b".to_vec().into()];
        assert!(bench.refused(&spec).to_string().contains("NUL"));
        spec.process.argv = vec![];
        assert!(bench.refused(&spec).to_string().contains("no command"));
    });
}

#[test]
fn its_working_directory_is_made_for_its_user_and_never_outside() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::os::unix::fs::symlink("/proc/self/fd/3", rootfs.join("magic")).unwrap();
            std::os::unix::fs::symlink("../../tmp", rootfs.join("link")).unwrap();
            std::os::unix::fs::symlink("/gone", rootfs.join("dangling")).unwrap();
            vec![]
        });
        let mut spec = bench.shell("pwd; stat -c '%u:%g %a' . ..");
        (spec.process.uid, spec.process.gid) = (33, 34);
        spec.process.cwd = "/a/b".into();
        let ended = bench.run(&spec);
        assert_eq!(ended.lines(), ["/a/b", "33:34 755", "0:0 755"], "{ended:?}");
        spec.process.cwd = "/link".into();
        assert_eq!(bench.run(&spec).lines()[0], "/tmp");
        // CVE-2024-21626: through a descriptor of the launcher's.
        let numbers = (3..30).map(|number| format!("/proc/self/fd/{number}"));
        for cwd in numbers.chain(["/magic".into(), "/proc/self/cwd".into(), "/proc/1/root".into(), "/dangling".into()])
        {
            spec.process.cwd = cwd.clone();
            let error = bench.refused(&spec);
            assert!(error.step == Step::Cwd && error.subject == cwd, "{cwd}: {error}");
        }
        spec.process.cwd = "/etc/passwd".into();
        assert!(bench.refused(&spec).to_string().contains("it is not a folder"));
        spec.process.cwd = "relative".into();
        assert!(bench.refused(&spec).to_string().contains("must be absolute"));
        spec.process.cwd = "/missing".into();
        spec.root.readonly = true;
        let error = bench.refused(&spec);
        assert!(error.step == Step::Cwd && error.to_string().contains("Read-only"), "{error}");
    });
}

#[test]
fn resource_limits_are_set_and_wrong_ones_named() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let limit = |resource, soft, hard| Rlimit { resource, soft, hard };
        let mut spec = bench.spec(&["cat", "/proc/self/limits"]);
        spec.process.rlimits = vec![limit(libc::RLIMIT_NOFILE, 100, 200), limit(libc::RLIMIT_CORE, 0, 0)];
        let out = bench.run(&spec).stdout;
        let line = |name: &str| {
            let line = out.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().map(String::from).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("Max open files"), "Max open files 100 200 files");
        assert_eq!(line("Max core file size"), "Max core file size 0 0 bytes");
        spec.process.rlimits = vec![limit(libc::RLIMIT_NOFILE, 300, 200)];
        let error = bench.refused(&spec);
        assert_eq!(error.step, Step::Rlimit);
        assert!(error.to_string().contains("nofile to 300:200"), "{error}");
        spec.process.rlimits = vec![limit(99, 1, 1)];
        assert_eq!(bench.refused(&spec).step, Step::Rlimit);
        // The test itself stays as it was.
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert!(!own.contains("  100  "), "{own}");
    });
}

#[test]
fn kernel_parameters_are_set_in_its_own_namespaces_and_the_hosts_refused() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec =
            bench.shell("cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax fs/mqueue/msg_max kernel/domainname");
        let set = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        spec.sysctls = set(&[
            ("net.ipv4.ip_forward", "1"),
            ("kernel.msgmax", "65000"),
            ("fs.mqueue.msg_max", "11"),
            ("kernel.domainname", "example"),
        ]);
        let ended = bench.run(&spec);
        assert_eq!(ended.lines(), ["1", "65000", "11", "example"], "{ended:?}");
        for name in ["kernel.panic", "kernel/panic", "vm.swappiness", "fs.file-max", "kernel.core_pattern"] {
            // The value that it has: a launch that is not refused does no harm.
            let value = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
            spec.sysctls = set(&[(name, value.trim())]);
            let error = bench.refused(&spec);
            assert!(error.step == Step::Sysctl && error.to_string().contains("belongs to the host"), "{error}");
        }
        spec.sysctls = set(&[("net.ipv4.no_such", "1")]);
        assert!(bench.refused(&spec).to_string().contains("no such kernel parameter"));
        spec.sysctls = set(&[("net.ipv4.ip_forward", "perhaps")]);
        let error = bench.refused(&spec);
        assert!(error.to_string().contains("net.ipv4.ip_forward to \"perhaps\""), "{error}");
        // With the host's namespaces these are the host's, too.
        for (name, host) in [("net.ipv4.ip_forward", 0), ("kernel.msgmax", 1), ("kernel.domainname", 2)] {
            let mut spec = bench.spec(&["true"]);
            spec.sysctls = set(&[(name, "1")]);
            match host {
                0 => spec.namespaces.net = Namespace::HOST,
                1 => spec.namespaces.ipc = Namespace::HOST,
                _ => {
                    spec.namespaces.uts = Namespace::HOST;
                    spec.hostname = None;
                }
            }
            let error = bench.refused(&spec);
            assert!(error.step == Step::Sysctl && error.to_string().contains("belongs to the host"), "{error}");
        }
    });
}

#[test]
fn the_oom_score_is_the_programs_alone() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let own = || std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let before = own();
        let mut spec = bench.spec(&["cat", "/proc/self/oom_score_adj"]);
        assert_eq!(bench.run(&spec).stdout, before);
        spec.process.oom_score_adj = Some(500);
        assert_eq!(bench.run(&spec).stdout, "500\n");
        assert_eq!(own(), before);
        spec.process.oom_score_adj = Some(5000);
        let error = bench.refused(&spec);
        assert!(error.step == Step::OomScore && error.to_string().contains("to 5000"), "{error}");
    });
}

#[test]
fn host_and_domain_name_are_its_own() {
    needs_root!();
    alone(|| {
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let bench = Bench::new();
        let mut spec = bench.shell("hostname; cat /proc/sys/kernel/domainname");
        spec.hostname = Some("a-name".into());
        spec.domainname = Some("a.domain".into());
        assert_eq!(bench.run(&spec).stdout, "a-name\na.domain\n");
        assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), own);
        spec.hostname = Some("x".repeat(65));
        let error = bench.refused(&spec);
        assert!(error.step == Step::Hostname && error.to_string().contains("64"), "{error}");
        spec.hostname = Some("x".into());
        spec.namespaces.uts = Namespace::HOST;
        assert!(bench.refused(&spec).to_string().contains("the host's uts namespace"));
    });
}

#[test]
fn streams_are_null_or_pipes_or_what_is_given() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|folder, _| {
            let file = std::fs::File::create(folder.join("out")).unwrap();
            vec![file.into()]
        });
        let mut spec = bench.shell("cat; echo err >&2; echo out");
        spec.stdio = Stdio { terminal: None, stdin: Stream::PIPE, stdout: Stream::Fd(0), stderr: Stream::PIPE };
        let running = bench.start(&spec);
        running.tell("through");
        let ended = running.finish();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", "err\n"));
        assert_eq!(std::fs::read_to_string("/store/out").unwrap(), "through\nout\n");
        spec.stdio.stdout = Stream::Fd(4);
        assert!(bench.refused(&spec).to_string().contains("descriptor number 4"));
    });
}

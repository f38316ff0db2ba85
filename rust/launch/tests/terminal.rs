//! A terminal as the three streams.
#[allow(missing_docs)]
mod common;

use ardock_launch::*;
use common::*;

fn on_terminal(spec: &mut Stdio, size: (u16, u16)) {
    spec.terminal = Some(size);
}

#[test]
fn it_is_the_controlling_terminal_on_its_own_devpts_with_its_size() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell(
            "test -t 0 && test -t 1 && test -t 2 && echo is-a-tty; tty; stty size; ls /dev/pts; \
             echo through > /dev/tty; stat -c '%F %t:%T' /dev/console; echo console > /dev/console; \
             cut -d' ' -f5,6,7,8 /proc/self/stat; read line; stty size; echo end",
        );
        on_terminal(&mut spec.stdio, (30, 100));
        let running = bench.start(&spec);
        let master = running.launched.terminal.as_ref().unwrap();
        assert!(running.launched.stdout.is_none());
        // Group, session, terminal 136:0, foreground group (the cut's own).
        let out = read_until(master, " 1 34816 1");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..5], ["is-a-tty", "/dev/pts/0", "30 100", "0     ptmx", "through"], "{lines:?}");
        assert_eq!(lines[5..7], ["character special file 88:0", "console"], "{lines:?}");
        host::resize_terminal(master, (40, 120)).unwrap();
        write_all(master, "\n");
        assert!(read_until(master, "end").contains("40 120"));
    });
}

#[test]
fn interrupt_reaches_the_foreground_program_and_hang_up_the_leader() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("trap 'echo caught; exit 9' INT; echo up; while :; do sleep 1; done");
        on_terminal(&mut spec.stdio, (0, 0));
        let running = bench.start(&spec);
        let master = running.launched.terminal.as_ref().unwrap();
        read_until(master, "up");
        write_all(master, "\x03");
        read_until(master, "caught");
        assert_eq!(running.finish().code, 9);
        let mut spec = bench.shell("trap 'exit 8' HUP; echo up; while :; do sleep 1; done");
        on_terminal(&mut spec.stdio, (0, 0));
        let mut running = bench.start(&spec);
        let master = running.launched.terminal.take().unwrap();
        read_until(&master, "up");
        drop(master);
        assert_eq!(running.finish().code, 8);
    });
}

#[test]
fn another_user_owns_its_terminal() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("stat -c '%u %a' $(tty); echo again > $(tty); echo end");
        (spec.process.uid, spec.process.gid) = (33, 33);
        on_terminal(&mut spec.stdio, (24, 80));
        let running = bench.start(&spec);
        let out = read_until(running.launched.terminal.as_ref().unwrap(), "end");
        assert!(out.starts_with("33 620") && out.contains("again"), "{out}");
    });
}

#[test]
fn a_joined_program_has_a_terminal_of_its_own_and_keeps_it() {
    needs_root!();
    alone(|| {
        let mut bench = Bench::new();
        let hash = bench.docker_seccomp(DOCKER_CAPS);
        let running = bench.start(&bench.spec(&["sleep", "60"]));
        for (uid, seccomp) in [(0, None), (33, None), (0, Some(hash))] {
            let mut spec = exec_spec(&[
                "sh",
                "-c",
                "trap 'echo caught' INT; test -t 0 && tty; stty size; echo x > /dev/tty; stat -c %u $(tty); echo up; \
                 until [ \"$line\" = hello ]; do read line; done; echo \"got $line\"; exit 4",
            ]);
            on_terminal(&mut spec.stdio, (20, 70));
            (spec.process.uid, spec.process.gid) = (uid, uid);
            spec.process.seccomp = seccomp;
            let joined = running.try_exec(&spec).unwrap_or_else(|failure| panic!("{}", failure.error));
            let master = joined.terminal.as_ref().unwrap();
            let out = read_until(master, "up");
            let lines: Vec<&str> = out.lines().collect();
            assert!(lines[0].starts_with("/dev/pts/"), "{out}");
            assert_eq!(lines[1..4], ["20 70", "x", &uid.to_string()], "{out}");
            write_all(master, "\x03");
            read_until(master, "caught");
            write_all(master, "\nhello\n");
            read_until(master, "got hello");
            assert_eq!(wait(joined.pid), 4);
        }
    });
}

#[test]
fn a_device_in_the_place_of_the_terminals_is_refused() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::fs::create_dir(rootfs.join("dev/pts")).unwrap();
            std::os::unix::fs::symlink("/dev/null", rootfs.join("dev/pts/ptmx")).unwrap();
            vec![]
        });
        let mut spec = bench.spec(&["sleep", "60"]);
        spec.filesystems.dev = false;
        spec.filesystems.pts = false;
        let running = bench.start(&spec);
        let mut spec = exec_spec(&["true"]);
        on_terminal(&mut spec.stdio, (0, 0));
        let error = running.try_exec(&spec).unwrap_err().error;
        assert_eq!(error.step, Step::Stdio, "{error}");
    });
}

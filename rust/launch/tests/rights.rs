//! What the program may: capabilities, ids, no_new_privs, seccomp.
#[allow(missing_docs)]
mod common;

use ardock_launch::*;
use common::look::field_of;
use common::*;

const NONE: &str = "0000000000000000";
const DOCKER: &str = "00000000a80425fb";

fn status_of(bench: &Bench, change: impl FnOnce(&mut LaunchSpec)) -> String {
    let mut spec = bench.spec(&["cat", "/proc/self/status"]);
    change(&mut spec);
    let ended = bench.run(&spec);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    ended.stdout
}

fn sets(status: &str) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| field_of(status, set))
}

#[test]
fn capabilities_are_exactly_those_of_the_spec() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let status = status_of(&bench, |_| {});
        assert_eq!(sets(&status), [NONE, DOCKER, DOCKER, DOCKER, NONE]);
        let none = status_of(&bench, |spec| spec.process.capabilities = caps(0));
        assert_eq!(sets(&none), [NONE; 5]);
        let one = status_of(&bench, |spec| spec.process.capabilities = caps(1 << 10));
        assert_eq!(sets(&one), [NONE, "0000000000000400", "0000000000000400", "0000000000000400", NONE]);
    });
}

#[test]
fn another_user_has_no_effective_capability_but_the_ambient_ones() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let status = status_of(&bench, |spec| {
            spec.process.uid = 33;
            spec.process.gid = 34;
            spec.process.groups = vec![44, 29];
        });
        assert_eq!(sets(&status), [NONE, NONE, NONE, DOCKER, NONE]);
        assert_eq!(field_of(&status, "Uid"), "33\t33\t33\t33");
        assert_eq!(field_of(&status, "Gid"), "34\t34\t34\t34");
        assert_eq!(field_of(&status, "Groups"), "29 44");
        let ambient = status_of(&bench, |spec| {
            spec.process.uid = 33;
            let mut sets = caps(1 << 10);
            sets.inheritable = 1 << 10;
            sets.ambient = 1 << 10;
            spec.process.capabilities = sets;
        });
        assert_eq!(sets(&ambient), ["0000000000000400"; 5]);
    });
}

#[test]
fn root_has_no_group_of_the_launchers() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        assert_eq!(field_of(&status_of(&bench, |_| {}), "Groups"), "");
    });
}

#[test]
fn another_user_can_open_its_streams_anew() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("echo one > /dev/stdout; echo two > /dev/stderr");
        (spec.process.uid, spec.process.gid) = (33, 33);
        let ended = bench.run(&spec);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("one\n", "two\n"));
    });
}

#[test]
fn no_new_privileges_is_off_unless_asked_for() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        assert_eq!(field_of(&status_of(&bench, |_| {}), "NoNewPrivs"), "0");
        let on = status_of(&bench, |spec| spec.process.no_new_privileges = true);
        assert_eq!(field_of(&on, "NoNewPrivs"), "1");
        assert_eq!(sets(&on), [NONE, DOCKER, DOCKER, DOCKER, NONE]);
    });
}

#[test]
fn seccomp_is_applied_with_and_without_no_new_privileges_and_really_refuses() {
    needs_root!();
    alone(|| {
        let mut bench = Bench::new();
        let hash = bench.docker_seccomp(DOCKER_CAPS);
        assert_eq!(field_of(&status_of(&bench, |_| {}), "Seccomp"), "0", "without a program there is one");
        for no_new_privileges in [false, true] {
            let with = |spec: &mut LaunchSpec| {
                spec.process.seccomp = Some(hash.clone());
                spec.process.no_new_privileges = no_new_privileges;
            };
            let status = status_of(&bench, with);
            assert_eq!(field_of(&status, "Seccomp"), "2");
            assert_eq!(field_of(&status, "Seccomp_filters"), "1");
            assert_eq!(sets(&status), [NONE, DOCKER, DOCKER, DOCKER, NONE]);
            // With SYS_ADMIN the kernel would let it; the policy for Docker's
            // capabilities does not know that and refuses.
            let mut spec = bench.shell("unshare -u true");
            spec.process.capabilities = caps(DOCKER_CAPS | SYS_ADMIN);
            assert_eq!(bench.run(&spec).code, 0, "unshare does not work to begin with");
            with(&mut spec);
            let refused = bench.run(&spec);
            assert_ne!(refused.code, 0);
            assert!(refused.stderr.contains("Operation not permitted"), "{refused:?}");
        }
    });
}

#[test]
fn a_seccomp_program_that_the_launcher_does_not_have_is_refused() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["true"]);
        spec.process.seccomp = Some("00ff".into());
        let error = bench.refused(&spec);
        assert_eq!(error.step, Step::Seccomp);
        assert!(error.to_string().contains("00ff"), "{error}");
    });
}

#[test]
fn an_apparmor_profile_is_refused_where_the_kernel_has_none() {
    needs_root!();
    if std::path::Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        eprintln!("SKIPPED: this kernel has AppArmor");
        return;
    }
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.spec(&["true"]);
        spec.process.apparmor = Some("docker-default".into());
        let error = bench.refused(&spec);
        assert_eq!(error.step, Step::Apparmor);
        assert!(error.to_string().contains("AppArmor is not enabled"), "{error}");
        assert!(error.to_string().contains("docker-default"), "{error}");
    });
}

/// Puts a key into the calling thread's session keyring that only those who
/// possess that keyring can see. None where the kernel has no keyrings.
#[allow(unsafe_code)]
fn add_private_key(name: &str) -> Option<i64> {
    const SESSION: i32 = -3;
    const SET_PERMISSIONS: i32 = 5;
    const POSSESSOR_ALL: u32 = 0x3f00_0000;
    let name = std::ffi::CString::new(name).unwrap();
    let kind = c"user".as_ptr();
    // SAFETY: the strings outlive the call; the rest are numbers.
    let key = unsafe { libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), name.as_ptr(), 1usize, SESSION) };
    if key < 0 {
        return None;
    }
    // SAFETY: numbers alone.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, key, POSSESSOR_ALL) };
    (done == 0).then_some(key)
}

#[allow(unsafe_code)]
fn remove_key(key: i64) {
    const UNLINK: i32 = 9;
    // SAFETY: numbers alone.
    unsafe { libc::syscall(libc::SYS_keyctl, UNLINK, key, -3) };
}

#[test]
fn its_session_keyring_is_not_the_launchers() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let name = format!("ardock-test-{}", std::process::id());
        let Some(key) = add_private_key(&name) else {
            eprintln!("SKIPPED: this kernel has no keyrings");
            return;
        };
        let own = std::fs::read_to_string("/proc/keys").unwrap();
        let mut spec = bench.shell("cat /proc/keys; echo end");
        spec.masked.clear();
        let launched = bench.run(&spec);
        let sleeper = bench.start(&spec_of_sleep(&bench));
        let joined = sleeper.exec_output("cat /proc/keys");
        remove_key(key);
        assert!(own.contains(&name), "the test does not see its own key");
        assert!(launched.stdout.ends_with("end\n") && !launched.stdout.contains(&name), "{launched:?}");
        assert!(!joined.contains(&name), "{joined}");
    });
}

fn spec_of_sleep(bench: &Bench) -> LaunchSpec {
    let mut spec = bench.spec(&["sleep", "60"]);
    spec.masked.clear();
    spec
}

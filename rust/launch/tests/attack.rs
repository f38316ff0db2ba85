//! A container with CAP_SYS_PTRACE against the programs that are joined to it
//! (runc's CVE-2016-9962, CVE-2024-21626; DESIGN 3.3).
#[allow(missing_docs)]
mod common;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use ardock_launch::*;
use common::*;

const ROUNDS: u32 = 300;
const CAPS: u64 = DOCKER_CAPS | SYS_PTRACE;

/// Compiles the attacker into a root file system; the reason where that does
/// not work.
fn compile(rootfs: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attack/attacker.c");
    let output = Command::new("cc")
        .args(["-static", "-O1", "-w", "-o"])
        .arg(rootfs.join("bin/attacker"))
        .arg(source)
        .output()
        .map_err(|error| format!("no cc ({error})"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

struct Outcome {
    caught: u32,
    report: String,
    /// Exit codes of the programs, and failures (0).
    ended: std::collections::BTreeMap<i32, u32>,
    failed: u32,
}

fn number_after(report: &str, word: &str) -> u32 {
    let mut words = report.split_whitespace().skip_while(|other| *other != word);
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {word} in {report:?}"))
}

/// Joins programs to a container that attacks them.
fn attack(mode: &str, launch_too: bool) -> Option<Outcome> {
    let mut missing = None;
    let mut bench = Bench::prepare(|_, rootfs| {
        missing = compile(rootfs).err();
        vec![]
    });
    if let Some(reason) = missing {
        eprintln!("SKIPPED: {reason}");
        return None;
    }
    // In the launcher's heap, as another container's environment would be.
    let secret = format!("launcher-secret-{}-{}", std::process::id(), fresh());
    let held = vec![secret.clone(); 100];
    let encoded: String = secret.bytes().map(|byte| char::from(byte + 1)).collect();
    let hash = bench.docker_seccomp(CAPS);
    let mut spec = bench.spec(&["attacker", &encoded, mode, &format!("{CAPS:x}")]);
    spec.process.capabilities = caps(CAPS);
    spec.process.seccomp = Some(hash.clone());
    spec.stdio.stdin = Stream::PIPE;
    let mut container = bench.start(&spec);
    assert_eq!(container.line(), "up");
    let namespace =
        || -> OwnedFd { std::fs::File::open(format!("/proc/{}/ns/pid", container.launched.pid)).unwrap().into() };

    let (mut ended, mut failed) = (std::collections::BTreeMap::new(), 0);
    let before = look::children();
    for round in 0..ROUNDS {
        let mut other = None;
        let result = if launch_too && round % 4 == 3 {
            let mut spec = bench.spec(&["true"]);
            spec.namespaces.pid = Namespace::Join(0);
            spec.process.capabilities = caps(CAPS);
            let result = bench.try_launch(&spec, &[namespace()]);
            other = Some(spec);
            result
        } else {
            let mut spec = exec_spec(&["true"]);
            spec.process.capabilities = caps(CAPS);
            spec.process.seccomp = (round % 2 == 0).then(|| hash.clone());
            container.try_exec(&spec)
        };
        match result {
            Ok(launched) => {
                *ended.entry(wait(launched.pid)).or_insert(0) += 1;
                if let Some(spec) = other {
                    clean_soon(&bench.home, &spec);
                }
            }
            Err(failure) => {
                assert_eq!((failure.pid, failure.helper), (None, None), "{}", failure.error);
                failed += 1;
            }
        }
    }
    assert_eq!(look::children(), before, "a process is left");
    // The launcher and what it launches elsewhere are as they were.
    assert!(held.iter().all(|one| *one == secret));
    assert_eq!(bench.run(&bench.spec(&["echo", "fine"])).stdout, "fine\n");
    let bystander = bench.start(&bench.spec(&["sleep", "60"]));
    assert_eq!(bystander.exec_output("echo fine"), "fine\n");
    let report = container.finish();
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.stdout;
    eprintln!("{mode}: {} ended {ended:?} failed {failed}", report.lines().last().unwrap_or_default());
    Some(Outcome { caught: number_after(&report, "caught"), report, ended, failed })
}

/// The attack itself worked, and what it caught held nothing that it should not.
fn check(outcome: &Outcome) {
    assert!(outcome.caught >= 5, "the attacker caught next to nothing, this proves nothing: {}", outcome.report);
    assert_eq!(number_after(&outcome.report, "violations"), 0, "{}", outcome.report);
}

#[test]
fn a_program_before_its_execve_holds_nothing_but_the_containers() {
    needs_root!();
    alone(|| {
        let Some(outcome) = attack("look", true) else { return };
        check(&outcome);
        assert_eq!(outcome.ended.get(&0).copied().unwrap_or(0) + outcome.failed, ROUNDS, "{:?}", outcome.ended);
    });
}

#[test]
fn rewriting_it_reaches_nothing_but_itself() {
    needs_root!();
    alone(|| {
        let Some(outcome) = attack("rewrite", false) else { return };
        check(&outcome);
        let hijacked: u32 = outcome.ended.iter().filter(|(code, _)| **code != 0).map(|(_, count)| count).sum();
        assert!(hijacked + outcome.failed > 0, "nothing was rewritten: {:?}", outcome.ended);
    });
}

#[test]
fn a_forged_failure_neither_holds_the_launcher_nor_leaves_a_process() {
    needs_root!();
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIPPED: the attacker's code is for x86-64");
        return;
    }
    alone(|| {
        let Some(outcome) = attack("forge", false) else { return };
        check(&outcome);
        assert!(outcome.failed > 0, "nothing was forged: {:?}", outcome.ended);
    });
}

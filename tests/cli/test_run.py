"""`ardock run` as a whole: exit codes, every flag's effect inside, bad input."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from tests.cli.driver import Ardock

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -9 $$"], 137),  # a signal from inside does not reach PID 1, except by itself in a child
        (["/no/such/program"], 127),
        (["no-such-program"], 127),
        (["/etc"], 126),
        (["/etc/passwd"], 126),
    ],
)
def test_exit_codes_are_dockers(ardock: Ardock, command: list[str], code: int) -> None:
    if command[-1] == "kill -9 $$":
        command = ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]
    done = ardock.run(*command)
    assert done.returncode == code
    if code in {126, 127}:
        assert done.stderr.startswith(b"ardock: ")
        assert done.stderr.count(b"\n") == 1
        assert command[0].encode() in done.stderr


def test_a_program_that_a_signal_ends_gives_128_and_the_signal(ardock: Ardock) -> None:
    with ardock.start("--pid", "host", "sh", "-c", "echo ready; kill -USR1 $$; sleep 5") as process:
        assert process.wait(60) == 128 + 10


# Options, what to run, and its output.
EFFECTS: list[tuple[list[str], str, str]] = [
    ([], "echo $$", "1"),
    ([], "hostname | grep -cE '^[0-9a-f]{12}$'", "1"),
    ([], "pwd", "/"),
    ([], "id -u; id -g", "0\n0"),
    ([], "ls /sys/class/net", "lo"),
    ([], "echo $HOME $TERM", "/root"),
    (["-h", "box"], "hostname; cat /etc/hostname", "box\nbox"),
    (["--hostname=box", "--domainname", "example"], "cat /proc/sys/kernel/domainname", "example"),
    (["-w", "/made/here"], "pwd", "/made/here"),
    (["-u", "alice"], "id -un; id -gn; echo $HOME", "alice\nalice\n/home/alice"),
    (["-u", "1234:2000"], "id -u; id -g", "1234\n2000"),
    (["-u", "alice", "--group-add", "audio", "--group-add", "7"], "id -G | tr ' ' '\\n' | sort -n", "7\n29\n50\n1000"),
    (["-e", "A=b c", "-e", "EMPTY="], 'echo "$A,$EMPTY,${UNSET-unset}"', "b c,,unset"),
    (["--entrypoint", "/bin/echo"], "", "word"),
    (["--read-only"], "touch /x 2>/dev/null || echo refused", "refused"),
    (["--read-only", "--tmpfs", "/t:size=1m,mode=1770"], "touch /t/x; stat -c %a /t; df -k /t | tail -n 1 | awk '{print $2}'", "1770\n1024"),
    (["--mount", "type=tmpfs,dst=/t,tmpfs-size=2m"], "df -k /t | tail -n 1 | awk '{print $2}'", "2048"),
    (["--shm-size", "3m"], "df -k /dev/shm | tail -n 1 | awk '{print $2}'", "3072"),
    (["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn", "100\n200"),
    (["--ulimit", "core=0"], "ulimit -c", "0"),
    (["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", "1"),
    (["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"),
    (["--cap-drop", "ALL"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
    (["--cap-drop", "all", "--cap-add", "NET_RAW"], "grep CapEff /proc/self/status", "CapEff:\t0000000000002000"),
    (["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    (["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "Seccomp:\t0"),
    ([], "grep Seccomp: /proc/self/status", "Seccomp:\t2"),
    (["--add-host", "db:10.1.2.3"], "grep db /etc/hosts", "10.1.2.3\tdb"),
    (["--dns", "10.9.9.9", "--dns-search", "corp", "--dns-option", "ndots:2"], "cat /etc/resolv.conf", "nameserver 10.9.9.9\nsearch corp\noptions ndots:2"),
    (["--device", "/dev/fuse"], "test -c /dev/fuse && echo there", "there"),
    (["--device", "/dev/null:/dev/other:r"], "test -c /dev/other && echo there", "there"),
    (["--network", "none"], "ls /sys/class/net", "lo"),
    (["--pid", "host"], "test $$ -ne 1 && echo host", "host"),
    (["--label", "a=b", "--stop-signal", "INT", "--stop-timeout", "3", "--rm", "--pull=never", "-q"], "echo ok", "ok"),
    (["--scratch", "memory"], "echo x > /x; cat /x", "x"),
    (["--scratch", "disk"], "echo x > /x; cat /x", "x"),
    (["-m", "64m", "--memory-swap", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "50", "--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status", "Cpus_allowed_list:\t0"),
    (["--init=false", "--restart=no", "--log-driver=none"], "echo ok", "ok"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "script", "expected"), EFFECTS, ids=[" ".join(o) or s for o, s, _ in EFFECTS])
def test_a_flag_does_inside_what_it_does_in_docker(
    ardock: Ardock, options: list[str], script: str, expected: str
) -> None:
    done = ardock.run(*options, "sh", "-c", script) if script else ardock.run(*options, "word")
    assert done.stderr == b""
    assert done.stdout.decode().strip() == expected
    assert done.returncode == 0


def limit(ardock: Ardock, *options: str, file: str) -> str:
    return ardock.run(*options, "sh", "-c", f"cat /sys/fs/cgroup/{file}").stdout.decode().strip()


@pytest.mark.skipif(not Path("/sys/fs/cgroup/memory/cgroup.procs").exists(), reason="the limits' files are cgroup v1's")
def test_limits_arrive_in_the_control_groups(ardock: Ardock) -> None:
    assert limit(ardock, "-m", "64m", file="memory/memory.limit_in_bytes") == str(64 << 20)
    assert limit(ardock, "--cpus", "0.5", file="cpu/cpu.cfs_quota_us") == "50000"
    assert limit(ardock, "--cpu-quota", "25000", "--cpu-period", "50000", file="cpu/cpu.cfs_period_us") == "50000"
    assert limit(ardock, "-c", "512", file="cpu/cpu.shares") == "512"
    assert limit(ardock, "--pids-limit", "17", file="pids/pids.max") == "17"


def test_binds(ardock: Ardock, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    source = str(tmp_path)
    assert ardock.run("-v", f"{source}:/m", "cat", "/m/file").stdout == b"from outside\n"
    assert ardock.run("-v", f"{source}/file:/f:ro", "cat", "/f").stdout == b"from outside\n"
    assert ardock.run("-v", f"{source}:/m:ro", "touch", "/m/x").returncode == 1
    assert ardock.run("--mount", f"type=bind,src={source},dst=/m", "touch", "/m/made").returncode == 0
    assert (tmp_path / "made").exists()
    # -v makes a missing source, --mount does not: Docker's difference.
    assert ardock.run("-v", f"{source}/new:/m", "true").returncode == 0
    assert (tmp_path / "new").is_dir()
    missing = ardock.run("--mount", f"type=bind,src={source}/none,dst=/m", "true")
    assert missing.returncode == 125
    assert f"{source}/none".encode() in missing.stderr


def test_the_id_file_has_the_containers_id(ardock: Ardock, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    done = ardock.run("--cidfile", str(path), "hostname")
    assert done.returncode == 0, done.stderr
    assert len(path.read_text()) == 64
    assert path.read_text().startswith(done.stdout.decode().strip())
    again = ardock.run("--cidfile", str(path), "true")
    assert again.returncode == 125
    assert b"container ID file found" in again.stderr
    other = tmp_path / "other"
    assert ardock.run("--cidfile", str(other), "/no/such/program").returncode == 127
    assert not other.exists()


def test_environment_files(ardock: Ardock, tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=1\nB=two words\nC\n")
    done = ardock.run(
        "--env-file", str(path), "-e", "A=2", "sh", "-c", 'echo "$A,$B,$C"', env={**os.environ, "C": "outside"}
    )
    assert done.stdout == b"2,two words,outside\n"


def test_bytes_that_are_no_text_are_refused_by_name(ardock: Ardock) -> None:
    """The engine is spoken to in MessagePack, whose strings are UTF-8."""
    odd = os.fsdecode(b"\xff\xfe")
    for words in (["-e", f"ODD={odd}", "true"], ["echo", odd]):
        done = ardock.run(*words)
        assert done.returncode == 125
        assert b"is no UTF-8, and the engine takes text only" in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_an_out_of_memory_kill_is_told(ardock: Ardock) -> None:
    done = ardock.run("-m", "32m", "--memory-swap", "32m", "sh", "-c", "head -c 200m /dev/zero | tail", timeout=60)
    assert b"for want of memory" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-m", "1m"], "--memory"),
        (["-m", "1k"], "--memory"),
        (["--cpus", "1000"], "--cpus"),
        (["--cpuset-cpus", "9999"], "--cpuset-cpus"),
        (["--cpuset-cpus", "x"], "--cpuset-cpus"),
        (["--cap-add", "FLY"], "FLY"),
        (["-u", "nobody-here"], "nobody-here"),
        (["--group-add", "no-group"], "no-group"),
        (["--security-opt", "seccomp=/none.json"], "/none.json"),
        (["--security-opt", "apparmor=no-such-profile"], "--security-opt: "),
        (["--memory-swap", "32m", "-m", "64m"], "--memory-swap"),
        (["--cpus", "1", "--cpu-quota", "1000"], "cpu"),
        (["--device", "/dev/no-such-device"], "/dev/no-such-device"),
    ],
)
def test_what_only_the_engine_can_judge_names_the_flag_too(ardock: Ardock, options: list[str], words: str) -> None:
    done = ardock.run(*options, "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"ardock: ")
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_bad_root_file_system_is_named(ardock: Ardock, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (tmp_path / "none", file):
        ardock.rootfs = path
        done = ardock.run("true")
        assert done.returncode == 125
        assert str(path) in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


def test_a_program_that_may_not_be_executed_gives_126(ardock: Ardock, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo no shebang\n")
    script.chmod(stat.S_IRWXU)
    mount = ("-v", f"{script}:/script:ro")
    assert ardock.run(*mount, "/script").returncode == 126
    script.chmod(stat.S_IRUSR)
    assert ardock.run(*mount, "/script").returncode == 126
    assert ardock.run(*mount, "-w", "/", "./script").returncode == 126


def test_the_host_as_a_copy_on_write_root(ardock: Ardock) -> None:
    ardock.rootfs = Path("/")
    done = ardock.run("sh", "-c", "echo x > /ardock-test-file; cat /ardock-test-file; echo $$")
    assert (done.returncode, done.stdout) == (0, b"x\n1\n")
    assert not Path("/ardock-test-file").exists()


def test_a_keeper_that_was_killed_is_reported_and_the_folder_works_on(ardock: Ardock) -> None:
    with ardock.start("sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        process.stdout.readline()
        for keeper in ardock.keepers():
            os.kill(keeper, signal.SIGKILL)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 255
        assert err.startswith(b"ardock: keeper")
        assert err.count(b"\n") == 1
    assert ardock.run("echo", "next").stdout == b"next\n"

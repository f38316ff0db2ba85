"""The commands of a container's life, and of images, against a real engine."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.driver import Ardock, until
from tests.cli.owner import owner

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

Done = subprocess.CompletedProcess[str]


class Commands:
    """ardock beside an owner."""

    def __init__(self, ardock: Ardock) -> None:
        self.ardock = ardock
        self.rootfs = ["--rootfs", str(ardock.rootfs)]

    def __call__(self, *words: str, stdin: bytes | None = None) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            self.ardock.words(*words),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Done(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *words: str, stdin: bytes | None = None) -> str:
        """The output of a command that has to succeed, without the line's end."""
        done = self(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout.rstrip("\n")

    def create(self, name: str, *words: str) -> str:
        """Make a container; its id."""
        return self.ok("create", "--name", name, *self.rootfs, *words)


@pytest.fixture
def commands(ardock: Ardock) -> Iterator[Commands]:
    given = Commands(ardock)
    with owner(ardock):
        yield given
        if left := given.ok("ps", "-aq").split():
            given.ok("rm", "-f", *left)


def test_a_container_lives_and_is_gone(commands: Commands) -> None:
    name = commands.create("job", "-l", "a=b", "sh", "-c", "echo out; exit 3")
    assert len(name) == 64
    assert commands.ok("ps", "-a", "--format", "{{.ID}} {{.State}} {{.Status}}") == f"{name[:12]} created Created"
    assert commands.ok("start", "job") == "job"
    assert commands.ok("wait", name[:6]) == "3"
    assert commands.ok("ps") == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES"
    assert commands.ok("ps", "-a", "--format", "{{.Status}}").startswith("Exited (3) ")
    assert (
        commands.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.Config.Labels}}", "job")
        == "exited 3 map[a:b]"
    )
    (whole,) = json.loads(commands.ok("inspect", "job"))
    assert Path(whole["LogPath"]).is_file()
    assert whole["Ardock"]["Timings"]["Total"] > 0
    assert commands.ok("rm", "job") == "job"
    assert commands.ok("ps", "-aq") == ""
    # Its exit code outlives it.
    assert commands.ok("wait", "job") == "3"


def test_one_that_runs_is_stopped_restarted_killed_and_removed_by_force(commands: Commands) -> None:
    script = "trap 'exit 7' TERM; trap 'exit 8' USR1; while :; do sleep 0.05; done"
    commands.create("srv", "--stop-timeout", "20", "sh", "-c", script)
    commands.ok("start", "srv")
    pid = int(commands.ok("inspect", "-f", "{{.State.Pid}}", "srv"))
    assert Path(f"/proc/{pid}").exists()
    assert commands("rm", "srv").returncode == 1
    assert commands("start", "srv").returncode == 1
    assert commands.ok("restart", "srv") == "srv"
    assert int(commands.ok("inspect", "-f", "{{.State.Pid}}", "srv")) != pid
    assert commands.ok("stop", "srv") == "srv"
    assert commands.ok("wait", "srv") == "7"
    assert commands.ok("stop", "srv") == "srv", "it has ended: that is what was asked for"
    commands.ok("start", "srv")
    # The shell may not have set its trap yet.
    until(lambda: commands("kill", "-s", "USR1", "srv").returncode == 1, "the signal ends it")
    assert commands.ok("wait", "srv") in {"8", str(128 + 10)}
    commands.ok("start", "srv")
    assert commands.ok("rm", "-f", "srv") == "srv"
    assert commands.ok("ps", "-aq") == ""


def test_what_fails_stops_no_other(commands: Commands) -> None:
    for name in ("one", "two"):
        commands.create(name, "sleep", "1000")
    done = commands("start", "one", "nobody", "two")
    assert (done.returncode, done.stdout) == (1, "one\ntwo\n")
    assert done.stderr.count("\n") == 1
    assert "nobody" in done.stderr
    done = commands("stop", "-t", "0", "one", "nobody", "two")
    assert (done.returncode, done.stdout) == (1, "one\ntwo\n")
    assert commands.ok("ps", "-q", "-f", "status=exited").count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["start", "nobody"], "nobody"),
        (["start", "runs"], "running"),
        (["rm", "runs"], "running"),
        (["kill", "made"], "not running"),
        (["rename", "made", "runs"], "in use"),
        (["rename", "made", "-x"], "unknown shorthand flag"),
        (["rename", "made", "a b"], "a b"),
        (["ps", "-f", "foo=bar"], "--filter: there is no filter 'foo'"),
        (["ps", "-f", "status=foo"], "--filter: invalid status 'foo'"),
        (["inspect", "nobody"], "no such object: nobody"),
        (["create", "--name", "runs", "--rootfs", "/", "true"], "in use"),
        (["create", "-m", "1m", "--rootfs", "/", "true"], "--memory: "),
        (["create", "--pull", "never", "nobody", "true"], "nobody"),
        (["create", "--rootfs", "/none/there", "true"], "--rootfs: "),
        (["start", "broken"], "/nonexistent"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    words: list[str], message: str, commands: Commands
) -> None:
    commands.create("made", "true")
    commands.create("broken", "/nonexistent")
    commands.create("runs", "sleep", "1000")
    commands.ok("start", "runs")
    before = commands.ok("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}")
    done = commands(*words)
    assert done.returncode in {1, 125, 127}
    assert done.stdout in {"", "[]\n"}
    assert done.stderr.startswith("ardock: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert commands.ok("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}") == before


def test_an_ambiguous_prefix_is_told(commands: Commands) -> None:
    ids = [commands.create(f"c{number}", "true") for number in range(17)]
    digits = [each[0] for each in ids]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    done = commands("inspect", twice)
    assert done.returncode == 1
    assert twice in done.stderr
    assert commands.ok("inspect", "-f", "{{.Id}}", ids[0][:20]) == ids[0]


def tar() -> bytes:
    """An uncompressed tar of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 300_000
        archive.addfile(entry, io.BytesIO(b"x" * 300_000))
    return buffer.getvalue()


def test_images_are_imported_used_listed_and_removed(commands: Commands) -> None:
    root = str(commands.ardock.rootfs)
    by_path = commands.ok("image", "import", root, "base:v1")
    assert by_path.startswith("sha256:")
    piped = commands.ok("image", "import", "-", "piped", stdin=tar())
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(tar())
        file.flush()
        assert commands.ok("image", "import", file.name, "same") == piped, "the same tree is the same image"
    listed = commands.ok("image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    assert sorted(listed) == sorted(
        [f"base:v1 {by_path[7:19]}", f"piped:latest {piped[7:19]}", f"same:latest {piped[7:19]}"]
    )
    assert commands.ok("inspect", "-f", "{{.RepoTags}} {{.Os}}", "base:v1") == "[base:v1] linux"
    name = commands.ok("create", "--name", "user", "base:v1", "sh", "-c", "exit 5")
    assert commands.ok("inspect", "-f", "{{.Image}} {{.Config.Image}}", name) == f"{by_path} base:v1"
    assert commands.ok("ps", "-a", "--format", "{{.Image}}") == "base:v1"
    commands.ok("start", "user")
    assert commands.ok("wait", "user") == "5"
    refused = commands("image", "rm", "base:v1")
    assert (refused.returncode, refused.stdout) == (1, "")
    commands.ok("rm", "user")
    removed = commands.ok("image", "rm", "base:v1").splitlines()
    assert removed[:2] == ["Untagged: base:v1", f"Deleted: {by_path}"]
    # And its one layer.
    assert [line.partition(":")[0] for line in removed] == ["Untagged", "Deleted", "Deleted"]
    assert commands.ok("image", "rm", "piped") == "Untagged: piped:latest"
    bad = commands("image", "import", "-", "bad", stdin=b"no tar" * 1000)
    assert bad.returncode == 1
    assert bad.stderr.count("\n") == 1
    assert commands.ok("image", "ls", "-q") == piped[7:19]


def test_version_and_info_tell_of_the_owner(commands: Commands) -> None:
    pid = int(commands.ok("version", "-f", "{{.Server.Pid}}"))
    assert Path(f"/proc/{pid}").exists()
    commands.create("made", "true")
    info = json.loads(commands.ok("info", "--format", "json"))
    assert (info["owner"], info["server"]["pid"]) == (pid, pid)
    assert info["server"]["containers"] == {"created": 1}
    assert "containers            1 (1 created)" in commands.ok("info")


def test_without_an_owner_each_command_is_it_and_what_runs_goes_on(ardock: Ardock) -> None:
    commands = Commands(ardock)
    assert "Server: none" in commands.ok("version")
    assert json.loads(commands.ok("info", "-f", "json"))["server"] is None
    commands.create("srv", "sh", "-c", "while :; do sleep 0.1; done")
    commands.ok("start", "srv")
    pid = commands.ok("inspect", "-f", "{{.State.Pid}}", "srv")
    assert commands.ok("ps", "--format", "{{.Names}} {{.State}}") == "srv running"
    assert commands.ok("inspect", "-f", "{{.State.Pid}}", "srv") == pid
    commands.ok("rename", "srv", "server")
    assert commands.ok("stop", "-t", "0", "server") == "server"
    assert commands.ok("wait", "server") == "137"
    assert commands.ok("rm", "server") == "server"

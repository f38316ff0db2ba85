"""The command around the commands: global options, help, version, how errors look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.driver import COMMAND


def ardock(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown command: ardock nonsense (see 'ardock --help')"),
        (["--nonsense"], "unknown flag: --nonsense (see 'ardock --help')"),
        (["-H", "tcp://localhost:2375", "version"], "-H, --host tcp://localhost:2375: tcp:// is not supported yet: give unix:///PATH"),
        (["-H", "ssh://root@host", "version"], "-H, --host ssh://root@host: ssh:// is not supported yet: give unix:///PATH"),
        (["-H", "/run/x", "version"], "-H, --host /run/x: give unix:///PATH"),
        (["version", "extra"], "version accepts no arguments: extra"),
        (["run"], "give an image, or a root file system and a command: ardock run [--rootfs PATH | IMAGE] COMMAND [ARG...]"),
        (["run", "--rootfs", "/"], "no command specified: ardock run --rootfs PATH COMMAND [ARG...]"),
        (["run", "--rootfs", "", "true"], "--rootfs: the path is empty: give a directory, or / for a copy-on-write view of this machine"),
        (["run", "--platform", "windows/amd64", "--rootfs", "/", "true"], '--platform: "windows/amd64": this machine runs linux/' + ("arm64" if os.uname().machine == "aarch64" else "amd64") + " only"),
        (["run", "-a", "stdin", "--rootfs", "/", "true"], "-a, --attach stdin alone is not supported: attach stdout or stderr too, or give -d"),
        (["run", "-d", "-a", "stdout", "--rootfs", "/", "true"], "conflicting options: cannot specify both --attach and --detach"),
        (["run", "--name", "-x", "--rootfs", "/", "true"], 'invalid argument "-x" for "--name" flag: a name begins with a letter or digit, and has letters, digits, _ . - after it: two characters at least'),
        (["run", "--detach-keys", "ctrl-1", "--rootfs", "/", "true"], """invalid argument "ctrl-1" for "--detach-keys" flag: unknown key 'ctrl-1': ctrl- goes with one of a-z @ [ \\ ] ^ _"""),
        (["run", "--log-driver", "none", "--log-opt", "max-file=2", "--rootfs", "/", "true"], "--log-opt: there is no log with --log-driver none"),
        (["exec", "x"], "exec requires at least 2 arguments: ardock exec [OPTIONS] CONTAINER COMMAND [ARG...]"),
        (["attach"], "attach requires 1 argument: ardock attach [OPTIONS] CONTAINER"),
        (["logs", "a", "b"], "logs requires 1 argument: ardock logs [OPTIONS] CONTAINER"),
        (["logs", "--tail", "x", "a"], 'invalid argument "x" for "-n, --tail" flag: give a whole number'),
        (["events", "x"], "events accepts no arguments: x"),
        (["-H", "unix:///none", "events"], "no engine answers at /none: no such socket"),
        (["run", "-p", "80:80", "alpine"], "-p, --publish is not supported: there are no networks yet but none and host, so no port can be published"),
        (["run", "--rootfs", "/", "-v", "/tmp:/m", "--tmpfs", "/m/", "true"], 'duplicate mount point: "/m" is the target of more than one -v, --mount or --tmpfs'),
        (["run", "--env-file", "/none", "--rootfs", "/", "true"], '--env-file: cannot read "/none": No such file or directory'),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_sentence_and_125(arguments: list[str], message: str) -> None:
    done = ardock(*arguments)
    # As with docker: what only the engine can say gives 1, but for run.
    assert done.returncode == (1 if "-H" in arguments and "events" in arguments else 125)
    assert done.stderr == f"ardock: {message}\n"
    assert done.stdout == ""


def test_debug_shows_where_an_error_came_from() -> None:
    done = ardock("--debug", "run", "--rootfs", "")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_the_host_may_come_from_the_environment() -> None:
    assert ardock("version", env={"ARDOCK_HOST": "tcp://x"}).returncode == 125
    done = ardock("version", env={"ARDOCK_HOST": "unix:///run/other.sock"})
    assert done.returncode == 1
    assert done.stdout.startswith("Client: ardock")
    assert done.stderr == "ardock: no engine answers at /run/other.sock: no such socket\n"


def test_version_as_text_and_as_json() -> None:
    text = ardock("version")
    assert text.returncode == 0
    assert text.stdout.startswith("Client: ardock\n Version:")
    for form in (["--format", "json"], ["-f", "json"], ["--format={{json .}}"]):
        parsed = json.loads(ardock("version", *form).stdout)
        assert parsed["Client"]["Os"] == "linux"
        assert parsed["Client"]["PythonVersion"] == sys.version.split()[0]
        assert parsed["Client"]["Version"] in text.stdout
        assert parsed["Server"] is None
    assert ardock("version", "--format", "{{.Client.Os}}").stdout == "linux\n"
    assert ardock("version", "--format", "{{.Client").returncode == 125
    assert ardock("--version").stdout.startswith("ardock version ")


def test_help_lists_commands_and_the_flags_that_are_built() -> None:
    top = ardock("--help")
    assert top.returncode == 0
    for name in (
        "run",
        "exec",
        "ps",
        "logs",
        "events",
        "daemon",
        "version",
        "info",
        "doctor",
        "--root",
        "--run-dir",
        "--host",
    ):
        assert name in top.stdout
    assert ardock().stdout == top.stdout
    run = ardock("run", "--help")
    assert run.returncode == 0
    assert "Usage: ardock run [OPTIONS] IMAGE|--rootfs PATH COMMAND [ARG...]" in run.stdout
    assert "-m, --memory bytes" in run.stdout
    assert "--publish" not in run.stdout


def test_a_reader_of_our_output_may_leave(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | true', "bash", *COMMAND, "run", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stderr == ""
    with (tmp_path / "full").open("w") as nothing:
        assert subprocess.run([*COMMAND, "--help"], stdout=nothing, check=False).returncode == 0


def test_a_socket_that_is_named_is_never_run_past(tmp_path: Path) -> None:
    """Where nobody answers there, the command does not become the owner of the root folder instead."""
    import socket

    path = tmp_path / "s"
    root = ["--root", str(tmp_path / "root"), "--run-dir", str(tmp_path / "run")]
    missing = ardock(*root, "-H", f"unix://{path}", "run", "--rootfs", "/", "true")
    assert (missing.returncode, missing.stderr) == (125, f"ardock: no engine answers at {path}: no such socket\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    refused = ardock(*root, "-H", f"unix://{path}", "run", "--rootfs", "/", "true")
    assert (refused.returncode, refused.stderr) == (125, f"ardock: no engine answers at {path}: Connection refused\n")
    assert not (tmp_path / "root").exists()


def test_what_an_error_quotes_cannot_reach_the_terminal() -> None:
    done = ardock("--root", "/proc/\x1b[2Jx\ny", "run", "--rootfs", "/", "true")
    assert done.returncode == 125
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1

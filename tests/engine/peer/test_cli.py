"""Command lines of docker's and of ardock's: the same words, and the same output but for what stands below, with its reason."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.driver import Ardock
from tests.cli.owner import owner
from tests.engine.peer.conftest import Docker

Command = Callable[..., subprocess.CompletedProcess[str]]

# Ids are drawn; what is told in words of time depends on when.
_ID: Final = re.compile(r"\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b")
_AGO: Final = re.compile(r"(Less than a second|About a minute|\d+ seconds?)( ago)?")

# Not in Docker's object: KernelMemory* went with API 1.42. In neither the other: options that nobody gave.
GONE: Final = {"HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP"}
# Whose folders, ids and defaults these are.
ITS_OWN: Final = {
    "Id", "Created", "Image", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "GraphDriver", "Ardock",
    "State.StartedAt", "State.FinishedAt", "State.Pid", "Config.Hostname", "NetworkSettings.SandboxID",
    "NetworkSettings.SandboxKey", "NetworkSettings.Networks.none.NetworkID", "NetworkSettings.Networks.none.EndpointID",
    "HostConfig.Runtime", "HostConfig.LogConfig", "HostConfig.MaskedPaths", "HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP",
    "HostConfig.ShmSize",  # Docker's is a mount of its own, of 64 MiB; ardock's is part of the container's one tmpfs
    "HostConfig.CgroupnsMode",  # on cgroup v1 docker's default is the host's
    "Config.AttachStdout", "Config.AttachStderr",  # what the client was asked to attach to later: ardock writes that down nowhere
    "Config.Image",  # a name here, a path there
    "Mounts[0].Propagation",  # docker's daemon shows rslave for its default, rprivate, where the source is on its own root
}  # fmt: skip


@pytest.fixture(scope="module")
def ours(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run ardock's command line, beside an owner; an image is a root file system there."""
    command = Ardock(tmp_path_factory.mktemp("cli"), busybox_root)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        given = [each for word in words for each in (("--rootfs", str(busybox_root)) if word == "bench" else (word,))]
        return subprocess.run(
            command.words(*given), capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )

    with owner(command):
        yield run
        run("rm", "-f", *run("ps", "-aq").stdout.split())


@pytest.fixture(autouse=True)
def nothing_left(ours: Command, docker: Docker) -> Iterator[None]:
    yield
    for command in (ours, docker):
        left = command("ps", "-aq").stdout.split()
        if left:
            command("rm", "-f", *left)


def plain(text: str) -> str:
    """Without what is drawn, and without what depends on the time of day."""
    return _AGO.sub("SOME TIME", _ID.sub("ID", text))


def same(ours: Command, docker: Docker, *words: str) -> str:
    """Both print the same on standard output and end with the same code; the output."""
    theirs, mine = docker(*words), ours(*words)
    assert (mine.returncode, plain(mine.stdout)) == (theirs.returncode, plain(theirs.stdout)), (
        mine.stderr,
        theirs.stderr,
    )
    # Both say something, or nothing; the words differ.
    assert bool(mine.stderr) == bool(theirs.stderr), (mine.stderr, theirs.stderr)
    return mine.stdout


def test_a_containers_life_is_told_in_the_same_words(ours: Command, docker: Docker) -> None:
    for words in (
        ["create", "--net", "none", "--name", "job", "-l", "b=1", "-l", "a=2", "bench", "sh", "-c", "exit 3"],
        ["create", "--net", "none", "--name", "job", "bench", "true"],
        ["create", "--net", "none", "--name", "srv", "--stop-timeout", "1", "bench", "sleep", "1000"],
        ["ps", "-q"],
        ["start", "job", "nobody", "srv"],
        ["wait", "job"],
        ["wait", "job", "nobody"],
        ["ps", "-aq", "--no-trunc"],
        ["ps", "-aq", "-f", "status=exited"],
        ["ps", "-aq", "-f", "label=a=2"],
        ["ps", "-aq", "-f", "name=o"],
        ["ps", "-q", "-f", "exited=3"],
        ["ps", "-a", "--format", "{{.ID}} {{.Names}} {{.Command}} {{.State}} {{.Status}} {{.Labels}} {{.Networks}} {{.Mounts}}"],
        ["ps", "-n", "1", "--format", "{{.Names}}"],
        ["ps", "-l", "--format", "{{.Names}}"],
        ["kill", "job"],
        ["kill", "-s", "USR1", "srv"],
        ["rename", "srv", "job"],
        ["rename", "srv", "server"],
        ["rm", "server", "job", "nobody"],
        ["rm", "-f", "nobody"],
        ["restart", "server", "-t", "0"],
        ["stop", "server", "nobody", "-t", "0"],
        ["stop", "server"],
        ["wait", "server"],
        ["inspect", "-f", "{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", "server", "nobody"],
        ["start", "server"],
        ["rm", "server"],
        ["rm", "-f", "server"],
        ["ps", "-aq"],
    ):  # fmt: skip
        same(ours, docker, *words)


def test_the_table_of_ps_has_the_same_columns(ours: Command, docker: Docker) -> None:
    for command in (ours, docker):
        assert (
            command(
                "create", "--net", "none", "--name", "a-long-name", "-l", "x.y-z=1", "bench", "sh", "-c", "a b"
            ).returncode
            == 0
        )
    headings = same(ours, docker, "ps")
    assert headings.startswith("CONTAINER ID   IMAGE")
    same(ours, docker, "ps", "-a", "--format", 'table {{.ID}}\\t{{.Names}}\\t{{.Command}}\\t{{.Label "x.y-z"}}')
    same(ours, docker, "ps", "-a", "--format", "table {{upper .Names}}\\t{{.State}}\\t{{.Ports}}\\t{{.Status}}")
    same(ours, docker, "ps", "-a", "--format", "table {{.Nothing}}")
    fields = [set(json.loads(command("ps", "-a", "--format", "json").stdout)) for command in (ours, docker)]
    assert fields[0] == fields[1]


def test_the_table_of_ps_is_as_wide_as_what_is_in_it(ours: Command, docker: Docker) -> None:
    for command in (ours, docker):
        assert command("create", "--net", "none", "bench", "sh", "-c", "a b").returncode == 0

    def ages() -> set[str]:
        return {command("ps", "-a", "--format", "{{.RunningFor}}").stdout for command in (docker, ours)}

    # Docker's is the older one: compared where both are said to have one age, before and after.
    for _ in range(50):
        before = ages()
        if len(before) == 1:
            words = ("ps", "-a", "--no-trunc", "--format", "table {{.Command}}\\t{{.RunningFor}}\\t{{.Networks}}")
            theirs, mine = docker(*words), ours(*words)
            if ages() == before:
                assert (mine.returncode, plain(mine.stdout)) == (theirs.returncode, plain(theirs.stdout))
                return
        time.sleep(0.1)
    raise AssertionError("they never were of one age")


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value of an object by its path."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, each in enumerate(value):
            yield from leaves(each, f"{path}[{index}]")
    else:
        yield path, value


def of_its_own(path: str) -> bool:
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in ITS_OWN)


FLAGS: Final = [
    "--net", "none", "--name", "one", "-l", "a=b", "-l", "c=d=e", "-m", "64m", "--cpus", "0.5", "-v", "/tmp:/m:ro",
    "--tmpfs", "/t:size=1m", "-e", "X=y", "--ulimit", "nofile=1000:2000", "--cap-add", "NET_ADMIN", "--cap-drop", "KILL",
    "--sysctl", "net.ipv4.ip_forward=1", "--stop-timeout", "3", "--stop-signal", "INT", "--security-opt", "no-new-privileges",
    "--pids-limit", "50", "--device", "/dev/null:/dev/xnull:rw", "-w", "/tmp", "-u", "root", "--dns", "1.2.3.4",
    "--add-host", "box:1.2.3.4", "--group-add", "5", "--read-only", "--hostname", "box", "--oom-score-adj", "100",
]  # fmt: skip


@pytest.mark.parametrize("flags", [["--net", "none", "--name", "one"], FLAGS], ids=["nothing", "much"])
def test_inspect_has_dockers_fields_and_values(ours: Command, docker: Docker, flags: list[str]) -> None:
    shown = []
    for command in (ours, docker):
        assert command("create", *flags, "bench", "sh", "-c", "sleep 1000").returncode == 0
        started = command("start", "one")
        assert started.returncode == 0, started.stderr
        (container,) = json.loads(command("inspect", "one").stdout)
        shown.append(dict(leaves(container)))
    mine, theirs = ({path: value for path, value in each.items() if not of_its_own(path)} for each in shown)
    assert mine == theirs
    assert {
        path
        for path in shown[1].keys() - shown[0].keys()
        if not path.startswith(("GraphDriver", "HostConfig.LogConfig"))
    } <= GONE


TEMPLATES: Final = [
    '{{.State.Status}} {{.State.Running}} {{.Config.Labels}} {{index .Config.Labels "a"}} {{.Config.Labels.nothing}}',
    "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}} {{range .Mounts}}{{.Source}}:{{.Destination}}{{end}}",
    "{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{.Config.Entrypoint}} {{.Config.Volumes}} {{len .Config.Cmd}}",
    '{{join .Config.Cmd ","}}',
    "a\\t{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}",
    "{{.HostConfig.PidsLimit}}",
    "{{if .State.Running}}up{{else}}down{{end}} {{.HostConfig.Binds}} {{.HostConfig.CapAdd}}",
    "{{.Nothing}}", "{{.State.Nothing}}", "{{with .State}}{{.Status}}{{end}}", "{{.NetworkSettings.IPAddress}}|",
]  # fmt: skip


def test_templates_of_inspect_print_the_same(ours: Command, docker: Docker) -> None:
    for command in (ours, docker):
        assert command("create", *FLAGS, "bench", "sh", "-c", "sleep 1000").returncode == 0
    for template in TEMPLATES:
        theirs, mine = (command("inspect", "-f", template, "one") for command in (docker, ours))
        assert (mine.returncode, mine.stdout.strip()) == (theirs.returncode, theirs.stdout.strip()), (
            template,
            theirs.stderr,
        )

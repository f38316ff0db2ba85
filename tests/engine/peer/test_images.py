"""Images of docker's here, and ours there: the same ids, the same objects, the same effect on containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.driver import Ardock
from tests.cli.owner import owner
from tests.engine.peer.conftest import Docker
from tests.engine.peer.test_cli import leaves, plain

Command = Callable[..., subprocess.CompletedProcess[str]]

# In docker's 20.10, and in none since API 1.44.
GONE: Final = {"Container", "ContainerConfig", "VirtualSize"}
# Where each keeps what, and since when; docker counts the lengths of symlinks, too.
ITS_OWN: Final = {"Ardock", "GraphDriver", "Metadata", "Parent", "Size"}
# What `docker commit` leaves of the container in an image, until 25.
ITS_CONTAINERS: Final = {"Config.Hostname", "Config.AttachStdout", "Config.AttachStderr", "Config.Image"}

# Each is applied by `docker commit --change` and `ardock import --change` alike.
CHANGES: Final = [
    'ENTRYPOINT ["/bin/echo", "e"]', 'CMD ["c", "d"]', "ENV A=1", 'ENV B="two words"', "USER alice", "WORKDIR /made",
    "EXPOSE 80/tcp 53/udp", "LABEL a=b c=d", "VOLUME /data /more", "ONBUILD RUN true",
    "HEALTHCHECK --interval=5s --retries=2 CMD true",
]  # fmt: skip


@pytest.fixture(scope="module")
def ours(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run ardock's command line, beside an owner."""
    command = Ardock(tmp_path_factory.mktemp("cli"), busybox_root)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.words(*words), capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )

    with owner(command):
        yield run
        run("rm", "-f", *run("ps", "-aq").stdout.split())


@pytest.fixture(scope="module")
def odd(ours: Command, docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of docker's, of two layers and an odd configuration, on both sides."""
    good(
        docker(
            "run",
            "--net",
            "none",
            "--name",
            "maker",
            "--stop-signal",
            "INT",
            "bench",
            "sh",
            "-c",
            "echo x > /new; rm /bin/vi; mkdir /d",
        )
    )
    flags = [word for change in CHANGES for word in ("--change", change)]
    good(docker("commit", "-a", "me", "-m", "odd one", *flags, "maker", "odd:v1"))
    good(docker("rm", "maker"))
    archive = tmp_path_factory.mktemp("odd") / "odd.tar"
    good(docker("save", "-o", str(archive), "odd:v1"))
    assert good(ours("load", "-q", "-i", str(archive))) == "Loaded image: odd:v1\n"
    return "odd:v1"


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspected(command: Command, *words: str) -> dict[str, Any]:
    (shown,) = json.loads(good(command(*words)))
    return dict(shown)


def shown(image: dict[str, Any]) -> dict[str, object]:
    found = dict(leaves({name: value for name, value in image.items() if name not in ITS_OWN | GONE}))
    return {path: value for path, value in found.items() if path not in ITS_CONTAINERS}


def test_an_image_of_dockers_is_the_same_object(ours: Command, docker: Docker, odd: str) -> None:
    mine, theirs = inspected(ours, "image", "inspect", odd), inspected(docker, "image", "inspect", odd)
    assert shown(mine) == shown(theirs)
    assert theirs.keys() - mine.keys() <= GONE
    assert mine.keys() - theirs.keys() == {"Ardock"}


def test_images_and_history_have_the_same_lines(ours: Command, docker: Docker, odd: str) -> None:
    for words in (
        ("images", "--format", "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}", "odd"),
        ("images", "--digests", "--format", "{{.Repository}} {{.Digest}}", "odd"),
        ("images", "-q", "--no-trunc", "odd"),
        ("images", "-f", "reference=o*:v?", "--format", "{{.Repository}}|{{.Tag}}|{{.ID}}"),
        ("images", "-f", "label=a=b", "--format", "{{.Repository}}"),
        # Without the ids: of steps that it has made itself docker knows the images.
        ("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}|{{.CreatedAt}}", odd),
    ):
        theirs, mine = docker(*words), ours(*words)
        assert (mine.returncode, plain(mine.stdout)) == (theirs.returncode, plain(theirs.stdout)), words


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["x", "y"],
        ["--entrypoint", "env", "", "-i", "pwd"],
        ["--entrypoint", "sh", "", "-c", "id; pwd; echo $A $B $PATH; stat -c '%F %u %a' /data /more"],
        ["--entrypoint", "", "", "echo", "plain"],
        ["--entrypoint", ""],
        ["-u", "root", "-w", "/d", "-e", "A=2", "--entrypoint", "sh", "", "-c", "id -u; pwd; echo $A $B"],
    ],
)
def test_its_containers_do_the_same(ours: Command, docker: Docker, odd: str, words: list[str]) -> None:
    """An empty word after flags stands for the image."""
    line = [odd if word == "" and words[place - 1] != "--entrypoint" else word for place, word in enumerate(words)]
    if odd not in line:
        # No arguments, or arguments alone.
        line = [*line, odd] if line[:1] == ["--entrypoint"] else [odd, *line]
    theirs, mine = docker("run", "--rm", "--net", "none", *line), ours("run", "--rm", *line)
    assert (mine.returncode, mine.stdout) == (theirs.returncode, theirs.stdout), (mine.stderr, theirs.stderr)


def test_a_container_tells_what_it_got(ours: Command, docker: Docker, odd: str) -> None:
    configs = []
    for command in (ours, docker):
        good(command("create", "--name", "told", "--net", "none", "-e", "A=3", "-l", "c=mine", odd, "arg"))
        container = inspected(command, "inspect", "told")
        good(command("rm", "-v", "told"))
        configs.append(
            {"Path": container["Path"], "Args": container["Args"], "Image": container["Image"], **container["Config"]}
        )
    mine, theirs = configs
    for each in configs:
        del each["Hostname"], each["AttachStdout"], each["AttachStderr"]
    assert mine == theirs


def test_an_image_of_ours_is_the_same_object_there(
    ours: Command, docker: Docker, busybox_root: Path, tmp_path: Path
) -> None:
    flags = [word for change in CHANGES for word in ("--change", change)]
    image_id = good(ours("import", "-m", "made", *flags, str(busybox_root), "mine:v1")).strip()
    good(
        ours("run", "--name", "worker", "-u", "root", "--entrypoint", "sh", "mine:v1", "-c", "echo y > /y; rm /bin/vi")
    )
    second = good(ours("commit", "worker", "mine:v2")).strip()
    archive = tmp_path / "mine.tar"
    good(ours("save", "-o", str(archive), "mine:v1", "mine:v2"))
    good(docker("load", "-i", str(archive)))
    for name, known in (("mine:v1", image_id), ("mine:v2", second)):
        there, here = inspected(docker, "image", "inspect", name), inspected(ours, "image", "inspect", name)
        assert there["Id"] == known
        assert shown(here) == shown(there)
    good(docker("rmi", "mine:v1", "mine:v2"))


def test_a_diff_is_the_same(ours: Command, docker: Docker, odd: str) -> None:
    script = "touch /d/f; chmod 711 /tmp; rm -r /home; mkdir /home; echo z > /home/z; ln -s x /etc/l"
    said = []
    for command in (ours, docker):
        flags = [] if command is ours else ["--net", "none"]
        good(command("run", "--name", "changed", "-u", "root", "--entrypoint", "sh", *flags, odd, "-c", script))
        said.append(sorted(good(command("diff", "changed")).splitlines()))
        good(command("rm", "-v", "changed"))
    assert said[0] == said[1]

"""An image's life at the command line, with an engine and a real registry: made, pushed, removed, pulled by `run`, saved, loaded."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.driver import Ardock
from tests.cli.owner import owner
from tests.engine.images import made
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import Registry, plain_registry

pytestmark = pytest.mark.root


@pytest.fixture
def registry() -> Iterator[Registry]:
    with plain_registry() as running:
        yield running


class Command:
    """`ardock`, beside an owner."""

    def __init__(self, ardock: Ardock) -> None:
        self._ardock = ardock

    def __call__(self, *words: str, code: int = 0, stdin: bytes = b"") -> tuple[str, str]:
        done = subprocess.run(
            self._ardock.words(*words), input=stdin, capture_output=True, check=False, timeout=60,
            env={**os.environ, "DOCKER_CONFIG": str(self._ardock.folder / "docker")},
        )  # fmt: skip
        assert done.returncode == code, (words, done.stderr.decode())
        self.raw = done.stdout
        return done.stdout.decode(errors="replace"), done.stderr.decode()


@pytest.fixture
def command(ardock: Ardock) -> Iterator[Command]:
    with owner(ardock):
        yield Command(ardock)


def test_an_image_s_life(command: Command, busybox_root: Path, registry: Registry, tmp_path: Path) -> None:
    name = f"localhost:{registry.port}/me/box"
    image_id, _ = command(
        "import",
        "-c",
        'ENTRYPOINT ["/bin/echo", "says"]',
        "-c",
        'CMD ["hello"]',
        "-m",
        "made",
        str(busybox_root),
        "box",
    )
    assert command("run", "--rm", "box") == ("says hello\n", "")
    assert command("run", "--rm", "box", "bye") == ("says bye\n", "")
    assert command("run", "--rm", "--entrypoint", "cat", "box", "/etc/passwd")[0].startswith("root:")

    command("tag", "box", f"{name}:v1")
    out, _ = command("push", f"{name}:v1")
    (layer, digest) = re.findall(r"([0-9a-f]{12}): Pushed", out)[0], re.findall(r"v1: digest: (sha256:\S+)", out)[0]
    assert layer
    # What is there is not sent again.
    out, _ = command("push", f"{name}:v1")
    assert "Layer already exists" in out
    assert "Pushed" not in out

    command("rmi", f"{name}:v1", "box")
    assert command("images", "-q") == ("", "")
    out, err = command("run", "--rm", f"{name}:v1")
    assert out == "says hello\n"
    lines = err.splitlines()
    assert lines[:2] == [f"Unable to find image '{name}:v1' locally", "v1: Pulling from me/box"]
    assert lines[-2:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}:v1"]
    assert lines[2].endswith(": Pulling fs layer")
    assert [line.partition(": ")[2] for line in lines[2:-2]] == [
        "Pulling fs layer",
        "Download complete",
        "Pull complete",
    ]

    out, err = command("pull", f"{name}@{digest}")
    assert out.splitlines()[-1] == f"{name}@{digest}"
    assert err == ""
    out, _ = command("pull", f"{name}:v1")
    assert f"Status: Image is up to date for {name}:v1" in out
    assert command("pull", "-q", f"{name}:v1") == (f"{name}:v1\n", "")
    out, _ = command("images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
    assert out == f"{name} v1 {digest}\n"
    _, err = command("pull", f"{name}:none", code=1)
    assert "none" in err
    assert err.count("\n") == 1
    _, err = command("run", "--rm", "--pull", "never", f"{name}:none", code=125)
    assert "Unable to find" not in err
    out, _ = command(
        "image", "inspect", "--format", "{{.Id}} {{index .RepoDigests 0}} {{.Config.Entrypoint}}", f"{name}:v1"
    )
    assert out == f"{image_id.strip()} {name}@{digest} [/bin/echo says]\n"
    assert command("history", "--format", "{{.Comment}}", f"{name}:v1")[0] == "made\n"

    archive = tmp_path / "a.tar"
    command("save", "-o", str(archive), f"{name}:v1")
    command("save", f"{name}:v1")
    assert command.raw == archive.read_bytes()
    with tarfile.open(archive) as members:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(members.getnames())
    command("rmi", "-f", f"{name}:v1")
    command("image", "prune", "-af")
    assert command("load", "-q", stdin=archive.read_bytes())[0] == f"Loaded image: {name}:v1\n"
    assert command("load", "-i", str(archive))[0] == f"Loaded image: {name}:v1\n"
    _, err = command("load", stdin=b"no archive" * 1000, code=1)
    assert err.startswith("ardock: ")


@pytest.mark.parametrize("who", ["client", "owner"])
def test_an_interrupted_pull_leaves_nothing(ardock: Ardock, registry: Registry, who: str) -> None:
    """Ctrl-C while a layer comes slowly: of an engine beside us as of our own."""
    layer = made.tar({"file": os.urandom(2_000_000)})
    rootfs = {"type": "layers", "diff_ids": [made.digest(layer)]}
    registry.put_image("slow", "v1", [layer], {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})
    with Proxy(registry.port) as proxy, contextlib.ExitStack() as stack:
        proxy.faults.append(Fault("GET .*/blobs/", times=-1, rate=100_000))
        if who == "client":
            stack.enter_context(owner(ardock))
        process = subprocess.Popen(
            ardock.words("pull", f"{proxy.host}/slow:v1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        while b"Pulling fs layer" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, b"")
        content = ardock.folder / "root" / "content"
        deadline = time.monotonic() + 10
        while left := [each for each in content.rglob("*") if each.is_file()]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        # Nothing of it is in the way of the next, which comes as fast as the registry.
        proxy.faults.clear()
        done = subprocess.run(
            ardock.words("pull", "-q", f"{proxy.host}/slow:v1"), capture_output=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_container_s_changes(command: Command, busybox_root: Path) -> None:
    command("import", str(busybox_root), "box")
    command("run", "--name", "web", "box", "sh", "-c", "echo hi > /tmp/new; rm /etc/group; chmod 700 /root")
    out, _ = command("diff", "web")
    assert out.splitlines() == ["C /etc", "D /etc/group", "C /root", "C /tmp", "A /tmp/new"]
    command("commit", "-m", "why", "-a", "me", "-c", 'CMD ["cat", "/tmp/new"]', "web", "box:v2")
    assert command("run", "--rm", "box:v2") == ("hi\n", "")
    command("export", "web")
    with tarfile.open(fileobj=io.BytesIO(command.raw)) as members:
        names = set(members.getnames())
    assert "tmp/new" in names
    assert "etc/group" not in names
    out, _ = command("df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}")
    assert out.splitlines() == ["Images 2 1", "Containers 1 0", "Local Volumes 0 0", "Build Cache 0 0"]
    _, err = command("rmi", "box", code=1)
    assert "web" in err or "container" in err
    assert command("image", "fsck")[0].endswith("no problems\n")

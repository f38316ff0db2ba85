"""A dockerd of the tests' own, in a network namespace of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import peers
from bench.systems import Place, UnusableError

DockerRun = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here compares with a peer, and makes containers."""
    for item in items:
        if "docker_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.peer)
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def docker_run(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRun]:
    """Run a shell script in a container of docker's on the busybox root and return its output."""
    place = Place("disk", captures=False, folder=tmp_path_factory.mktemp("docker"), rootfs=busybox_root)
    dockerd = peers.Dockerd(place)
    try:
        dockerd.start()
    except UnusableError as error:
        pytest.skip(f"docker cannot be compared with here: {error}")

    def run(script: str, *flags: str) -> str:
        command = ["docker", "-H", dockerd.socket, "run", "--rm", "--net", "none", *flags, "bench", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    dockerd.stop()
    peers.remove_groups()

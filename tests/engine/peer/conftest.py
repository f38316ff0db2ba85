"""A dockerd of the tests' own, in a network namespace of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import peers
from bench.systems import Place, UnusableError

DockerRun = Callable[..., str]
Docker = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here compares with a peer, and makes containers."""
    for item in items:
        if "dockerd" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.peer)
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def dockerd(busybox_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Dockerd]:
    """A running dockerd with the busybox root as its image `bench`."""
    place = Place("disk", captures=False, folder=tmp_path_factory.mktemp("docker"), rootfs=busybox_root)
    daemon = peers.Dockerd(place)
    try:
        daemon.start()
    except UnusableError as error:
        pytest.skip(f"docker cannot be compared with here: {error}")
    yield daemon
    daemon.stop()
    peers.remove_groups()


@pytest.fixture(scope="session")
def docker(dockerd: peers.Dockerd) -> Docker:
    """Run docker's command line."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "-H", dockerd.socket, *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )

    return run


@pytest.fixture(scope="session")
def docker_run(docker: Docker) -> DockerRun:
    """Run a shell script in a container of docker's on the busybox root and return its output."""

    def run(script: str, *flags: str) -> str:
        done = docker("run", "--rm", "--net", "none", *flags, "bench", "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

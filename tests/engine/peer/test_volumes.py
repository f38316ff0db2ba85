"""Volumes of docker's and of ardock's: the same command lines, the same output and the same objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.engine.peer.conftest import Docker
from tests.engine.peer.test_cli import Command, ours

__all__ = ["ours"]

_ID: Final = re.compile(r"\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?(Z|[+-]\d\d:\d\d)")


@pytest.fixture(autouse=True)
def nothing_left(ours: Command, docker: Docker) -> Iterator[None]:
    yield
    for command in (ours, docker):
        containers = command("ps", "-aq").stdout.split()
        if containers:
            command("rm", "-f", *containers)
        volumes = command("volume", "ls", "-q").stdout.split()
        if volumes:
            command("volume", "rm", *volumes)


def told(command: Command, lines: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Exit codes and outputs, with what is drawn or depends on when and where left out."""
    answers = []
    for words in lines:
        done = command(*words)
        text = _TIME.sub("TIME", _ID.sub("ID", done.stdout))
        answers.append((done.returncode, re.sub(r"/\S*/volumes/", "ROOT/volumes/", text)))
    return answers


CASES: Final = {
    "create, list, remove": [
        ["volume", "create", "one"],
        ["volume", "create", "--label", "a=b", "--label", "c", "two"],
        ["volume", "create", "one"],
        ["volume", "ls"],
        ["volume", "ls", "-q", "--filter", "label=a"],
        ["volume", "ls", "-q", "--filter", "label=a=x"],
        ["volume", "ls", "-q", "--filter", "name=tw"],
        ["volume", "ls", "-q", "--filter", "dangling=false"],
        ["volume", "ls", "-q", "--filter", "driver=local"],
        [
            "volume",
            "ls",
            "--format",
            "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Mountpoint}} {{.Size}} {{.Links}}",
        ],
        ["volume", "inspect", "one"],
        ["volume", "inspect", "--format", "{{.Name}} {{.Labels}} {{.Options}}", "two"],
        ["volume", "inspect", "absent"],
        ["volume", "rm", "one"],
        ["volume", "rm", "absent"],
        ["volume", "rm", "-f", "absent"],
        ["volume", "ls", "-q"],
    ],
    "options": [
        ["volume", "create", "-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "fast"],
        ["volume", "inspect", "--format", "{{json .Options}}", "fast"],
        ["volume", "create", "-o", "colour=blue", "odd"],
        ["volume", "create", "-o", "type=tmpfs", "odd"],
        ["volume", "create", "-d", "absent", "odd"],
        ["volume", "create", "x"],
        ["volume", "create", "a/b"],
        ["run", "--rm", "--net", "none", "-v", "fast:/f", "bench", "sh", "-c", "df -k /f | tail -1 | awk '{print $2}'"],
    ],
    "in use": [
        ["create", "--name", "web", "--net", "none", "-v", "data:/d", "bench", "true"],
        ["volume", "rm", "data"],
        ["volume", "ls", "-q", "--filter", "dangling=true"],
        ["ps", "-a", "--filter", "volume=data", "--format", "{{.Names}} {{.Mounts}} {{.LocalVolumes}}"],
        ["rm", "-v", "web"],
        ["volume", "rm", "data"],
    ],
    "anonymous": [
        ["run", "--rm", "--net", "none", "-v", "/anon", "bench", "true"],
        ["volume", "ls", "-q"],
        ["create", "--name", "web", "--net", "none", "-v", "/anon", "bench", "true"],
        ["volume", "ls", "-q"],
        ["rm", "web"],
        ["volume", "ls", "-q"],
        ["volume", "prune", "-f"],
        ["create", "--name", "web", "--net", "none", "-v", "/anon", "bench", "true"],
        ["rm", "-v", "web"],
        ["volume", "ls", "-q"],
    ],
    "volumes from": [
        ["create", "--name", "web", "--net", "none", "-v", "data:/d", "-v", "/anon", "bench", "true"],
        [
            "run",
            "--rm",
            "--net",
            "none",
            "--volumes-from",
            "web",
            "bench",
            "sh",
            "-c",
            "echo x > /d/x; echo y > /anon/y",
        ],
        [
            "run",
            "--rm",
            "--net",
            "none",
            "--volumes-from",
            "web:ro",
            "bench",
            "sh",
            "-c",
            "cat /d/x /anon/y; touch /d/z",
        ],
        ["volume", "ls", "-q"],
        ["run", "--rm", "--net", "none", "--volumes-from", "absent", "bench", "true"],
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_words_have_the_same_effect(ours: Command, docker: Docker, case: str) -> None:
    got, wanted = told(ours, CASES[case]), told(docker, CASES[case])
    for words, mine, theirs in zip(CASES[case], got, wanted, strict=True):
        assert mine == theirs, f"{' '.join(words)}\n{mine}\n{theirs}"


def test_a_containers_mounts_are_shown_alike(ours: Command, docker: Docker, tmp_path: Path) -> None:
    flags = [
        *("-v", "data:/d", "-v", "ro:/ro:ro", "-v", "nc:/nc:nocopy", "-v", "/anon"),
        *("--mount", "type=volume,src=mm,dst=/m,readonly"),
        *(
            "--mount",
            "type=volume,src=oo,dst=/o,volume-label=a=b,volume-nocopy,volume-opt=type=tmpfs,volume-opt=device=tmpfs",
        ),
        *("--mount", "type=tmpfs,dst=/t,tmpfs-size=1m", "--volumes-from", "other:ro"),
    ]
    objects = []
    for command in (ours, docker):
        assert (
            command("create", "--name", "other", "--net", "none", "-v", "theirs:/theirs", "bench", "true").returncode
            == 0
        )
        made = command("create", "--name", "web", "--net", "none", *flags, "bench", "true")
        assert made.returncode == 0, made.stderr
        (shown,) = json.loads(command("inspect", "web").stdout)
        text = _ID.sub("ID", json.dumps(shown["Mounts"]))
        mounts = json.loads(re.sub(r'"/[^"]*/volumes/', '"ROOT/volumes/', text))
        host = shown["HostConfig"]
        objects.append(
            {
                "Mounts": sorted(mounts, key=lambda mount: str(mount["Destination"])),
                "Binds": sorted(host["Binds"]),
                "HostMounts": host.get("Mounts"),
                "VolumesFrom": host["VolumesFrom"],
                "Volumes": shown["Config"]["Volumes"],
            }
        )
        command("rm", "-fv", "web", "other")
    ardock, docker_s = objects
    for key in ardock:
        assert ardock[key] == docker_s[key], key

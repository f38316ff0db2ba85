"""`ardock volume`: what its commands ask the engine for, and how they print what it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_engine import FakeEngine
from tests.cli.test_client_mode import ardock, end


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    folder = Path(tempfile.mkdtemp(prefix="ardock-fake-"))
    fake = FakeEngine(folder / "s")
    yield fake
    fake.drop()
    shutil.rmtree(folder)


def test_a_volume_is_created_and_its_name_printed(engine: FakeEngine) -> None:
    options = ["--driver", "local", "--opt", "type=tmpfs", "-o", "device=tmpfs", "--opt", "o=size=100m,mode=700"]
    with ardock(engine, "volume", "create", *options, "--label", "a=b", "--label", "c", "fast") as process:
        request = engine.expect("volumes.create")
        assert request.params["name"] == "fast"
        assert request.params["options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=100m,mode=700"}
        assert request.params["labels"] == {"a": "b", "c": ""}
        request.reply(name="fast")
        assert end(process) == (0, b"fast\n", b"")
    with ardock(engine, "volume", "create") as process:
        request = engine.expect("volumes.create")
        assert request.params.get("name", "") == ""
        request.reply(name="0" * 64)
        assert end(process) == (0, b"0" * 64 + b"\n", b"")
    with ardock(engine, "volume", "create", "-d", "nfs", "x") as process:
        engine.expect("volumes.create").fail("unsupported", "driver: there is no volume driver 'nfs', only 'local'")
        assert end(process) == (1, b"", b"ardock: driver: there is no volume driver 'nfs', only 'local'\n")


def listed(engine: FakeEngine) -> dict[str, object]:
    request = engine.expect("volumes.list")
    request.reply(
        volumes=[
            {"name": "data", "mountpoint": "/r/volumes/data/_data", "labels": {"b": "", "a": "1"}},
            {"name": "fast", "mountpoint": "/r/volumes/fast/_data", "options": {"type": "tmpfs"}},
        ]
    )
    return request.params


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "DRIVER    VOLUME NAME\nlocal     data\nlocal     fast\n"),
        (["-q"], "data\nfast\n"),
        (["--format", "{{.Name}} {{.Driver}} {{.Labels}} {{.Mountpoint}}"],
         "data local a=1,b= /r/volumes/data/_data\nfast local  /r/volumes/fast/_data\n"),
    ],
)  # fmt: skip
def test_volumes_are_listed(engine: FakeEngine, arguments: list[str], printed: str) -> None:
    with ardock(engine, "volume", "ls", *arguments) as process:
        assert listed(engine).get("filters", {}) == {}
        assert end(process) == (0, printed.encode(), b"")


def test_filters_go_to_the_engine(engine: FakeEngine) -> None:
    with ardock(
        engine, "volume", "ls", "-f", "dangling=true", "-f", "label=a", "--filter", "label=b=c", "-q"
    ) as process:
        assert listed(engine)["filters"] == {"dangling": ["true"], "label": ["a", "b=c"]}
        assert end(process)[0] == 0


def test_a_volume_is_shown_in_dockers_shape(engine: FakeEngine) -> None:
    with ardock(engine, "volume", "inspect", "data", "no") as process:
        engine.expect("engine.info").reply(id="deadbeef", root="/r")
        for _ in range(2):
            request = engine.expect("volumes.inspect")
            if request.params["name"] == "data":
                request.reply(name="data", mountpoint="/r/volumes/data/_data", created_at=1_700_000_000_500_000_000)
            else:
                request.fail("not_found", "volume: no such volume: 'no'")
        code, out, err = end(process)
    assert (code, err) == (1, b"ardock: volume: no such volume: 'no'\n")
    assert json.loads(out) == [
        {
            "CreatedAt": "2023-11-14T22:13:20Z",
            "Driver": "local",
            "Labels": None,
            "Mountpoint": "/r/volumes/data/_data",
            "Name": "data",
            "Options": None,
            "Scope": "local",
        }
    ]


def test_volumes_are_removed_one_by_one(engine: FakeEngine) -> None:
    with ardock(engine, "volume", "rm", "-f", "a", "b") as process:
        for _ in range(2):
            request = engine.expect("volumes.remove")
            assert request.params["force"] is True
            if request.params["name"] == "a":
                request.fail("conflict", "volume a is in use by container 0123 (web): remove the container first")
            else:
                request.reply()
        code, out, err = end(process)
    assert (code, out) == (1, b"b\n")
    assert err == b"ardock: volume a is in use by container 0123 (web): remove the container first\n"


@pytest.mark.parametrize(("answer", "asked"), [(b"y\n", True), (b"Yes\n", True), (b"n\n", False), (b"", False)])
def test_prune_asks_first(engine: FakeEngine, answer: bytes, asked: bool) -> None:
    with ardock(engine, "volume", "prune", "--filter", "label!=keep", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(answer)
        process.stdin.close()
        process.stdin = None
        if asked:
            request = engine.expect("volumes.prune")
            assert (request.params.get("all", False), request.params["filters"]) == (False, {"label!": ["keep"]})
            request.reply(removed=["a", "b"], reclaimed=1230000)
        code, out, _ = end(process)
    warning = b"WARNING! This will remove anonymous local volumes not used by at least one container.\n"
    assert out.startswith(warning + b"Are you sure you want to continue? [y/N] ")
    if asked:
        assert (code, out.endswith(b"Deleted Volumes:\na\nb\n\nTotal reclaimed space: 1.23MB\n")) == (0, True)
    else:
        assert code == 1
        assert engine.requests.empty()


def test_prune_with_force_asks_nobody(engine: FakeEngine) -> None:
    with ardock(engine, "volume", "prune", "-af") as process:
        request = engine.expect("volumes.prune")
        assert request.params["all"] is True
        request.reply(removed=[], reclaimed=0)
        assert end(process) == (0, b"Total reclaimed space: 0B\n", b"")


def test_run_hands_over_what_it_was_told(engine: FakeEngine) -> None:
    flags = ["-v", "data:/d:ro", "-v", "/anon", "--volumes-from", "web:ro", "--volume-driver", "local"]
    mount = "type=volume,src=fast,dst=/f,volume-opt=type=tmpfs,volume-subpath=a"
    with ardock(engine, "create", *flags, "--mount", mount, "image", "x") as process:
        request = engine.expect("containers.create")
        assert request.params["spec"]["volumes_from"] == ["web:ro"]
        assert request.params["spec"]["mounts"] == [
            {"target": "/d", "type": "volume", "source": "data", "read_only": True, "create_source": True},
            {"target": "/anon", "type": "volume", "create_source": True},
            {"target": "/f", "type": "volume", "source": "fast", "subpath": "a", "driver_options": {"type": "tmpfs"}},
        ]
        request.reply(id="0" * 64, name="x")
        assert end(process)[0] == 0

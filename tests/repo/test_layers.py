"""Imports go downwards only: model, protocol, engine, gateways and clients, command line and daemon."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.repo.layers import violations

TOP = Path(__file__).parents[2]


def test_imports_go_downwards_only() -> None:
    assert violations(TOP / "python/ardock") == []


BAD = {
    "upwards": ("model/spec.py", "from ardock.engine.engine import Engine\n", "model imports ardock.engine"),
    "upwards through the package": ("engine/a.py", "from ardock import cli\n", "engine imports ardock.cli"),
    "upwards inside a function": ("engine/a.py", "def f():\n    import ardock.cli.app\n", "a.py:2"),
    "for a type alone": (
        "model/spec.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ardock.protocol.frames import Frame\n",
        "spec.py:3",
    ),
    "sideways": ("server/a.py", "from ardock.docker.rest import App\n", "which is not below it"),
    "the public face": ("cli/a.py", "import ardock\n", "public face"),
    "a name of the public face": ("cli/a.py", "from ardock import open_engine\n", "public face"),
    "relative": ("engine/a.py", "from . import b\n", "relative import"),
    "input and output in the model": ("model/a.py", "import socket\n", "model imports socket"),
    "a second event loop": ("engine/a.py", "import asyncio.events\n", "engine imports asyncio"),
    "a part without a place": ("extra/a.py", "", "no place"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_import_is_found(tmp_path: Path, case: str) -> None:
    name, text, message = BAD[case]
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text(text)
    found = violations(tmp_path)
    assert len(found) == 1
    assert message in found[0]


def test_what_goes_downwards_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/a.py").write_text(
        "import trio\nfrom ardock import _core\nfrom ardock.model.records import ExitRecord\n"
    )
    (tmp_path / "__init__.py").write_text("from ardock.engine import Engine\n")
    assert violations(tmp_path) == []


CRATES = {
    "launch": set[str](),
    "keeper": {"ardock-launch"},
    "frames": set[str](),
    "layer": set[str](),
    "python": {"ardock-launch", "ardock-keeper", "ardock-frames", "ardock-layer"},
    # Programs that look for faults in the others (make fuzz); a workspace of its own.
    "fuzz": {"ardock-frames", "ardock-layer"},
}


def test_every_crate_has_a_place() -> None:
    assert {file.parent.name for file in (TOP / "rust").glob("*/Cargo.toml")} == set(CRATES)


@pytest.mark.parametrize("crate", CRATES)
def test_crates_depend_downwards_only(crate: str) -> None:
    manifest = tomllib.loads((TOP / "rust" / crate / "Cargo.toml").read_text())
    ours = {name for name in manifest["dependencies"] if name.startswith("ardock-")}
    assert ours <= CRATES[crate]


def test_the_keeper_has_no_event_loop_and_no_python() -> None:
    """Small, static, boring: one epoll loop of its own."""
    manifest = tomllib.loads((TOP / "rust/keeper/Cargo.toml").read_text())
    assert not {"tokio", "async-std", "smol", "pyo3"} & set(manifest["dependencies"])

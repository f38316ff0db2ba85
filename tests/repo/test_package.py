"""What is built and published is whole: the keeper is in it, the source distribution can be built, versions agree."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ardock

TOP = Path(__file__).parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
KEEPER = Path(ardock.__file__).parent / "_bin/ardock-keeper"

PT_INTERP = 3


def test_keeper_is_in_the_package_and_can_be_executed() -> None:
    assert stat.S_IMODE(KEEPER.stat().st_mode) == 0o755


def test_keeper_is_static() -> None:
    """It runs in a mount namespace without any library: no program interpreter in its ELF header (elf(5))."""
    image = KEEPER.read_bytes()
    assert image[:5] == b"\x7fELF\x02"
    offset, size, count = (int.from_bytes(image[at : at + n], "little") for at, n in ((32, 8), (54, 2), (56, 2)))
    kinds = [int.from_bytes(image[at : at + 4], "little") for at in range(offset, offset + size * count, size)]
    assert kinds
    assert PT_INTERP not in kinds


def test_keeper_is_small() -> None:
    """A few MB for thousands of containers; a library that slips in shows here."""
    assert KEEPER.stat().st_size < 4 << 20


def test_versions_agree() -> None:
    assert version("ardock") == tomllib.loads((TOP / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def test_lock_file_holds_what_the_project_asks_for() -> None:
    text = (TOP / "requirements/dev.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    asked = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["development"]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(locked[requirement.name]), requirement
    assert text.count("--hash=sha256:") >= len(locked)


def test_every_ignored_rule_has_its_reason() -> None:
    text = (TOP / "pyproject.toml").read_text().partition("\nignore = [\n")[2]
    ignores = re.findall(r'^    "([A-Z]+\d*)",(.*)$', text, re.MULTILINE)
    assert len(ignores) > 20
    assert [rule for rule, rest in ignores if not rest.strip().startswith("# ")] == []


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a source distribution made now, without its own first folder."""
    folder = tmp_path_factory.mktemp("sdist")
    maturin = Path(sys.executable).with_name("maturin")
    subprocess.run(
        [maturin, "sdist", "--out", folder],
        cwd=TOP,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        check=True,
    )
    with tarfile.open(next(folder.iterdir())) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_sdist_holds_all_that_a_build_needs(sdist: set[str]) -> None:
    wanted = {
        str(file.relative_to(TOP))
        for pattern in ("rust/*/Cargo.toml", "rust/*/build.rs", "rust/*/src/**/*.rs", "rust/*/src/**/*.json")
        for file in TOP.glob(pattern)
    }
    wanted |= {"Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"}
    wanted |= {"python/ardock/_core.pyi", "python/ardock/py.typed", "requirements/dev.lock"}
    assert wanted - sdist == set()


def test_sdist_holds_all_python_modules(sdist: set[str]) -> None:
    sources = {str(file.relative_to(TOP)) for file in TOP.glob("python/ardock/**/*.py")}
    assert sources - sdist == set()


def test_sdist_holds_nothing_that_was_built(sdist: set[str]) -> None:
    assert [name for name in sdist if name.endswith((".so", ".pyc")) or "/_bin/" in name or "target/" in name] == []

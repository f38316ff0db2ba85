"""What a command loads: start-up time is part of the interface."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Top-level packages beside the standard library's and our own.
# msgspec takes typing_extensions along where that is installed.
CLICK = {"click", "msgspec", "typing_extensions"}
ENGINE = CLICK | {"trio", "outcome", "sniffio", "attr", "attrs", "sortedcontainers", "msgpack", "idna"}

# Slow to import and of no use on the way to a container.
NEVER = {"asyncio", "anyio", "rich", "structlog", "prometheus_client", "importlib.metadata", "sqlite3", "http", "email",
         "unittest", "multiprocessing", "pydoc"}  # fmt: skip

REPORT = """
import sys
before = set(sys.modules)
try:
    from ardock.cli.app import main
    main(sys.argv[1:])
except SystemExit:
    pass
import os
os.write(2, "\\n".join("module " + name for name in set(sys.modules) - before).encode())
"""


def loaded(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", REPORT, *arguments], capture_output=True, text=True, check=True)
    return {line.removeprefix("module ") for line in done.stderr.splitlines() if line.startswith("module ")}


def third_party(modules: set[str]) -> set[str]:
    top = {module.partition(".")[0] for module in modules}
    return {
        name for name in top if name not in sys.stdlib_module_names and name != "ardock" and not name.startswith("_")
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["run", "--foo"],
        ["run", "-p", "80:80", "x"],
        ["run", "alpine"],
        ["nonsense"],
        ["exec", "--help"],
        ["logs"],
        ["events", "x"],
    ],
)
def test_help_and_usage_errors_load_click_alone(arguments: list[str]) -> None:
    modules = loaded(*arguments)
    assert third_party(modules) <= CLICK
    assert not NEVER & modules
    assert "ardock.engine" not in modules
    assert not any(module.startswith("ardock.cli.foreground") for module in modules)


def test_version_loads_no_engine() -> None:
    modules = loaded("version")
    assert third_party(modules) <= CLICK
    assert "ardock.engine" not in modules


def test_run_loads_the_engine_and_what_it_stands_on_alone() -> None:
    """No root file system is there, so the engine is loaded and asked, and refuses."""
    modules = loaded("--root", "/proc/none", "--run-dir", "/proc/none", "run", "--rootfs", "/none", "true")
    assert "ardock.engine" in modules
    assert third_party(modules) <= ENGINE
    assert not NEVER & modules
    other = {
        name
        for name in modules
        if name.startswith("ardock.cli.") and name.rpartition(".")[2] in {"doctor", "info", "version"}
    }
    assert other == set()

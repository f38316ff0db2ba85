"""What a command loads: start-up time is part of the interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.fake_engine import FakeEngine

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
    from ardock.cli import _spare_typing_extensions
    _spare_typing_extensions()
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
        ["pull", "--help"],
        ["save"],
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
    assert not (NEVER - {"sqlite3"}) & modules
    other = {
        name
        for name in modules
        if name.startswith("ardock.cli.") and name.rpartition(".")[2] in {"doctor", "info", "version"}
    }
    assert other == set()


def test_a_hot_command_of_a_daemon_loads_no_event_loop_and_no_engine(tmp_path: Path) -> None:
    """`run --rm` to its end, as a client: Python's own start and the engine's answer are most of its time."""
    engine = FakeEngine(tmp_path / "s")
    words = ["-H", f"unix://{engine.path}", "run", "--rm", "--name", "box", "image", "true"]
    with subprocess.Popen(
        [sys.executable, "-c", REPORT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        engine.expect("containers.create").reply(id="ab" * 32, name="box")
        attach = engine.expect("containers.attach")
        attach.items({"kind": "attached"})
        start, wait = engine.expect_all("containers.start", "containers.wait")
        start.reply()
        attach.reply()
        wait.reply(id="ab" * 32, exit_code=0)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 0
    engine.drop()
    modules = {name.removeprefix("module ") for name in err.decode().splitlines() if name.startswith("module ")}
    assert third_party(modules) == {"msgspec"}
    assert (
        not (NEVER | {"click", "trio", "pathlib", "inspect", "shutil", "tempfile", "dataclasses", "random"}) & modules
    )
    assert not {name for name in modules if name.startswith(("ardock.engine", "ardock.server", "ardock.docker"))}

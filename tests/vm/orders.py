"""What runs in a machine: shell programs, made of the names of tests."""

from __future__ import annotations

import shlex
from typing import Final

import msgspec

# The emulator is 10 to 30 times as slow as the machine it runs on.
TIMEOUT: Final = 900

SHELL: Final = """#!/bin/sh
stty sane
uname -a
exec setsid -c sh -i
"""

_PROLOGUE: Final = """#!/bin/sh
failed=0
uname -r
cat /proc/cmdline
"""
_RUST: Final = """
while read -r place; do
  mkdir -p "$(dirname "$place")"
  ln -sf "/payload/rust/programs/$(basename "$place")" "$place"
done </payload/rust/programs/places
"""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """A program's text, and whether the Rust tests must be there."""

    program: str
    rust: bool


def _pytest(arguments: str) -> str:
    return (
        "HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis python -m pytest -p no:cacheprovider -p tests.vm.plugin"
        f" -o timeout={TIMEOUT} {arguments} || failed=1\n"
    )


def _rust(patterns: str) -> str:
    places = " ".join(f"/payload/rust/{pattern}" for pattern in patterns.split())
    return f"""
for test in {places}; do
  echo "== ${{test##*/}}"; "$test" --test-threads=2 $(python -m tests.vm.left_out rust "${{test##*/}}") || failed=1
done
"""


_EPILOGUE: Final = "exit $failed\n"


class Set(msgspec.Struct, frozen=True, kw_only=True):
    """Tests with a name.

    Attributes:
        python: pytest's arguments; empty: none of Python's.
        rust: Patterns of Rust test binaries, ``CRATE.TEST``; empty: none.
        ending: What the program ends with, instead of telling its result by itself.
    """

    python: str = ""
    rust: str = ""
    ending: str = _EPILOGUE


_SMOKE: Final = (
    "test_limits.py test_isolation.py test_apparmor.py test_bad_hosts.py test_kernel_paths.py host"
    # What the host's kernel may lack: quotas, thin devices. The whole suite on these takes a quarter of an hour.
    " snapshots/test_quota.py"
    " snapshots/test_devicemapper.py::TestDevicemapper::test_a_chain_shows_what_its_layers_say"
    " snapshots/test_devicemapper.py::TestDevicemapper::test_a_full_pool_is_a_full_disk_and_room_comes_back"
    " snapshots/test_devicemapper.py::TestDevicemapper::test_xfs"
)

SETS: Final = {
    "whole": Set(
        python="tests/engine tests/cli tests/server tests/client tests/unit tests/protocol",
        rust="launch.* keeper.* layer.*",
    ),
    "python": Set(python="tests/engine tests/cli tests/server tests/client tests/unit tests/protocol"),
    "rust": Set(rust="launch.* keeper.* layer.*"),
    "systemd": Set(python="tests/systemd", ending="exec tests/systemd/poweroff $failed\n"),
    # What a kernel changes: the rest of the tests finds little more in a virtual machine than outside.
    "smoke": Set(
        python=" ".join(f"tests/engine/{name}" for name in _SMOKE.split()),
        rust="launch.devices launch.groups launch.limits launch.rights launch.root keeper.oom",
    ),
}
"""Names for `--tests`."""


def chosen(name: str, pytest: str, rust: str, command: str) -> Orders:
    """The orders that a command line asks for: those of a set, or instead of it what is given."""
    if command:
        return Orders(program=_PROLOGUE + f"{command} || failed=1\n" + _EPILOGUE, rust=False)
    if rust:
        test, *rest = shlex.split(rust)
        one = f"/payload/rust/{test} {shlex.join(rest)} || failed=1\n"
        return Orders(program=_PROLOGUE + _RUST + one + _EPILOGUE, rust=True)
    if pytest:
        return Orders(program=_PROLOGUE + _pytest(pytest) + _EPILOGUE, rust=False)
    wanted = SETS[name]
    program = _PROLOGUE
    if wanted.rust:
        program += _RUST + _rust(wanted.rust)
    if wanted.python:
        program += _pytest(wanted.python)
    return Orders(program=program + wanted.ending, rust=bool(wanted.rust))

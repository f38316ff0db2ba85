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


def _rust(test: str, arguments: str = "") -> str:
    return f'echo "== {test}"; /payload/rust/{test} {arguments} || failed=1\n'


def _all_rust() -> str:
    return """
for test in /payload/rust/*.*; do
  echo "== ${test##*/}"; "$test" --test-threads=2 $(python -m tests.vm.left_out rust "${test##*/}") || failed=1
done
"""


_EPILOGUE: Final = "exit $failed\n"

# Names for `--tests`: pytest's arguments and whether the Rust tests run.
SETS: Final = {
    "whole": ("tests/engine tests/cli tests/server tests/client tests/unit tests/protocol", True),
    "systemd": ("tests/systemd", False),
    "smoke": ("tests/engine/test_run.py tests/engine/test_limits.py tests/engine/test_isolation.py", False),
}
# What a set ends with, instead of telling its result by itself.
_ENDINGS: Final = {"systemd": "exec tests/systemd/poweroff $failed\n"}


def chosen(name: str, pytest: str, rust: str, command: str) -> Orders:
    """The orders that a command line asks for: those of a set, or instead of it what is given."""
    if command:
        return Orders(program=_PROLOGUE + f"{command} || failed=1\n" + _EPILOGUE, rust=False)
    if rust:
        test, *rest = shlex.split(rust)
        return Orders(program=_PROLOGUE + _RUST + _rust(test, shlex.join(rest)) + _EPILOGUE, rust=True)
    if pytest:
        return Orders(program=_PROLOGUE + _pytest(pytest) + _EPILOGUE, rust=False)
    arguments, with_rust = SETS[name]
    program = _PROLOGUE + (_RUST + _all_rust() if with_rust else "") + _pytest(arguments)
    return Orders(program=program + _ENDINGS.get(name, _EPILOGUE), rust=with_rust)

"""The Makefile is the one task file: each target is documented in one line that `make help` shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]

# Prerequisites that nobody calls by themselves.
INTERNAL = {"always", "root"}


def targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)$", (TOP / "Makefile").read_text(), re.MULTILINE))


def help_lines() -> dict[str, str]:
    said = subprocess.run(["make", "help"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^  make (\S+) +(\S.*)$", said, re.MULTILINE))


def test_help_lists_every_target_in_one_line() -> None:
    assert set(help_lines()) == targets() - INTERNAL
    assert all(len(f"  make {name:<12} {line}") <= 110 for name, line in help_lines().items())


def test_help_begins_with_the_two_commands() -> None:
    assert list(help_lines())[:2] == ["run", "test"]


def test_every_target_is_declared_phony() -> None:
    """A file that happens to have a target's name must not make it up to date."""
    rules = set(re.findall(r"^([a-z][a-z-]*):", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert rules == targets()


def test_ci_calls_the_same_targets() -> None:
    called = set(re.findall(r"\bmake ([a-z-]+)", (TOP / ".ci/run").read_text()))
    assert {"test", "lint", "run", "check-dist"} <= called
    assert called <= targets()

"""What can be booted: `matrix.toml` as records."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

MATRIX = Path(__file__).with_name("matrix.toml")


class Root(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A root file system of Debian packages."""

    suite: str
    packages: tuple[str, ...]


class Kernel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kernel of Debian's.

    Attributes:
        package: One that depends on the kernel itself.
        suites: Where it is looked for: a key of `Matrix.mirror`, a space, a suite.
    """

    package: str
    suites: tuple[str, ...]


class Boot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine.

    Attributes:
        about: A line for people.
        kernel: A key of `Matrix.kernel`.
        root: A key of `Matrix.root`.
        append: The kernel's command line, but for what the emulator needs.
        cgroup: What is mounted where systemd does not do it.
        tests: The set of `tests.vm.orders.SETS` that is run where none is named.
        threads: How the emulator runs the processors: each in a thread of its own, or all in turns in one.
        init: PID 1: busybox' init, which mounts what is needed and starts nothing else, or systemd.
    """

    about: str
    kernel: str
    root: str
    append: str
    cgroup: Literal["v2", "hybrid"]
    tests: str = "whole"
    threads: Literal["multi", "single"] = "multi"
    init: Literal["busybox", "systemd"] = "busybox"


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All machines and what they are made of."""

    mirror: dict[str, str]
    root: dict[str, Root]
    kernel: dict[str, Kernel]
    boot: dict[str, Boot]


def read() -> Matrix:
    """The matrix.

    Raises:
        msgspec.ValidationError: A field is unknown, missing or of another type.
        LookupError: A boot names a kernel or a root that is not there.
    """
    matrix = msgspec.convert(tomllib.loads(MATRIX.read_text(encoding="utf-8")), Matrix)
    for name, boot in matrix.boot.items():
        if boot.kernel not in matrix.kernel or boot.root not in matrix.root:
            raise LookupError(f"boot.{name}: there is no kernel.{boot.kernel} or no root.{boot.root}")
    return matrix

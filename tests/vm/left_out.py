"""What is not run in an emulated machine: `left-out.toml`. As a program: the arguments that leave Rust tests out."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import msgspec

LEFT_OUT = Path(__file__).with_name("left-out.toml")


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reasons by test: for Python the beginnings of pytest's node ids, for Rust ``crate.test/function``."""

    python: dict[str, str]
    rust: dict[str, str]


def read() -> LeftOut:
    """The file."""
    return msgspec.convert(tomllib.loads(LEFT_OUT.read_text(encoding="utf-8")), LeftOut)


def main() -> None:
    """Print ``--skip`` arguments for one Rust test binary."""
    _, kind, binary = sys.argv
    assert kind == "rust"
    words = []
    for name, reason in read().rust.items():
        test, _, function = name.partition("/")
        if test == binary:
            print(f"left out: {name}: {reason}", file=sys.stderr)
            words += ["--skip", function]
    print(" ".join(words))


if __name__ == "__main__":
    main()

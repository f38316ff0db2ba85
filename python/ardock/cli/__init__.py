"""The `ardock` command line."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The entry point."""
    try:
        from ardock.cli.app import main as run_main

        run_main()
    except KeyboardInterrupt:  # While modules are still being imported, or the interpreter ends.
        raise SystemExit(130) from None

"""The `ardock` command line."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The entry point."""
    from ardock.cli.app import main as run_main

    run_main()

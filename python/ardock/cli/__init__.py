"""The `ardock` command line."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The entry point.

    A short run's time is mostly Python's own: collecting garbage among modules that are being imported, and taking the
    interpreter apart at the end, are a fifth of it. The first is put off until the container runs
    (`ardock.cli.foreground`); the second is left out: all is flushed, closed and restored by then.
    """
    gc.disable()
    try:
        _spare_typing_extensions()
        from ardock.cli.app import main as run_main

        run_main()
    except KeyboardInterrupt:  # While modules are still being imported.
        os._exit(130)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)


def _spare_typing_extensions() -> None:
    """Import msgspec without typing_extensions, of which it needs nothing on a Python that we support.

    It takes along what is there, and that imports inspect, dis and tokenize: a fifth of a short command's time.
    """
    if "typing_extensions" in sys.modules:
        return
    # None makes an import fail as if it were not installed, which msgspec provides for.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401 - for its effect
    finally:
        del sys.modules["typing_extensions"]

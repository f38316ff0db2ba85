"""The `ardock` command line."""

from __future__ import annotations

import gc
import os
from typing import NoReturn


def main() -> NoReturn:
    """The entry point.

    A short run's time is mostly Python's own: collecting garbage among modules that are being imported, and taking the
    interpreter apart at the end, are a fifth of it. The first is put off until the container runs
    (`ardock.cli.foreground`); the second is left out: all is flushed, closed and restored by then.
    """
    gc.disable()
    try:
        from ardock.cli.app import main as run_main

        run_main()
    except KeyboardInterrupt:  # While modules are still being imported.
        os._exit(130)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)

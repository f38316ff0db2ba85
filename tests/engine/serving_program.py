"""An owner that serves its root folder until it is told to stop, or killed. Arguments: root folder, run folder."""

from __future__ import annotations

import signal
import sys

import trio

from ardock.engine import own_engine
from ardock.server import serving


async def main(root: str, run_dir: str) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with own_engine(root, run_dir, scratch="memory") as engine, serving(engine):
            sys.stdout.write("serving\n")
            sys.stdout.flush()
            async for _ in signals:
                return


trio.run(main, sys.argv[1], sys.argv[2])

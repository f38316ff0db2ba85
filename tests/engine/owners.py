"""An owner of a root folder in a process of its own, behind its socket: started, ended and killed as a test wants."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from ardock import Event
from ardock.engine import own_engine
from tests.engine import leftovers
from tests.engine.folders import Folders
from tests.engine.histories import check_history, history

PROGRAM = Path(__file__).with_name("serving_program.py")


class Owner:
    """The program, serving."""

    def __init__(self, folders: Folders) -> None:
        self.arguments = [str(folders["root"]), str(folders["run_dir"])]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *self.arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "serving\n"

    def end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.communicate(timeout=30)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


async def clean(folders: Folders) -> list[Event]:
    """What the next owner finds; everything is removed then."""
    async with own_engine(**folders) as engine:
        events = await history(engine)
        check_history(events)
        for one in (await engine.containers.list(all=True)).containers:
            await engine.containers.remove(one.id, force=True)
        await leftovers.no_containers(engine.id, engine.root)
    return events

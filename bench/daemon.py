"""An ardock daemon of the bench's own, and what it takes of the machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from bench.systems import UnusableError

READY_S = 30
ARDOCK = str(Path(sys.executable).with_name("ardock"))


class Daemon:
    """`ardock daemon` on folders of its own, for all systems that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.run_dir = folder / "run"
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: str | None = None

    @property
    def options(self) -> list[str]:
        """What tells the command line which daemon is meant."""
        return ["--root", str(self.root), "--run-dir", str(self.run_dir)]

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, once, and wait until it answers.

        Raises:
            UnusableError: Why it does not.
        """
        if self._problem:
            raise UnusableError(self._problem)
        if self._process:
            return
        self.folder.mkdir()
        # As systemd is told: READY=1 once it listens.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, (self.folder / "log").open("wb") as log:
            told.bind(str(self.folder / "notify"))
            told.settimeout(READY_S)
            self._process = subprocess.Popen(
                [ARDOCK, *self.options, "daemon"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}, start_new_session=True,
            )  # fmt: skip
            told.settimeout(0.1)
            for _ in range(READY_S * 10):
                if self._process.poll() is not None:
                    break
                try:
                    if b"READY=1" in told.recv(4096):
                        return
                except TimeoutError:
                    continue
        self._problem = f"ardock daemon did not start: {(self.folder / 'log').read_text()[-400:]}"
        self.stop()
        raise UnusableError(self._problem)

    def rss_kib(self) -> float:
        """Memory that it has, KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def cpu_s(self) -> float:
        """Seconds of the processor that it took so far, all of its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it, in good order if it can."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

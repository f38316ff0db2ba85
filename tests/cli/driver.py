"""The `ardock` command as a subprocess, and a terminal for it (tmux)."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

# Another command may be named to be tested, such as an installed wheel's.
COMMAND = shlex.split(os.environ.get("ARDOCK_COMMAND", "")) or [sys.executable, "-m", "ardock.cli"]


class Ardock:
    """The command with folders of its own."""

    def __init__(self, folder: Path, rootfs: Path) -> None:
        self.folder = folder
        self.rootfs = rootfs
        self.options = ["--root", str(folder / "root"), "--run-dir", str(folder / "run")]

    def words(self, *arguments: str) -> list[str]:
        """The command line of `ardock ARGUMENTS`."""
        return [*COMMAND, *self.options, *arguments]

    def run_words(self, *arguments: str) -> list[str]:
        """The command line of `ardock run --rootfs ROOTFS ARGUMENTS`."""
        return self.words("run", "--rootfs", str(self.rootfs), *arguments)

    def run(
        self, *arguments: str, stdin: bytes | None = None, timeout: float = 30, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a container to its end."""
        return subprocess.run(
            self.run_words(*arguments),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=env,
        )

    @contextmanager
    def start(
        self,
        *arguments: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A container that runs meanwhile; killed at the end if it still does."""
        process = subprocess.Popen(self.run_words(*arguments), stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def tidy(self) -> None:
        """Remove the containers that still run: they live without any command."""
        keepers = self.keepers()
        # An empty keeper ends by itself, if not at once; its own other processes are named after it.
        if any(not words[0].startswith(b"ardock-") and _parent(pid) in keepers for pid, words in command_lines()):
            listed = subprocess.run(self.words("ps", "-q"), capture_output=True, text=True, timeout=30, check=True)
            if ids := listed.stdout.split():
                subprocess.run(self.words("rm", "-f", *ids), capture_output=True, timeout=60, check=True)

    def keepers(self) -> list[int]:
        """The process ids of the keepers on this root folder."""
        root = os.fsencode(self.folder / "root")
        return [pid for pid, words in command_lines() if words[0] == b"ardock-keeper" and root in words]


def _parent(pid: int) -> int:
    with suppress(OSError):
        # The second field is the name, in parentheses, and may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0


def command_lines() -> Iterator[tuple[int, list[bytes]]]:
    """Every process that has a command line, and its words."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if line := (entry / "cmdline").read_bytes():
                    yield int(entry.name), line.split(b"\0")


class Tmux:
    """A real terminal: a tmux server of its own with one window, in which a shell runs."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self._socket = socket
        environment = {**os.environ, "PS1": "ready> ", "TERM": "screen", "ENV": "", "HISTFILE": "/dev/null"}
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "-c", str(folder),
            "bash", "--norc", "--noprofile", environment=environment,
        )  # fmt: skip
        self.wait_for(lambda screen: "ready>" in screen)

    def _tmux(self, *words: str, environment: dict[str, str] | None = None) -> str:
        completed = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], capture_output=True, text=True, check=True, env=environment
        )
        return completed.stdout

    def type(self, text: str) -> None:
        """Type text, and nothing after it."""
        self._tmux("send-keys", "-l", text)

    def enter(self, text: str) -> None:
        """Type a line."""
        self.type(text)
        self.key("Enter")

    def key(self, name: str) -> None:
        """Press a key by tmux's name, such as C-c."""
        self._tmux("send-keys", name)

    def press_until(self, name: str, words: str) -> None:
        """Press a key again and again until words appear: a program may not be there yet to be told."""
        for _ in range(15):
            self.key(name)
            for _ in range(10):
                if words in self.screen():
                    return
                time.sleep(0.1)
        pytest.fail(f"{name} had no effect; the terminal shows:\n{self.screen()}")

    def resize(self, rows: int, columns: int) -> None:
        """Make the terminal another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> str:
        """What is to be seen, and what has scrolled away."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-200")

    def wait_for(self, condition: Callable[[str], bool], seconds: float = 15) -> str:
        """The screen, once the condition holds for it."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self.screen()
            if condition(screen):
                return screen
            if time.monotonic() > deadline:
                pytest.fail(f"the terminal did not get there; it shows:\n{screen}")
            time.sleep(0.05)

    def wait_for_line(self, line: str, seconds: float = 15) -> str:
        """The screen, once a line of it is this one."""
        return self.wait_for(lambda screen: line in [each.rstrip() for each in screen.splitlines()], seconds)

    def wait_for_words(self, words: str, seconds: float = 15) -> str:
        """The screen, once it shows these words."""
        return self.wait_for(lambda screen: words in screen, seconds)

    def close(self) -> None:
        """End the server and all in it."""
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, check=False)


def shell_line(words: Sequence[str]) -> str:
    """A command line to type."""
    return shlex.join(words)


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)

"""A machine in pure emulation: qemu without the host's virtualisation, which many hosts lack or do not let one use.

The machine's first serial line is the kernel's, written to a file; the second one is what runs in it. Its disks are thrown
away when it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.vm import artefacts
from tests.vm.artefacts import MachineError, say
from tests.vm.matrix import Boot, Matrix

QEMU: Final = "qemu-system-x86_64"
MEMORY: Final = "4G"
# The last line of a boot: tests/vm/guest/run.
_LAST: Final = re.compile(rb"^ardock-vm: exit (\d+)\r?$", re.MULTILINE)
_KERNEL_LOG_SHOWN: Final = 60


def words(matrix: Matrix, boot: Boot, payload: Path, kernel_log: Path) -> list[str]:
    """The emulator's command line."""
    kernel = artefacts.kernel_files(matrix.kernel[boot.kernel], matrix.mirror)
    root = artefacts.root_image(matrix.root[boot.root], matrix.mirror)
    # The console comes last: it is where /dev/console leads. panic=-1: a kernel that panics ends the machine.
    append = f"{boot.append} ardock.init={boot.init} ardock.cgroup={boot.cgroup} panic=-1 console=ttyS0 loglevel=6"
    drives = [
        word
        for image in (root, kernel.modules, payload)
        # What is written is kept in a file without a name until the machine ends.
        for word in ("-drive", f"if=virtio,format=raw,file={image},snapshot=on,cache=unsafe,discard=unmap")
    ]
    return [
        QEMU,
        # Kernels from 6.8 on allocate with a cmpxchg16b that qemu 7.2 gets wrong with several processors: they panic early.
        *("-accel", f"tcg,thread={boot.threads}", "-cpu", "max,cx16=off", "-smp", "2", "-m", MEMORY),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none"),
        *("-device", "virtio-rng-pci"),
        *("-kernel", str(kernel.image), "-initrd", str(kernel.initramfs), "-append", append),
        *drives,
        *("-serial", f"file:{kernel_log}", "-serial", "stdio"),
    ]


def run(matrix: Matrix, boot: Boot, payload: Path, kernel_log: Path, *, deadline: float) -> int:
    """Boot, pass on what the machine's program writes, and return its exit code.

    Args:
        matrix: All machines.
        boot: This one.
        payload: The image of what is tested.
        kernel_log: Written.
        deadline: Seconds after which the machine is ended.

    Raises:
        MachineError: The machine ended, or was ended, without a result.
    """
    command = words(matrix, boot, payload, kernel_log)
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    timer = threading.Timer(deadline, process.kill)
    timer.start()
    tail = b""
    try:
        assert process.stdout is not None
        while part := os.read(process.stdout.fileno(), 1 << 16):
            tail = (tail + part)[-1000:]
            sys.stdout.buffer.write(part.replace(b"\r\n", b"\n"))
            sys.stdout.buffer.flush()
        process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    found = _LAST.search(tail)
    if found is None:
        spent = time.monotonic() - started
        why = f"it was ended after {deadline:.0f} s" if spent >= deadline else "it ended by itself"
        raise MachineError(f"the machine gave no result: {why} (the kernel's log is below)")
    return int(found[1])


def shell(matrix: Matrix, boot: Boot, payload: Path, kernel_log: Path) -> None:
    """Boot with the terminal as the machine's."""
    if not sys.stdin.isatty():
        raise MachineError("a shell needs a terminal")
    command = words(matrix, boot, payload, kernel_log)
    say("Ctrl-D or `exit` ends the machine; Ctrl-C goes into it")
    with _raw_terminal():
        subprocess.run(command, check=False)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """All keys go to the machine."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def kernel_tail(kernel_log: Path) -> str:
    """The end of the kernel's log, for one who reads why a test failed."""
    if not kernel_log.exists():
        return ""
    lines = kernel_log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_KERNEL_LOG_SHOWN:])

"""Tests in virtual machines: ``python -m tests.vm list | run BOOT... | shell BOOT``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.vm import artefacts, machine, matrix, orders
from tests.vm.artefacts import MachineError, say


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what can be booted")
    run = commands.add_parser("run", help="run tests in one machine after another")
    run.add_argument("boots", nargs="*", metavar="BOOT", help="all of them where none is named")
    run.add_argument("--tests", choices=sorted(orders.SETS), help="which; default: what the matrix says")
    run.add_argument("--pytest", default="", help="instead: arguments for pytest alone")
    run.add_argument("--rust", default="", help="instead: one Rust test binary, CRATE.TEST, with its arguments")
    run.add_argument("--command", dest="shell_command", default="", help="instead: a shell command")
    run.add_argument("--deadline", type=float, default=7200, help="seconds for one machine")
    shell = commands.add_parser("shell", help="a shell in a machine")
    shell.add_argument("boot", metavar="BOOT", nargs="?", default="v2")
    options = parser.parse_args()
    machines = matrix.read()
    if options.command == "list":
        for name, boot in machines.boot.items():
            print(f"{name:<12} {boot.about}")
        return 0
    names = [options.boot] if options.command == "shell" else options.boots or list(machines.boot)
    for name in names:
        if name not in machines.boot:
            parser.error(f"no boot is called {name!r}; there are {', '.join(machines.boot)}")
    failed = [name for name in names if not _one(machines, name, options)]
    if failed:
        print(f"vm: failed in {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _one(machines: matrix.Matrix, name: str, options: argparse.Namespace) -> bool:
    boot = machines.boot[name]
    with tempfile.TemporaryDirectory(prefix="ardock-vm.") as folder:
        image, kernel_log = Path(folder) / "payload.img", Path(folder) / "kernel.log"
        try:
            if options.command == "shell":
                artefacts.payload(image, orders.SHELL, wheel=artefacts.built_wheel(), rust=None)
                machine.shell(machines, boot, image, kernel_log)
                return True
            text = orders.chosen(options.tests or boot.tests, options.pytest, options.rust, options.shell_command)
            rust = artefacts.rust_binaries() if text.rust else None
            artefacts.payload(image, text.program, wheel=artefacts.built_wheel(), rust=rust)
            say(f"booting {name}: {boot.about}")
            started = time.monotonic()
            code = machine.run(machines, boot, image, kernel_log, deadline=options.deadline)
            say(f"{name} ended with {code} after {time.monotonic() - started:.0f} s")
            if code == 0:
                return True
        except MachineError as error:
            print(f"vm: {error}", file=sys.stderr)
        print(f"vm: the end of the kernel's log of {name}:\n{machine.kernel_tail(kernel_log)}", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(main())

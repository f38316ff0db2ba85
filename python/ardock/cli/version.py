"""`ardock version`."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from typing import TYPE_CHECKING

import click

from ardock.cli.command import FlagCommand
from ardock.cli.errors import UsageError
from ardock.cli.flags import Flag

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("ardock")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _format(value: str) -> str:
    if value not in {"json", "{{json .}}", ""}:
        raise ValueError("give json, or leave it out for text")
    return value


FORMAT = Flag("format", _format, "Format output: json, or text without it", short="f")


def show(_settings: Settings, values: Values, arguments: list[str]) -> int:
    """Print the version and what it runs on."""
    if arguments:
        raise UsageError(f"version accepts no arguments: {arguments[0]}")
    system = os.uname()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine)
    client = {
        "Version": version(),
        "PythonVersion": ".".join(str(part) for part in sys.version_info[:3]),
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": system.release,
    }
    if values.one(FORMAT):
        import json

        click.echo(json.dumps({"Client": client, "Server": None}))
        return 0
    click.echo("Client: ardock")
    for label, key in (("Version", "Version"), ("Python version", "PythonVersion"), ("Kernel", "KernelVersion")):
        click.echo(f" {label + ':':<18}{client[key]}")
    click.echo(f" {'OS/Arch:':<18}{client['Os']}/{client['Arch']}")
    return 0


command = FlagCommand("version", show, (FORMAT,), usage="[OPTIONS]", help_text="Show the version")

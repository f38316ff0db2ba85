"""`ardock version`: of this command, and of the engine that owns the root folder."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError
from ardock.cli.listed import OBJECT_FORMAT, show_objects
from ardock.cli.several import check_count, write
from ardock.docker.inspect import go_architecture

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values
    from ardock.docker.values import Struct
    from ardock.model.container import EngineInfo
    from ardock.protocol.methods import Version


def version() -> str:
    """The installed version."""
    import importlib.metadata  # Dear.

    try:
        return importlib.metadata.version("ardock")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def show(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Print the versions, and what they run on."""
    check_count("version", arguments, 0, 0)
    from ardock.cli.present import present
    from ardock.model.errors import ArdockError
    from ardock.protocol.methods import INFO, NoParams

    server: Struct | None = None
    problem: ArdockError | None = None
    try:
        with present(settings) as engine:
            if engine is not None:
                server = _server(engine.greet(), engine.call(INFO, NoParams()))
    except ArdockError as error:
        problem = error  # As docker: our own version is told in any case.
    shown: Struct = {"Client": _client(), "Server": server}
    render = values.one(OBJECT_FORMAT)
    if render is not None:
        show_objects(render, [shown])
    else:
        write(_text(_client(), server))
    if problem is not None:
        raise CliError(problem.message, FAILED)
    return 0


def _client() -> Struct:
    from ardock.protocol.methods import PROTOCOL

    system = os.uname()
    return {
        "Version": version(),
        "Protocol": PROTOCOL,
        "PythonVersion": ".".join(str(part) for part in sys.version_info[:3]),
        "Os": "linux",
        "Arch": go_architecture(system.machine),
        "KernelVersion": system.release,
    }


def _server(told: Version, about: EngineInfo) -> Struct:
    return {
        "Version": told.version,
        "Protocol": told.protocol,
        "Engine": told.engine,
        "Pid": told.pid,
        "Os": "linux",
        "Arch": go_architecture(about.architecture),
        "KernelVersion": about.kernel,
    }


_LABELS = {
    "Version": "Version", "Protocol": "Protocol", "PythonVersion": "Python version", "Engine": "Engine", "Pid": "Process",
    "KernelVersion": "Kernel",
}  # fmt: skip


def _text(client: Struct, server: Struct | None) -> list[str]:
    lines = ["Client: ardock", *_section(client), ""]
    if server is None:
        return [*lines, "Server: none (nobody owns the root folder)"]
    return [*lines, "Server: ardock", *_section(server)]


def _section(shown: Struct) -> list[str]:
    lines = [f" {label + ':':<18}{shown[key]}" for key, label in _LABELS.items() if key in shown]
    return [*lines, f" {'OS/Arch:':<18}{shown['Os']}/{shown['Arch']}"]


command = FlagCommand(
    "version",
    show,
    (OBJECT_FORMAT,),
    usage="[OPTIONS]",
    help_text="Show the version of this command, and of the engine where one runs",
    failure=FAILED,
    interspersed=True,
)

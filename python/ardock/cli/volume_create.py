"""`ardock volume create`: make a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError
from ardock.cli.flags import Flag, Many, Refused
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError("give name=value, such as type=tmpfs")
    return name, value


_CLUSTER = "there is no cluster: a volume is a directory of this machine's, or a file system that it mounts"
DRIVER = Flag("driver", v.text, 'Specify volume driver name (default "local")', short="d")
LABEL = Many("label", v.label, "Set metadata for a volume")
NAME = Flag("name", v.text, "Specify volume name", hidden=True)
OPTION = Many("opt", _option, "Set driver specific options: type, device, o", short="o", metavar="map")
FLAGS = (
    DRIVER, LABEL, NAME, OPTION,
    Refused("availability", _CLUSTER), Refused("group", _CLUSTER), Refused("limit-bytes", _CLUSTER),
    Refused("required-bytes", _CLUSTER), Refused("scope", _CLUSTER), Refused("secret", _CLUSTER),
    Refused("sharing", _CLUSTER), Refused("topology-preferred", _CLUSTER), Refused("topology-required", _CLUSTER),
    Refused("type", _CLUSTER),
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("volume create", arguments, 0, 1)
    from ardock.cli.connection import connected
    from ardock.protocol.methods import CREATE_VOLUME, CreateVolume

    name = values.one(NAME) or ""
    if name and arguments:
        raise CliError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg", FAILED
        )
    params = CreateVolume(
        name=arguments[0] if arguments else name,
        driver=values.one(DRIVER) or "local",
        options=dict(values.many(OPTION)),
        labels=dict(values.many(LABEL)),
    )
    with connected(settings) as engine:
        made = engine.call(CREATE_VOLUME, params)
    write([made.name])
    return 0


command = FlagCommand(
    "create",
    run,
    FLAGS,
    usage="[OPTIONS] [VOLUME]",
    help_text="Create a volume",
    epilog="Options of the local driver are those of mount(8): -o type=tmpfs -o device=tmpfs -o o=size=100m.",
    failure=FAILED,
    interspersed=True,
)

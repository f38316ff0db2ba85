"""`ardock image pull`: fetch an image from its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag, Refused, Switch
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

PLATFORM = Flag("platform", v.text, "Set platform if server is multi-platform capable")
QUIET = Switch("quiet", "Suppress verbose output", short="q")
FLAGS = (
    Refused("all-tags", "give the tags one by one", short="a", switch=True),
    Switch("disable-content-trust", "Skip image verification", default=True, hidden=True),
    PLATFORM, QUIET,
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("pull", arguments, 1, 1)
    from ardock.cli.connection import connected
    from ardock.cli.pulling import pull
    from ardock.model.reference import parse_reference

    given = parse_reference(arguments[0], field="image")
    reference = given.tagged()
    quiet = values.on(QUIET)
    if not quiet and reference is not given:
        write([f"Using default tag: {reference.tag}"])
    with connected(settings) as engine:
        pull(engine, reference, platform=values.one(PLATFORM) or "", quiet=quiet, descriptor=1)
    write([str(reference)])
    return 0


command = FlagCommand(
    "pull",
    run,
    FLAGS,
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
    help_text="Download an image from a registry",
    failure=FAILED,
    interspersed=True,
)

"""`ardock image push`: send an image to its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError
from ardock.cli.flags import Refused, Switch
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.model.reference import Reference

ALL_TAGS = Switch("all-tags", "Push all tags of an image to the repository", short="a")
QUIET = Switch("quiet", "Suppress verbose output", short="q")
FLAGS = (
    ALL_TAGS,
    Switch("disable-content-trust", "Skip image signing", default=True, hidden=True),
    Refused("platform", "an image here is of one platform", harmless=("",)),
    QUIET,
)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("push", arguments, 1, 1)
    from ardock.cli.connection import connected
    from ardock.cli.progress import PUSHING, display
    from ardock.cli.pulling import credentials_for
    from ardock.cli.transfer import transfer
    from ardock.model.reference import parse_reference
    from ardock.protocol.image_methods import PUSH, Push

    given = parse_reference(arguments[0], field="image")
    quiet = values.on(QUIET)
    if values.on(ALL_TAGS) and (given.tag or given.digest):
        raise CliError("tag can't be used with --all-tags/-a", FAILED)
    reference = given if values.on(ALL_TAGS) else given.tagged()
    if not quiet and reference is not given:
        write([f"Using default tag: {reference.tag}"])
    with connected(settings) as engine:
        wanted = _tags(engine, given) if values.on(ALL_TAGS) else [reference]
        credentials = credentials_for(given)
        if not quiet:
            write([f"The push refers to repository [{given.name}]"])
        for each in wanted:
            with display(PUSHING, quiet=quiet) as shown:
                pushed = transfer(engine, PUSH, Push(ref=each.familiar, credentials=credentials), shown.tell)
            if not quiet:
                write([f"{each.tag or each.digest}: digest: {pushed.digest} size: {pushed.size}"])
    if quiet:
        write([str(reference)])
    return 0


def _tags(engine: Connection, repository: Reference) -> list[Reference]:
    """All names in a repository that images here have."""
    from ardock.model.reference import parse_reference
    from ardock.protocol.image_methods import IMAGES
    from ardock.protocol.method import NoParams

    names = [parse_reference(name) for image in engine.call(IMAGES, NoParams()).images for name in image.names]
    found = [name for name in names if name.name == repository.name]
    if not found:
        raise CliError(f"An image does not exist locally with the tag: {repository.familiar_name}", FAILED)
    return sorted(found, key=lambda name: name.tag)


command = FlagCommand(
    "push",
    run,
    FLAGS,
    usage="[OPTIONS] NAME[:TAG]",
    help_text="Upload an image to a registry",
    failure=FAILED,
    interspersed=True,
)

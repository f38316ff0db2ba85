"""`ardock image tag`: give an image another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.several import check_count

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, _values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("tag", arguments, 2, 2)
    from ardock.cli.connection import connected
    from ardock.protocol.image_methods import TAG, Tag

    with connected(settings) as engine:
        engine.call(TAG, Tag(ref=arguments[0], name=arguments[1]))
    return 0


command = FlagCommand(
    "tag",
    run,
    (),
    usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    help_text="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    failure=FAILED,
    interspersed=True,
)

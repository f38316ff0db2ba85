"""`ardock schema`: the API for machines, and its reference page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import UsageError
from ardock.cli.flags import Switch

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

MARKDOWN = Switch("markdown", "Print the reference part of docs/protocol.md instead of JSON")


def show(_settings: Settings, values: Values, arguments: list[str]) -> int:
    """Print it; no engine is needed."""
    if arguments:
        raise UsageError(f"schema accepts no arguments: {arguments[0]}")
    if values.on(MARKDOWN):
        from ardock.protocol.reference import markdown

        sys.stdout.write(markdown())
        return 0
    import json

    from ardock.protocol.schema import schema

    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
    return 0


command = FlagCommand(
    "schema", show, (MARKDOWN,), usage="[OPTIONS]", help_text="Print the machine-readable description of the API"
)

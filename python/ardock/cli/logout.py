"""`ardock logout`: forget the credentials for a registry. No engine is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.login import registry_of
from ardock.cli.streams import write_line

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(_: Settings, __: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    server = registry_of("logout", arguments)
    from ardock.credentials import CredentialStore
    from ardock.credentials.store import server_key

    found = CredentialStore().erase(server)
    done = "Removing login credentials for" if found else "Not logged in to"
    write_line(1, f"{done} {server_key(server)}\n")
    return 0


command = FlagCommand(
    "logout",
    run,
    (),
    usage="[SERVER]",
    help_text="Log out from a registry; Docker Hub where none is named",
    failure=FAILED,
    interspersed=True,
)

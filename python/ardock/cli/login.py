"""`ardock login`: see whether a registry takes credentials, and keep them where Docker does."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.connection import connected
from ardock.cli.errors import FAILED, CliError, UsageError, printable
from ardock.cli.flags import Flag, Switch
from ardock.cli.streams import write_line

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values
    from ardock.credentials import CredentialStore
    from ardock.model.registry import Credentials

USERNAME = Flag("username", str, "Username", short="u")
PASSWORD = Flag("password", str, "Password or access token", short="p")
PASSWORD_STDIN = Switch("password-stdin", "Take the password from stdin")

# What is taken from the standard input: a longer password is a mistake, such as the wrong file.
_LONGEST = 1 << 20


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    server = registry_of("login", arguments)
    username, password = values.one(USERNAME) or "", values.one(PASSWORD)
    from_stdin = values.on(PASSWORD_STDIN)
    if password is not None and from_stdin:
        raise UsageError("--password and --password-stdin exclude each other")
    if from_stdin and not username:
        raise UsageError("--password-stdin needs --username")
    if password is not None:
        _tell("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if from_stdin:
        password = _password_from_stdin()

    from ardock.credentials import CredentialStore
    from ardock.model.errors import NotPermitted
    from ardock.model.registry import Credentials

    store = CredentialStore()
    known = store.get(server) if not username or password is None else Credentials()
    if known and password is None and username in {"", known.username}:
        write_line(1, "Authenticating with existing credentials...\n")
        try:
            return _log_in(settings, store, server, known)
        except NotPermitted as error:
            if not sys.stdin.isatty():
                raise
            _tell(f"Login did not succeed: {printable(error.message)}")
    if not username or password is None:
        username, password = _ask(username, known.username, password)
    if not username:
        raise CliError("username is required", FAILED)
    if not password:
        raise CliError("password is required", FAILED)
    return _log_in(settings, store, server, Credentials(username=username, password=password))


def _log_in(settings: Settings, store: CredentialStore, server: str, credentials: Credentials) -> int:
    from ardock.model.registry import Credentials
    from ardock.protocol.methods import LOGIN, Login

    with connected(settings) as engine:
        token = engine.call(LOGIN, Login(server=server, credentials=credentials)).identity_token
    if token:
        # It stands for the password, which need not be kept then.
        credentials = Credentials(username=credentials.username, identity_token=token)
    store.put(server, credentials)
    if not store.encrypted(server):
        _tell(
            f"WARNING! Your credentials are stored unencrypted in {printable(str(store.path))!r}: name a credential helper "
            "there (credsStore) to keep them elsewhere."
        )
    write_line(1, "Login Succeeded\n")
    return 0


def _ask(username: str, default: str, password: str | None) -> tuple[str, str]:
    """Ask at the terminal for what is missing."""
    if not sys.stdin.isatty():
        raise CliError("no terminal to ask for user name and password at: give --username and --password-stdin", FAILED)
    import getpass

    if not username:
        write_line(1, f"Username ({printable(default)}): " if default else "Username: ")
        username = sys.stdin.readline().strip() or default
    if password is None and username:
        try:
            password = getpass.getpass("Password: ")
        except EOFError:
            raise CliError("password is required", FAILED) from None
    return username, password or ""


def _password_from_stdin() -> str:
    data = b""
    while len(data) <= _LONGEST and (piece := os.read(0, 64 << 10)):
        data += piece
    if len(data) > _LONGEST:
        raise CliError("what comes from stdin is no password: it is longer than 1 MiB", FAILED)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CliError("the password from stdin is no UTF-8", FAILED) from None
    return text.removesuffix("\n").removesuffix("\r")


def registry_of(command: str, arguments: list[str]) -> str:
    """The registry that a command line names: the one argument, also as an address; Docker Hub without one."""
    if len(arguments) > 1:
        raise UsageError(f"{command} takes at most one argument, the registry: {arguments[1]}")
    if not arguments:
        return "docker.io"
    from ardock.credentials.store import hostname, server_key

    name = hostname(arguments[0])
    if not name:
        raise UsageError(f"{command}: {arguments[0]!r} is no registry: give HOST[:PORT]")
    return "docker.io" if server_key(name).startswith("https://") else name


def _tell(text: str) -> None:
    write_line(2, f"{text}\n")


command = FlagCommand(
    "login",
    run,
    (USERNAME, PASSWORD, PASSWORD_STDIN),
    usage="[OPTIONS] [SERVER]",
    help_text="Log in to a registry; Docker Hub where none is named",
    failure=FAILED,
    interspersed=True,
)

"""Credential helpers: programs ``docker-credential-<name>`` that keep secrets elsewhere.

Source of the protocol: github.com/docker/docker-credential-helpers, ``client/`` and ``credentials/``. The one argument is what
to do; the input is the registry's address (``get``, ``erase``) or a JSON record (``store``); the answer comes on the standard
output, and so does the reason where the exit code is not 0.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from typing import IO, Final

import msgspec

from ardock.model.errors import InvalidArgument, NotPermitted
from ardock.model.registry import Credentials

# What a helper may say and take: some ask the user for a passphrase in a window of their own.
_LONGEST: Final = 1 << 20
_PATIENCE: Final = 120.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
# The user name that says that the secret is an identity token.
_TOKEN_USER: Final = "<token>"  # noqa: S105 - a mark, no secret
# Errors that helpers tell by their text alone.
_MISSING: Final = "credentials not found in native keychain"


class _Record(msgspec.Struct):
    ServerURL: str = ""
    Username: str = ""
    Secret: str = ""


class Helper:
    """One program.

    Attributes:
        name: What follows ``docker-credential-``.
    """

    def __init__(self, name: str) -> None:
        """Not looked for yet.

        Raises:
            InvalidArgument: It is no name of a program.
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"credsStore: {name!r} is no name of a credential helper", field="credsStore")
        self.name = name

    @property
    def program(self) -> str:
        """Its program."""
        return f"docker-credential-{self.name}"

    def get(self, server: str) -> Credentials:
        """Credentials for a registry's address; empty where it has none.

        Raises:
            InvalidArgument: There is no such program.
            NotPermitted: It fails; its own words are told.
        """
        status, answer = self._run("get", server.encode())
        if status:
            if _MISSING in answer.decode("utf-8", "replace"):
                return Credentials()
            raise self._failed("get", answer)
        try:
            record = msgspec.json.decode(answer, type=_Record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotPermitted(f"{self.program} get: its answer cannot be read: {error}") from error
        if record.Username == _TOKEN_USER:
            return Credentials(identity_token=record.Secret)
        return Credentials(username=record.Username, password=record.Secret)

    def store(self, server: str, credentials: Credentials) -> None:
        """Keep credentials for a registry's address. Raises as `get`."""
        token = credentials.identity_token
        record = _Record(server, _TOKEN_USER if token else credentials.username, token or credentials.password)
        status, answer = self._run("store", msgspec.json.encode(record))
        if status:
            raise self._failed("store", answer)

    def erase(self, server: str) -> None:
        """Forget those for a registry's address; it is no error where there are none. Raises as `get`."""
        status, answer = self._run("erase", server.encode())
        if status and _MISSING not in answer.decode("utf-8", "replace"):
            raise self._failed("erase", answer)

    def list(self) -> dict[str, str]:
        """User names by the registries' addresses. Raises as `get`."""
        status, answer = self._run("list", b"")
        if status:
            raise self._failed("list", answer)
        try:
            return msgspec.json.decode(answer, type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotPermitted(f"{self.program} list: its answer cannot be read: {error}") from error

    def _failed(self, action: str, answer: bytes) -> NotPermitted:
        text = " ".join(answer.decode("utf-8", "replace").split())[:300]
        return NotPermitted(f"{self.program} {action}: {text or 'it fails and does not say why'}")

    def _run(self, action: str, given: bytes) -> tuple[int, bytes]:
        """Its exit code, and what it answers."""
        try:
            # Its standard error is the user's: some say there what they wait for.
            process = subprocess.Popen([self.program, action], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            reason = "is not installed" if isinstance(error, FileNotFoundError) else f"cannot be run: {error.strerror}"
            raise InvalidArgument(
                f"credsStore: {self.program} {reason}: install it, or take {self.name!r} out of ~/.docker/config.json",
                field="credsStore",
            ) from error
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            try:
                answer = _talk(process.stdin, process.stdout, given, time.monotonic() + _PATIENCE)
            except _NoAnswerError as error:
                process.kill()
                raise NotPermitted(f"{self.program} {action}: {error}") from None
            except BaseException:
                process.kill()
                raise
        return process.returncode, answer


class _NoAnswerError(Exception):
    """It says too much, or takes too long."""


def _talk(stdin: IO[bytes], stdout: IO[bytes], given: bytes, deadline: float) -> bytes:
    """Write and read at once: neither side may wait for the other."""
    answer = bytearray()
    os.set_blocking(stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        if given:
            selector.register(stdin, selectors.EVENT_WRITE)
        else:
            stdin.close()
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise _NoAnswerError(f"it does not answer within {round(_PATIENCE)} seconds")
            for key, _ in selector.select(left):
                if key.fileobj is stdout:
                    data = os.read(stdout.fileno(), 64 << 10)
                    answer += data
                    if len(answer) > _LONGEST:
                        raise _NoAnswerError(f"it answers with more than {_LONGEST >> 20} MiB")
                    if not data:
                        selector.unregister(stdout)
                else:
                    try:
                        given = given[os.write(stdin.fileno(), given) :]
                    except BrokenPipeError:
                        given = b""  # it has not read to the end; its answer says why
                    if not given:
                        selector.unregister(stdin)
                        stdin.close()
    return bytes(answer)

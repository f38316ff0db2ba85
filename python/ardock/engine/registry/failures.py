"""What a registry answers when it refuses or fails, as ardock's errors.

Source of the codes: distribution spec 1.1, "Error codes".
"""

from __future__ import annotations

from typing import Final

import msgspec

from ardock.model.errors import (
    ArdockError,
    ContentDamaged,
    InvalidArgument,
    NotFound,
    NotPermitted,
    RegistryUnavailable,
    Unsupported,
)

# As much of an answer is read to find out what is wrong.
LONGEST_ERROR: Final = 64 << 10
_LONGEST_SHOWN: Final = 300
_MISSING: Final = {
    "MANIFEST_UNKNOWN": "there is no such image",
    "NAME_UNKNOWN": "there is no such repository",
    "BLOB_UNKNOWN": "it has no such blob",
    "MANIFEST_BLOB_UNKNOWN": "it lacks a blob that the manifest names",
    "BLOB_UPLOAD_UNKNOWN": "it has forgotten the upload",
}


class Told(msgspec.Struct, frozen=True):
    """What an error body says.

    Attributes:
        code: The first error's, in upper case; empty where the body is none of a registry.
        text: All of it in one line; empty where there is nothing to show.
    """

    code: str = ""
    text: str = ""


class _Error(msgspec.Struct):
    code: str | int | None = None
    message: str | None = None


class _Body(msgspec.Struct):
    errors: list[_Error] | None = None
    # Token servers and storage have their own forms (RFC 6749, section 5.2).
    error: str | None = None
    error_description: str | None = None
    details: str | None = None
    message: str | None = None


def parse_error(body: bytes) -> Told:
    """What the body of an answer says is wrong; never fails."""
    try:
        told = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace").strip()
        # A page of HTML that something before the registry made says nothing in a terminal.
        return Told() if text.startswith("<") else Told("", _shown(text))
    if told.errors:
        parts = [f"{each.code or ''}: {each.message or ''}".strip(": ").lower() for each in told.errors]
        return Told(str(told.errors[0].code or "").upper(), _shown("; ".join(part for part in parts if part)))
    parts = [part for part in (told.error, told.error_description or told.details or told.message) if part]
    return Told("", _shown(": ".join(parts)))


def _shown(text: str) -> str:
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."


def refusal(status: int, told: Told, *, registry: str, what: str) -> ArdockError:
    """The error for an answer that is no success.

    Args:
        status: The answer's.
        told: Its body.
        registry: As the user writes it: what ``ardock login`` is told to be called with.
        what: What was asked for, such as ``localhost:5000/app:1``.
    """
    ending = f" ({told.text})" if told.text else ""
    if status == 401 or told.code == "UNAUTHORIZED":
        return NotPermitted(
            f"{what}: {registry} wants other credentials, or there is no such repository: `{login_command(registry)}`{ending}"
        )
    if status == 403 or told.code == "DENIED":
        return NotPermitted(
            f"{what}: {registry} does not allow it: `{login_command(registry)}` with an account that may{ending}"
        )
    if status == 404 or told.code in _MISSING:
        return NotFound(f"{what}: not found in {registry}: {_MISSING.get(told.code, 'it does not have it')}{ending}")
    if told.code == "DIGEST_INVALID":
        return ContentDamaged(f"{what}: {registry} got other bytes than the digest names{ending}")
    if status == 429 or told.code == "TOOMANYREQUESTS":
        return RegistryUnavailable(
            f"{what}: {registry} answers that there were too many requests: wait a while{ending}"
        )
    if status == 405 or told.code == "UNSUPPORTED":
        return Unsupported(f"{what}: {registry} does not support this{ending}")
    if 400 <= status < 500:
        return InvalidArgument(f"{what}: {registry} refuses it with status {status}{ending}")
    return RegistryUnavailable(f"{what}: {registry} answers with status {status}{ending}")


def login_command(registry: str) -> str:
    """What the user is told to call; Docker Hub needs no name."""
    return "ardock login" if registry == "docker.io" else f"ardock login {registry}"

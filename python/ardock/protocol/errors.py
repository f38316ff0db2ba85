"""Errors as they travel, there and back."""

from __future__ import annotations

from typing import Final

import msgspec

from ardock.model import errors
from ardock.model.errors import ArdockError, LaunchFailed, MalformedRequest, ProtocolViolation
from ardock.protocol.methods import ErrorInfo

# What a class has beside its sentence. All of them are arguments of its constructor by the same name.
_DETAILS: Final = ("field", "option", "owner", "step", "subject", "errno", "hint")


def _classes() -> dict[str, type[ArdockError]]:
    found = (value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ArdockError))
    return {kind.code: kind for kind in found if kind is not ArdockError}


CLASSES: Final = _classes()


def to_info(error: ArdockError) -> ErrorInfo:
    """An error as it travels; details that say nothing are left out."""
    details: dict[str, str | int] = {}
    for name in _DETAILS:
        value: object = getattr(error, name, None)
        if value and isinstance(value, str | int):
            details[name] = value
    return ErrorInfo(code=error.code, message=error.message, details=details)


def from_info(info: ErrorInfo) -> ArdockError:
    """The error that travelled: the same class, sentence and details.

    One with a code that is not known here (of a newer engine) becomes a `ProtocolViolation` that names it.
    """
    kind = CLASSES.get(info.code)
    if kind is None:
        return ProtocolViolation(
            f"the engine failed with {info.code!r}, which this version does not know: {info.message}"
        )
    error = kind(info.message)
    for name, value in info.details.items():
        if name in _DETAILS and hasattr(error, name):
            setattr(error, name, value)
    return error


def unexpected(what: str, error: Exception) -> ErrorInfo:
    """What a caller is told of an exception that is none of ours: a bug, or a fault of the host that nobody foresaw."""
    text = " ".join(str(error).split())
    return to_info(ProtocolViolation(f"{what}: unexpected {type(error).__name__}: {text} (please report it)"))


def bad_params(method: str, error: Exception) -> MalformedRequest:
    """Why parameters (or a record of a stream) are none of `method`'s: names it, the field, and what was expected there."""
    if not isinstance(error, msgspec.ValidationError):
        return MalformedRequest(f"{method}: params are no MessagePack: {_lowered(str(error))}")
    # Such as: Expected `str`, got `int` - at `$.spec.mounts[0].source`
    reason, _, path = str(error).replace("`", "").partition(" - at $")
    field = path.lstrip(".")
    if field:
        return MalformedRequest(f"{method}: {field}: {_lowered(reason)}")
    return MalformedRequest(f"{method}: params: {_lowered(reason).replace('object', 'map')}")


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def exit_code(info: ErrorInfo) -> int:
    """What a command line ends with for it."""
    return CLASSES.get(info.code, LaunchFailed).exit_code

"""Errors there and back, and what a client is told of wrong parameters."""

from __future__ import annotations

import msgspec
import pytest

from ardock.model import errors as e
from ardock.protocol import errors
from ardock.protocol import methods as m
from ardock.protocol.methods import ErrorInfo


@pytest.mark.parametrize("kind", errors.CLASSES.values(), ids=errors.CLASSES.keys())
def test_every_class_travels(kind: type[e.ArdockError]) -> None:
    info = errors.to_info(kind("a sentence"))
    assert info == ErrorInfo(code=kind.code, message="a sentence")
    back = errors.from_info(msgspec.msgpack.decode(msgspec.msgpack.encode(info), type=ErrorInfo))
    assert type(back) is kind
    assert (back.message, str(back), back.exit_code) == ("a sentence", "a sentence", kind.exit_code)
    assert errors.exit_code(info) == kind.exit_code


@pytest.mark.parametrize(
    "error",
    [
        e.InvalidArgument("x", field="memory"),
        e.NotFound("x", field="rootfs"),
        e.Unsupported("x", option="net"),
        e.EngineLocked("x", owner=5),
        e.CommandNotFound("x", step="exec", subject="sh", errno=2, hint="y"),
    ],
)
def test_details_travel(error: e.ArdockError) -> None:
    back = errors.from_info(errors.to_info(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)


def test_codes_and_details_of_a_newer_engine_are_no_trouble() -> None:
    error = errors.from_info(ErrorInfo(code="quota", message="too much", details={"limit": 5}))
    assert isinstance(error, e.ProtocolViolation)
    assert error.message == "the engine failed with 'quota', which this version does not know: too much"
    error = errors.from_info(ErrorInfo(code="conflict", message="x", details={"__class__": "y", "field": "z"}))
    assert type(error) is e.Conflict
    assert vars(error) == {"message": "x"}


def test_what_nobody_foresaw_is_said_in_one_line() -> None:
    info = errors.unexpected("containers.stop", ZeroDivisionError("a\nb"))
    assert info == ErrorInfo(
        code="protocol_violation", message="containers.stop: unexpected ZeroDivisionError: a b (please report it)"
    )


@pytest.mark.parametrize(
    ("params", "kind", "text"),
    [
        ({}, m.Ref, "x.y: params: map missing required field ref"),
        ([], m.Ref, "x.y: params: expected map, got array"),
        ({"ref": None}, m.Ref, "x.y: ref: expected str, got None"),
        ({"ref": "a", "conditoin": 1}, m.Wait, "x.y: params: map contains unknown field conditoin"),
        ({"ref": "a", "condition": "never"}, m.Wait, "x.y: condition: invalid enum value 'never'"),
        ({"spec": {"argv": ["a", 5]}}, m.Create, "x.y: spec.argv[1]: expected str, got int"),
    ],
)
def test_wrong_parameters_name_the_field_and_what_was_expected(params: object, kind: type[m.Params], text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=kind)
    error = errors.bad_params("x.y", caught.value)
    assert error.code == "malformed_request"
    assert error.message == text

"""What the client decides without I/O: challenges, tokens, pauses, ranges, errors. Tables."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.engine.registry.challenge import Challenge, parse_challenges
from ardock.engine.registry.failures import parse_error
from ardock.engine.registry.ranges import Body, Complete, Misfit, asking, continued, stored
from ardock.engine.registry.repository import next_page
from ardock.engine.registry.retrying import GiveUp, Pause, decide, retry_after
from ardock.engine.registry.tokens import Token, merged, parse_token, scope


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a b"', [("basic", {"realm": "a b"})]),
        ('bearer Realm="https://x/token",Service=x', [("bearer", {"realm": "https://x/token", "service": "x"})]),
        (
            'Bearer realm="https://x/t",service="s",scope="repository:a/b:pull,push",error="invalid_token"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://x/t",
                        "service": "s",
                        "scope": "repository:a/b:pull,push",
                        "error": "invalid_token",
                    },
                )
            ],
        ),
        (
            'Basic realm="a", Bearer realm = "b" , service="c"',
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
        ),
        ('Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"', [
            ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ("basic", {"realm": "simple"}),
        ]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate YWJjZA==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        (',, Basic realm="a",, ', [("basic", {"realm": "a"})]),
        ('Bearer realm="a", realm="b"', [("bearer", {"realm": "a"})]),
        ('Bearer realm="a', [("bearer", {})]),
        ('"nonsense"', []),
    ],
)  # fmt: skip
def test_challenges(header: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges([header]) == [Challenge(*each) for each in challenges]


def test_challenges_of_several_headers() -> None:
    assert [each.scheme for each in parse_challenges(["Basic realm=a", "Bearer realm=b"])] == ["basic", "bearer"]


@given(st.text('Basic,="\\ \tab;', max_size=60) | st.text(max_size=60))
def test_any_header_can_be_read(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower()


def test_scopes_of_one_resource_are_one() -> None:
    assert scope("a/b", "push", "pull") == "repository:a/b:pull,push"
    assert merged(["repository:b:pull", "repository:a:pull", "repository:a:push", "nonsense", ""]) == (
        "repository:a:pull,push",
        "repository:b:pull",
    )


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ({"token": "t"}, 50),
        ({"access_token": "t", "expires_in": 300}, 290),
        ({"token": "t", "access_token": "u", "expires_in": 5}, 50),
        ({"token": "t", "expires_in": 300, "issued_at": "1970-01-12T13:45:00Z"}, 190),
        ({"token": "t", "expires_in": 300, "issued_at": "1970-01-12T13:46:40.123456789Z"}, 290),
        ({"token": "t", "expires_in": 300, "issued_at": "2030-01-01T00:00:00Z"}, 290),
        ({"token": "t", "expires_in": 300, "issued_at": "yesterday"}, 290),
    ],
)
def test_how_long_a_token_is_good(answer: dict[str, object], left: float) -> None:
    token = parse_token(json.dumps(answer).encode(), wall=1_000_000, clock=5)
    assert isinstance(token, Token)
    assert token.value == "t"
    assert token.expires_at - 5 == pytest.approx(left, abs=0.2)
    assert "t until" not in repr(token).partition("Token")[0]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "none of a token server"),
        (b"\xff", "none of a token server"),
        (b"{}", "no token"),
        (b'{"token": ""}', "no token"),
        (b'{"token": "a\\r\\nX: y"}', "cannot be sent"),
        (b'{"token": "a b"}', "cannot be sent"),
        (b'{"token": 1}', "none of a token server"),
    ],
)
def test_what_is_no_token(body: bytes, text: str) -> None:
    told = parse_token(body, wall=0, clock=0)
    assert isinstance(told, str)
    assert text in told


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("99999999999", None),
        (formatdate(1_000_060, usegmt=True), 60.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("Mon, 99 Nov 2026 99:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=1_000_000) == seconds


@pytest.mark.parametrize(
    ("failures", "asked", "jitter", "decision"),
    [
        (1, None, 1.0, Pause(0.5)),
        (1, None, 0.0, Pause(0.25)),
        (2, None, 1.0, Pause(1.0)),
        (9, None, 1.0, Pause(20.0)),
        (10, None, 1.0, GiveUp()),
        (1, 0.0, 0.0, Pause(0.0)),
        (1, 7.0, 0.0, Pause(7.0)),
        (1, 7.0, 1.0, Pause(7.5)),
        (5, 120.0, 1.0, Pause(121.0)),
        (1, 121.0, 1.0, GiveUp("it asks to come back in 121 seconds")),
        (10, 1.0, 1.0, GiveUp()),
    ],
)
def test_pauses(failures: int, asked: float | None, jitter: float, decision: Pause | GiveUp) -> None:
    assert decide(failures, 10, asked, jitter) == decision


@pytest.mark.parametrize(
    ("status", "content_range", "length", "position", "size", "fit"),
    [
        (200, None, "100", 0, 100, Body(0, 100)),
        (200, None, None, 0, None, Body(0, None)),
        (200, None, "100", 30, 100, Body(30, 100)),
        (200, None, "nonsense", 30, 100, Body(30, None)),
        (200, None, "99", 0, 100, Misfit("it has 99 bytes of it where there should be 100", final=True)),
        (206, "bytes 30-99/100", "70", 30, 100, Body(0, 100)),
        (206, "bytes 30-99/*", "70", 30, 100, Body(0, None)),
        (206, "BYTES 20-99/100", "80", 30, None, Body(10, 100)),
        (206, "bytes 30-99/200", "70", 30, 100, Misfit("it has 200 bytes of it where there should be 100", final=True)),
        (206, "bytes 40-99/100", "60", 30, 100, Misfit("it was asked for the bytes from 30 on and sends those from 40 to 99")),
        (206, "bytes 0-20/100", "60", 30, 100, Misfit("it was asked for the bytes from 30 on and sends those from 0 to 20")),
        (206, "bytes 9-1/100", "60", 9, 100, Misfit("it was asked for the bytes from 9 on and sends those from 9 to 1")),
        (206, None, "70", 30, 100, Misfit("it answers with a part whose Content-Range is None")),
        (416, "bytes */100", None, 100, 100, Complete()),
        (416, None, None, 100, 100, Complete()),
        (416, "bytes */100", None, 100, None, Complete()),
        (416, "bytes */100", None, 50, None, Misfit("it has no byte 50 of it", final=True)),
        (416, "bytes */100", None, 100, 200, Misfit("it has no byte 100 of it", final=True)),
    ],
)  # fmt: skip
def test_how_an_answer_goes_on(  # noqa: PLR0917 - the table's columns
    status: int, content_range: str | None, length: str | None, position: int, size: int | None, fit: object
) -> None:
    assert continued(status, content_range, length, position=position, size=size) == fit


def test_what_is_asked_for() -> None:
    assert asking(0) == {}
    assert asking(7) == {"Range": "bytes=7-"}


@pytest.mark.parametrize(
    ("value", "count"),
    [(None, 0), ("", 0), ("0-0", 0), ("0-9", 10), ("bytes=0-9", 10), ("bytes 0-99", 100), ("5-9", 0), ("x", 0)],
)
def test_how_much_of_an_upload_is_there(value: str | None, count: int) -> None:
    assert stored(value) == count


@pytest.mark.parametrize(
    ("links", "target"),
    [
        ([], None),
        (['</v2/a/tags/list?last=b&n=2>; rel="next"'], "/v2/a/tags/list?last=b&n=2"),
        (["<a>; rel=prev, <b>; title=x; rel=next"], "b"),
        (["<a>; rel=prev", "<b>; REL = Next"], "b"),
        (["<a>; rel=nextish"], None),
        (["a; rel=next"], None),
    ],
)
def test_where_a_list_goes_on(links: list[str], target: str | None) -> None:
    assert next_page(links) == target


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"", "", ""),
        (b"<html>Bad Gateway</html>", "", ""),
        (b"plain\n words\x1b[2J", "", "plain words [2J"),
        (b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {}}]}', "MANIFEST_UNKNOWN",
         "manifest_unknown: manifest unknown"),
        (b'{"errors": []}', "", ""),
        (b'{"errors": [{"code": 7}]}', "7", "7"),
        (b'{"errors": "x"}', "", '{"errors": "x"}'),
        (b'{"error": "invalid_grant", "error_description": "expired"}', "", "invalid_grant: expired"),
        (b'{"details": "incorrect username or password"}', "", "incorrect username or password"),
        (b"x" * 1000, "", "x" * 300 + "..."),
        (b"\xff\xfe", "", "\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_what_an_error_says(body: bytes, code: str, text: str) -> None:
    told = parse_error(body)
    assert (told.code, told.text) == (code, text)

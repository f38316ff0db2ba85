"""The keys that detach: their spelling, and finding them in what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.cli.detach import DetachKeys, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("CTRL-P,ctrl-Q", b"\x10\x11"),
        ("a", b"a"),
        ("a,B,ctrl-c", b"aB\x03"),
        ("ctrl-@", b"\x00"),
        ("ctrl-[", b"\x1b"),
        ("ctrl-\\", b"\x1c"),
        ("ctrl-],ctrl-^,ctrl-_", b"\x1d\x1e\x1f"),
    ],
)
def test_keys_are_spelled_as_in_docker(text: str, expected: bytes) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-pq", "ab", "a,,b", "ctrl-p ctrl-q", "é"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unknown key"):
        parse(text)


@pytest.mark.parametrize(
    ("pieces", "passed_on", "detached"),
    [
        ([b"hello"], b"hello", False),
        ([b"\x10\x11"], b"", True),
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10"], b"", False),  # held back until it is sure
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x10\x10\x10x"], b"\x10\x10\x10x", False),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_keys_are_found_and_all_else_is_passed_on(pieces: list[bytes], passed_on: bytes, detached: bool) -> None:
    keys = DetachKeys(b"\x10\x11")
    results = [keys.feed(piece) for piece in pieces]
    assert b"".join(out for out, _ in results) == passed_on
    assert results[-1][1] is detached


@given(st.text("ab", min_size=1, max_size=4), st.lists(st.text("abc", max_size=5)))
def test_nothing_is_lost_or_made_up_however_it_is_typed(keys: str, pieces: list[str]) -> None:
    """Sequences that overlap themselves, too; the reference looks at the whole at once."""
    sequence, typed = keys.encode(), "".join(pieces).encode()
    finder = DetachKeys(sequence)
    out = b""
    for piece in pieces:
        part, detached = finder.feed(piece.encode())
        out += part
        if detached:
            break
    else:
        assert sequence not in typed
        assert typed.startswith(out)
        assert sequence.startswith(typed[len(out) :]), "only what may yet become the keys is held back"
        return
    assert out == typed[: typed.index(sequence)]

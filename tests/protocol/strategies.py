# ruff: noqa: ANN401 - any value of JSON or MessagePack
"""What hypothesis makes of the protocol."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from ardock.protocol import frames
from ardock.protocol.methods import ErrorInfo

encode = msgspec.msgpack.encode

ids = st.integers(0, 0xFFFF_FFFF)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
errors = st.builds(
    ErrorInfo,
    code=st.sampled_from(["not_found", "conflict", "launch_failed"]),
    message=st.text(max_size=40),
    details=st.dictionaries(st.sampled_from(["step", "subject", "hint"]), st.text(max_size=8)),
)


def notification(name: str, *parts: Any) -> bytes:
    return frames.notification(name, *parts)


# Whole messages, sensible and not, from either side.
messages = st.one_of(
    st.builds(frames.call, ids, st.text(max_size=30), values.map(encode)),
    st.builds(frames.answer, ids, values.map(encode)),
    st.builds(frames.failure, ids, errors),
    st.builds(notification, st.just("bytes"), ids, st.integers(0, 3), st.binary(max_size=300)),
    st.builds(notification, st.just("end"), ids, st.integers(0, 3)),
    st.builds(notification, st.just("items"), ids, st.lists(values, max_size=4)),
    st.builds(notification, st.sampled_from(["items_end", "cancel"]), ids),
    st.builds(notification, st.just("credit"), ids, st.integers(0, 2**33)),
    st.builds(notification, st.text(max_size=10), values),
    values.map(encode),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]

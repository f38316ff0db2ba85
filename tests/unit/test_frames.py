"""The splitter of byte streams, as Python uses it; what it accepts is tested beside its Rust."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock._core import FrameReader

MESSAGE = msgspec.msgpack.encode(
    [0, 7, "containers.run", {"argv": ["true"], "env": {"A": "b" * 300}, "n": [1.5, None, -3]}]
)
NOTICE = msgspec.msgpack.encode([2, "bytes", [7, 1, b"\0" * 70_000]])


@given(st.lists(st.sampled_from([MESSAGE, NOTICE]), max_size=6), st.integers(1, 100_000))
def test_messages_come_out_whole_however_the_stream_is_cut(messages: list[bytes], size: int) -> None:
    stream = b"".join(messages)
    reader = FrameReader(1 << 20)
    out = [frame for at in range(0, len(stream), size) for frame in reader.feed(stream[at : at + size])]
    assert out == messages
    assert reader.pending == 0


def test_pending_counts_the_begun_message() -> None:
    reader = FrameReader(1 << 20)
    assert reader.feed(MESSAGE + MESSAGE[:5]) == [MESSAGE]
    assert reader.pending == 5
    assert reader.feed(MESSAGE[5:]) == [MESSAGE]
    assert reader.pending == 0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n", "a message begins with the byte 0x47 .*HTTP is not spoken"),
        (b"\x16\x03\x01", "TLS is not spoken"),
        (msgspec.msgpack.encode([1, 2]), "not with a MessagePack array of 3 or 4"),
        (msgspec.msgpack.encode({"a": 1}), "not with a MessagePack array of 3 or 4"),
        (b"\x93\x00\xc1", "byte 2 of a message is 0xc1"),
        (b"\x93\xc6\xff\xff\xff\xff", "longer than 1000 bytes"),
        (b"\x93" + b"\x91" * 8, "deeper than 8 levels"),
    ],
)
def test_what_is_no_stream_of_messages_is_refused_in_one_sentence_for_ever(data: bytes, sentence: str) -> None:
    reader = FrameReader(1000, max_depth=8)
    with pytest.raises(ValueError, match=sentence) as first:
        reader.feed(data)
    with pytest.raises(ValueError, match=sentence) as second:
        reader.feed(b"\x93\x00\x00\x00")
    assert str(first.value) == str(second.value)
    assert reader.pending == 0


@given(st.binary(max_size=200), st.integers(1, 50))
def test_random_bytes_end_in_messages_or_in_an_error_however_cut(data: bytes, size: int) -> None:
    def read(pieces: list[bytes]) -> tuple[list[bytes], str, int]:
        reader, out = FrameReader(100), list[bytes]()
        try:
            for piece in pieces:
                out += reader.feed(piece)
        except ValueError as error:
            return [], str(error), reader.pending
        return out, "", reader.pending

    data = b"\x93" + data
    assert read([data]) == read([data[at : at + size] for at in range(0, len(data), size)])

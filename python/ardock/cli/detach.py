r"""The keys that detach from a terminal: `ctrl-p,ctrl-q`, or what `--detach-keys` names. No I/O.

Docker's rules (moby/term, ascii.go and proxy.go): keys are single characters or `ctrl-` and one of `a-z@[\]^_`; what
was typed of them is held back until it is sure that they are not meant, and passed on then.
"""

from __future__ import annotations

from typing import Final

DEFAULT: Final = "ctrl-p,ctrl-q"

# The characters that the terminal makes of Ctrl and one of these, beside the letters: moby/term, ascii.go.
_CONTROL: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def keys(text: str) -> str:
    """A value of `--detach-keys`, checked and left as it was written.

    Raises:
        ValueError: It is no sequence of keys.
    """
    parse(text)
    return text


def parse(text: str) -> bytes:
    """The bytes that the keys send. Empty text: the default's."""
    result = bytearray()
    for key in (text or DEFAULT).split(","):
        name = key.lower().removeprefix("ctrl-")
        if len(key) == 1 and key.isascii():
            result += key.encode("ascii")
        elif not key.lower().startswith("ctrl-") or len(name) != 1:
            raise ValueError(
                f"unknown key {key!r}: give characters, or ctrl- and one of a-z @ [ \\ ] ^ _, with commas between"
            )
        elif name in _CONTROL:
            result.append(_CONTROL[name])
        elif "a" <= name <= "z":
            result.append(ord(name) - ord("a") + 1)
        else:
            raise ValueError(f"unknown key {key!r}: ctrl- goes with one of a-z @ [ \\ ] ^ _")
    return bytes(result)


class DetachKeys:
    """Looks for the keys in what is typed."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on of `data` (and of what was held back before), and whether the keys are complete.

        What comes after the keys is dropped: nobody is there any more to take it.
        """
        out = bytearray()
        for byte in data:
            while self._matched and byte != self._sequence[self._matched]:
                self._fall_back(out)
            if byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    self._matched = 0
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False

    def _fall_back(self, out: bytearray) -> None:
        """Let go of the shortest beginning of what is held back, so that the rest may still be the keys' beginning."""
        held = self._sequence[: self._matched]
        for cut in range(1, len(held) + 1):
            if self._sequence.startswith(held[cut:]):
                out += held[:cut]
                self._matched = len(held) - cut
                return

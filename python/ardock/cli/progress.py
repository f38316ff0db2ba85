"""How far a transfer is, told to a person: bars on a terminal, Docker's plain lines elsewhere, nothing where that is wished."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from ardock.cli.errors import printable
from ardock.cli.streams import write_line

if TYPE_CHECKING:
    from types import TracebackType

    from ardock.model.image import Progress


class Words(NamedTuple):
    """What is said of a layer's states.

    Attributes:
        plain: Without a terminal: only the states that say something new, as docker's `jsonmessage` prints those that have
            no bar.
        bars: Beside a bar; of a state that is not named there is none.
        counts: What is counted is no bytes.
    """

    plain: Mapping[str, str]
    bars: Mapping[str, str]
    counts: bool = False


PULLING: Final = Words(
    plain={
        "waiting": "Pulling fs layer",
        "downloading": "Pulling fs layer",
        "unpacking": "Download complete",
        "exists": "Already exists",
        "pulled": "Pull complete",
    },
    bars={
        "waiting": "Waiting",
        "downloading": "Downloading",
        "unpacking": "Extracting",
        "exists": "Already exists",
        "pulled": "Pull complete",
    },
)
PUSHING: Final = Words(
    plain={
        "waiting": "Preparing",
        "packing": "Preparing",
        "exists": "Layer already exists",
        "mounted": "Mounted from another repository",
        "pushed": "Pushed",
    },
    bars={
        "waiting": "Waiting",
        "packing": "Preparing",
        "uploading": "Pushing",
        "exists": "Layer already exists",
        "mounted": "Mounted from another repository",
        "pushed": "Pushed",
    },
)
LOADING: Final = Words(
    plain={},
    bars={
        "waiting": "Waiting",
        "loading": "Loading",
        "unpacking": "Loading layer",
        "exists": "Loaded",
        "pulled": "Loaded",
    },
)
CHECKING: Final = Words(plain={}, bars={"loading": "Checking"}, counts=True)


class Display(Protocol):
    """Where progress is shown, for as long as the context lasts."""

    def tell(self, progress: Progress) -> None:
        """Something has changed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def display(words: Words, *, descriptor: int = 1, quiet: bool = False) -> Display:
    """What is fit for that descriptor."""
    if quiet:
        return Plain(Words({}, {}), descriptor)
    if not os.isatty(descriptor):
        return Plain(words, descriptor)
    # It takes longer to import than most commands run, so only where somebody looks.
    from ardock.cli.bars import Bars

    return Bars(words, descriptor)


def short_part(part: str) -> str:
    """A layer as it is named: the first digits of its digest."""
    algorithm, colon, digits = part.partition(":")
    return digits[:12] if colon and algorithm in {"sha256", "sha512"} else printable(part)


class Plain:
    """A line for each state of a layer that is worth one."""

    def __init__(self, words: Words, descriptor: int) -> None:
        self._words = words
        self._descriptor = descriptor
        self._told: dict[str, str] = {}

    def tell(self, progress: Progress) -> None:
        """Say it, unless it was said."""
        text = self._words.plain.get(progress.status)
        if text is None or not progress.part.startswith("sha") or self._told.get(progress.part) == text:
            return
        self._told[progress.part] = text
        write_line(self._descriptor, f"{short_part(progress.part)}: {text}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

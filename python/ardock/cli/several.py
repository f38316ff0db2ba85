"""Commands on several containers (or images): one call each, all at once, and what fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from ardock.cli.errors import FAILED, UsageError, printable
from ardock.cli.streams import write_line

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.model.errors import ArdockError
    from ardock.protocol.methods import Method, Params

ResultT = TypeVar("ResultT")

# Calls under way at once: an engine takes 4096 of one connection, and what is done is told meanwhile.
_AT_ONCE: Final = 256


def check_count(name: str, arguments: Sequence[str], fewest: int, most: int | None = None) -> None:
    """Refuse too few or too many arguments, in Docker's words.

    Raises:
        UsageError: There are others than `fewest` to `most` (None: any number).
    """
    if fewest <= len(arguments) and (most is None or len(arguments) <= most):
        return
    if most == 0:
        raise UsageError(f"{name} accepts no arguments: {printable(arguments[0])}")
    bound = "" if fewest == most else "at least " if len(arguments) < fewest else "at most "
    number = fewest if len(arguments) < fewest or most is None else most
    raise UsageError(f"{name} requires {bound}{number} argument{'' if number == 1 else 's'}")


def write(lines: Sequence[str]) -> None:
    """Lines on standard output, in one write; a reader that has left is no error."""
    if lines:
        write_line(1, "\n".join(lines) + "\n")


def complain(message: str) -> None:
    """One error of several on stderr, as `ardock.cli.app.report` writes one."""
    write_line(2, f"ardock: {printable(message)}\n")


def call_all(engine: Connection, calls: Sequence[tuple[Method[ResultT], Params]]) -> Iterator[ResultT | ArdockError]:
    """Make any number of calls; their answers in order, errors among them as values."""
    for start in range(0, len(calls), _AT_ONCE):
        yield from engine.call_all(calls[start : start + _AT_ONCE])


def each(
    settings: Settings,
    refs: Sequence[str],
    call: Callable[[str], tuple[Method[ResultT], Params]],
    *,
    lines: Callable[[str, ResultT], Sequence[str]] = lambda ref, _: (ref,),
    forgive: Callable[[ArdockError], bool] = lambda _: False,
) -> int:
    """Make a call for each of `refs`.

    Args:
        settings: The global options.
        refs: As they were typed.
        call: The method and its parameters for one of them.
        lines: What to print for one that succeeded; Docker's commands mostly repeat its name.
        forgive: An error that is told, and does not count as a failure.

    Returns:
        1 where a call failed, else 0.
    """
    from ardock.cli.connection import connected
    from ardock.model.errors import ArdockError

    calls = [call(ref) for ref in refs]
    code = 0
    with connected(settings) as engine:
        answers = call_all(engine, calls)
        for ref, answer in zip(refs, answers, strict=True):
            if isinstance(answer, ArdockError):
                complain(answer.message)
                code = code if forgive(answer) else FAILED
            else:
                write(lines(ref, answer))
    return code

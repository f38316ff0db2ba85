"""Progress on a terminal: a line with a bar for each layer. The one place where rich is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn
from rich.progress import Progress as Lines

from ardock.cli.progress import Words, short_part

if TYPE_CHECKING:
    from types import TracebackType

    from ardock.model.image import Progress

# States in which nothing of a layer is left to be done.
_OVER: Final = frozenset({"exists", "pulled", "mounted", "pushed"})


class Bars:
    """A line for each part, in the order in which they are told of first."""

    def __init__(self, words: Words, descriptor: int) -> None:
        """On standard output (1) or error (2)."""
        self._words = words.bars
        amount: ProgressColumn = MofNCompleteColumn() if words.counts else DownloadColumn()
        self._lines = Lines(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
            BarColumn(),
            amount,
            # What a layer says is no markup of ours, and colours are the bar's alone.
            console=Console(stderr=descriptor == 2, highlight=False, markup=False),
        )
        self._tasks: dict[str, TaskID] = {}

    def tell(self, progress: Progress) -> None:
        """Change its line."""
        status = self._words.get(progress.status)
        if status is None:
            return
        part = progress.part
        total = progress.total or None
        done = progress.done
        if progress.status in _OVER:
            # What is there already may say no size.
            total = done = total or done or 1
        task = self._tasks.get(part)
        if task is None:
            self._tasks[part] = self._lines.add_task(short_part(part), total=total, completed=done, status=status)
        else:
            self._lines.update(task, total=total, completed=done, status=status)

    def __enter__(self) -> Self:
        """Show them."""
        self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave them as they are."""
        self._lines.stop()

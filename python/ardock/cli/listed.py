"""`--format` of the commands that list things, and of those that show one: read and applied.

The templates are imported where one was given; most command lines have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ardock.cli.errors import FAILED, CliError
from ardock.cli.flags import Flag
from ardock.cli.several import write

if TYPE_CHECKING:
    from ardock.cli.format.lists import ListFormat
    from ardock.cli.format.tabular import Listed


def _list_format(text: str) -> ListFormat | None:
    if text in {"", "table"}:
        return None
    from ardock.cli.format.lists import list_format

    return list_format(text)


def _object_format(text: str) -> Callable[[object], str] | None:
    if not text:
        return None
    from ardock.cli.format.lists import object_format

    return object_format(text)


LIST_FORMAT = Flag("format", _list_format, "Format output: table, json, a template, or 'table TEMPLATE'")
OBJECT_FORMAT = Flag("format", _object_format, "Format output: json, or a template", short="f")


def show_list(listed: Listed, form: ListFormat | None) -> None:
    """Print a list, `form` being the value of LIST_FORMAT.

    Raises:
        CliError: The template does not fit.
    """
    if form is None:
        write(list(listed.lines()))
        return
    from ardock.cli.format.errors import TemplateError

    try:
        write(list(form.lines(listed)))
    except TemplateError as error:
        raise CliError(f"--format: {error}", FAILED) from error


def show_objects(render: Callable[[object], str], shown: Sequence[object]) -> None:
    """Print objects, `render` being the value of OBJECT_FORMAT; those before one that fails are printed, too.

    Raises:
        CliError: The template does not fit.
    """
    from ardock.cli.format.errors import TemplateError

    lines: list[str] = []
    try:
        for each in shown:
            lines.append(render(each))  # noqa: PERF401 - what was rendered before an error is kept
    except TemplateError as error:
        raise CliError(f"--format: {error}", FAILED) from error
    finally:
        write(lines)

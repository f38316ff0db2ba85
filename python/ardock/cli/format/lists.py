"""`--format` of commands that list things: a table, one of other columns, JSON, or a template for each line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ardock.cli.format.errors import TemplateError
from ardock.cli.format.tabular import Listed, aligned
from ardock.cli.format.template import Template


class ListFormat(NamedTuple):
    """How a list is shown: as a table, and by which template (None: the usual columns), which was made of `text`."""

    is_table: bool
    template: Template | None
    text: str = ""

    def names(self, column: str) -> bool:
        """The template has this column, as docker's commands look for one: by its plain action."""
        return f"{{{{.{column}}}}}" in self.text

    def lines(self, listed: Listed) -> Iterator[str]:
        """What is printed.

        Raises:
            TemplateError: A row has no such column, or a value is of another kind.
        """
        if self.template is None:
            yield from listed.lines()
            return
        rendered = [self.template.render(row.struct()) for row in listed.rows]
        if not self.is_table:
            yield from rendered
            return
        headings = self.template.render({**listed.headings, "Label": _label_heading}, headings=True)
        yield from aligned([line.split("\t") for text in (headings, *rendered) for line in text.split("\n")])


def _label_heading(name: str) -> str:
    """docker/cli, formatter.SubHeaderContext.Label: the last word of a label's name."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def list_format(text: str) -> ListFormat:
    r"""`--format` of a list; ``\t`` and ``\n`` stand for a tab and a line's end, also outside of actions.

    Raises:
        TemplateError: The template is malformed, or uses what is not supported.
    """
    match text:
        case "" | "table":
            return ListFormat(is_table=True, template=None)
        case "json":
            return ListFormat(is_table=False, template=Template("{{json .}}"))
        case "raw":
            raise TemplateError("raw is not supported: give table, json or a template")
        case _:
            is_table = text.startswith("table")
            text = text.removeprefix("table").strip() if is_table else text.strip()
            return ListFormat(is_table, Template(text.replace(r"\t", "\t").replace(r"\n", "\n")), text)


def object_format(text: str) -> Callable[[object], str]:
    """`--format` of one object: ``json``, or a template.

    Raises:
        TemplateError: The template is malformed, or uses what is not supported.
    """
    return Template("{{json .}}" if text == "json" else text).render

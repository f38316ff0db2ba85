"""A parsed template."""

from __future__ import annotations

from typing import NamedTuple


class Text(NamedTuple):
    """Text that is printed as it is."""

    text: str


class Literal(NamedTuple):
    """A string, number, true, false or nil."""

    value: object


class Dot(NamedTuple):
    """``.``: the present object."""


class Variable(NamedTuple):
    """``$name``; the name has its dollar."""

    name: str


class Function(NamedTuple):
    """A function's name."""

    name: str


class Fields(NamedTuple):
    """``base.A.B``: fields of what `base` is.

    Attributes:
        base: What the first field is of.
        names: The fields, without their dots.
        at: Where it begins in the template, for messages.
        source: As it is written, idem.
    """

    base: Operand
    names: tuple[str, ...]
    at: int
    source: str


class Command(NamedTuple):
    """A value, or a function or method with arguments; `at` and `source` as of `Fields`."""

    operands: tuple[Operand, ...]
    at: int
    source: str


class Pipeline(NamedTuple):
    """Commands, each getting the value of the one before as its last argument.

    Attributes:
        variables: Names that are given the value: one, or two with ``range``.
        declares: They are new (``:=``), not only set (``=``).
        commands: At least one.
    """

    variables: tuple[str, ...]
    declares: bool
    commands: tuple[Command, ...]


class Action(NamedTuple):
    """A pipeline whose value is printed, unless it goes into a variable."""

    pipeline: Pipeline


class If(NamedTuple):
    """``if``; an ``else if`` is an `If` alone in `otherwise`."""

    condition: Pipeline
    then: Body
    otherwise: Body


class With(NamedTuple):
    """``with``: as ``if``, and the value is the present object of `then`."""

    value: Pipeline
    then: Body
    otherwise: Body


class Range(NamedTuple):
    """``range``: `each` for every element; `otherwise` where there is none."""

    values: Pipeline
    each: Body
    otherwise: Body


class Break(NamedTuple):
    """Leave the innermost range."""


class Continue(NamedTuple):
    """Go on with the innermost range's next element."""


Operand = Literal | Dot | Variable | Function | Fields | Pipeline
Node = Text | Action | If | With | Range | Break | Continue
Body = tuple[Node, ...]

"""A template that was parsed, and applying it to an object (Go's text/template/exec.go)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ardock.cli.format.errors import TemplateError
from ardock.cli.format.functions import LAZY, NAMES, call, truth
from ardock.cli.format.nodes import (
    Action,
    Body,
    Break,
    Command,
    Continue,
    Dot,
    Fields,
    Function,
    If,
    Literal,
    Node,
    Operand,
    Pipeline,
    Range,
    Text,
    Variable,
    With,
)
from ardock.cli.format.parser import parse
from ardock.cli.format.printing import MISSING, Missing, text
from ardock.docker.values import OpenMap

# No value was piped in; None is a value.
_NOTHING: Final = Missing()


class Template:
    """A template.

    Attributes:
        source: What it was made of.
    """

    def __init__(self, source: str) -> None:
        """Parse `source`.

        Raises:
            TemplateError: It is malformed, or uses what is not supported.
        """
        self.source = source
        self._body = parse(source, NAMES)

    def render(self, value: object, *, headings: bool = False) -> str:
        """The text for `value`: dicts are structs, `OpenMap` maps; a value that can be called is a method.

        With `headings` the value is a table's headings by column, which functions that change a text's look leave alone.

        Raises:
            TemplateError: A field is not there, or a value is not of the kind that is needed.
        """
        return _Rendering(value, headings=headings).of(self._body)

    def __repr__(self) -> str:
        """Its source."""
        return f"<Template {self.source!r}>"


class _Leave(Exception):  # noqa: N818 - no error: `break` and `continue`
    """Ends the present element of a range, or (`for_good`) the range."""

    def __init__(self, *, for_good: bool) -> None:
        self.for_good = for_good


class _Rendering:
    """One application of a template."""

    def __init__(self, value: object, *, headings: bool) -> None:
        self._headings = headings
        self._variables: list[tuple[str, object]] = [("$", value)]
        self._dot = value
        self._out: list[str] = []

    def of(self, body: Body) -> str:
        self._body(body)
        return "".join(self._out)

    # Nodes.

    def _body(self, body: Body) -> None:
        for node in body:
            self._node(node)

    def _node(self, node: Node) -> None:
        match node:
            case Text():
                self._out.append(node.text)
            case Action():
                value = self._pipeline(node.pipeline)
                if not node.pipeline.variables:
                    self._out.append(text(value))
            case If() | With() | Range():
                depth = len(self._variables)
                try:
                    self._control(node)
                finally:
                    del self._variables[depth:]
            case Break():
                raise _Leave(for_good=True)
            case Continue():
                raise _Leave(for_good=False)

    def _control(self, node: If | With | Range) -> None:
        match node:
            case If():
                self._body(node.then if truth(self._pipeline(node.condition)) else node.otherwise)
            case With():
                value = self._pipeline(node.value)
                if truth(value):
                    self._with_dot(value, node.then)
                else:
                    self._body(node.otherwise)
            case Range():
                self._range(node)

    def _with_dot(self, value: object, body: Body) -> None:
        before, self._dot = self._dot, value
        try:
            self._body(body)
        finally:
            self._dot = before

    def _range(self, node: Range) -> None:
        pairs = list(_elements(self._pipeline(node.values, assign=False)))
        if not pairs:
            self._body(node.otherwise)
        names = node.values.variables
        depth = len(self._variables)
        for key, value in pairs:
            # One variable is the element, two are index (or key) and element.
            for name, each in zip(names, (key, value)[2 - len(names) :], strict=True):
                self._assign(name, each, declare=node.values.declares)
            try:
                self._with_dot(value, node.each)
            except _Leave as leave:
                if leave.for_good:
                    return
            finally:
                del self._variables[depth:]

    # Values.

    def _pipeline(self, pipeline: Pipeline, *, assign: bool = True) -> object:
        value: object = _NOTHING
        for command in pipeline.commands:
            value = self._command(command, value)
        if assign:
            for name in pipeline.variables:
                self._assign(name, value, declare=pipeline.declares)
        return value

    def _assign(self, name: str, value: object, *, declare: bool) -> None:
        if declare:
            self._variables.append((name, value))
            return
        for place in range(len(self._variables) - 1, -1, -1):
            if self._variables[place][0] == name:
                self._variables[place] = (name, value)
                return
        raise AssertionError("the parser knows every variable")

    def _command(self, command: Command, piped: object) -> object:
        first, *arguments = command.operands
        try:
            match first:
                case Function(name):
                    return self._function(name, arguments, piped)
                case Fields():
                    return self._fields(first, self._values(arguments, piped))
                case _:
                    return self._alone(first, self._values(arguments, piped))
        except TemplateError as error:
            raise _located(error, command) from None

    def _alone(self, operand: Operand, arguments: list[object]) -> object:
        if arguments:
            raise TemplateError("can't give argument to non-function")
        return self._value(operand)

    def _function(self, name: str, arguments: list[Operand], piped: object) -> object:
        if name not in LAZY:
            return call(name, self._values(arguments, piped), headings=self._headings)
        if not arguments and piped is _NOTHING:
            raise TemplateError(f"wrong number of args for {name}: want at least 1 got 0")
        value = piped
        for argument in arguments:
            value = self._value(argument)
            if truth(value) == (name == "or"):
                return value
        return value if piped is _NOTHING else piped

    def _values(self, operands: list[Operand], piped: object) -> list[object]:
        values = [self._value(operand) for operand in operands]
        return values if piped is _NOTHING else [*values, piped]

    def _value(self, operand: Operand) -> object:
        match operand:
            case Literal(value):
                return value
            case Dot():
                return self._dot
            case Variable(name):
                return next(value for known, value in reversed(self._variables) if known == name)
            case Function(name):
                return self._function(name, [], _NOTHING)
            case Fields():
                return self._fields(operand, [])
            case Pipeline():
                return self._pipeline(operand)

    def _fields(self, node: Fields, arguments: list[object]) -> object:
        value = self._value(node.base)
        for index, name in enumerate(node.names):
            value = _field(value, name, arguments if index == len(node.names) - 1 else [], node)
        return value


class LocatedError(TemplateError):
    """An error that says where in the template it is."""


def _located(error: TemplateError, node: Command | Fields) -> TemplateError:
    return error if isinstance(error, LocatedError) else LocatedError(f"at <{node.source}>: {error}")


def _field(value: object, name: str, arguments: list[object], node: Fields) -> object:
    if isinstance(value, Missing) or value is None:
        raise _located(TemplateError(f"nil has no field {name}"), node)
    if not isinstance(value, dict):
        raise _located(TemplateError(f"can't evaluate field {name} in {text(value)}"), node)
    found = value.get(name, MISSING)
    if found is MISSING and not isinstance(value, OpenMap):
        raise _located(TemplateError(f"there is no field {name}"), node)
    if callable(found):
        try:
            return found(*arguments)
        except TypeError:
            raise _located(TemplateError(f"wrong number of args for {name}: got {len(arguments)}"), node) from None
    if arguments:
        raise _located(TemplateError(f"{name} has arguments but cannot be invoked as function"), node)
    return found


def _elements(value: object) -> Iterator[tuple[object, object]]:
    """Index and element of a list, key and element of a map in the order of its keys; 0 to n - 1 for a number n."""
    match value:
        case None | Missing():
            return
        case bool():
            raise TemplateError(f"range can't iterate over {text(value)}")
        case int():
            yield from ((number, number) for number in range(value))
        case list() | tuple():
            yield from enumerate(value)
        case OpenMap():
            yield from ((key, value[key]) for key in sorted(value))
        case _:
            raise TemplateError(f"range can't iterate over {text(value)}")

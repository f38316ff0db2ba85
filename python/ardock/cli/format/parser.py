"""From a template's tokens to its nodes (Go's text/template/parse/parse.go)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ardock.cli.format.errors import TemplateError
from ardock.cli.format.lexer import Kind, Token, tokens
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

# Go's, which nothing in Docker's documents uses.
_REFUSED: Final = frozenset({"define", "template", "block"})
_REFUSED_FUNCTIONS: Final = frozenset({"call", "html", "js", "urlquery"})
_KEYWORDS: Final = frozenset({"if", "else", "end", "range", "with", "break", "continue"}) | _REFUSED
_CONSTANTS: Final[dict[str, object]] = {"true": True, "false": False, "nil": None}
# Deeper ones are nobody's template, and would exhaust the interpreter's stack.
_DEEPEST: Final = 50


def parse(source: str, functions: Collection[str]) -> Body:
    """The nodes of a template.

    Raises:
        TemplateError: It is malformed, or uses what is not supported; the message names it.
    """
    return _Parser(source, functions).whole()


class _Parser:
    def __init__(self, source: str, functions: Collection[str]) -> None:
        self._source = source
        self._functions = functions
        self._tokens = list(tokens(source))
        self._place = 0
        self._variables = ["$"]
        self._ranges = 0
        self._depth = 0

    def whole(self) -> Body:
        body, end = self._body()
        if end is not None:
            raise TemplateError(f"unexpected {{{{{end}}}}}")
        return body

    # Text and actions.

    def _body(self) -> tuple[Body, str | None]:
        """Nodes up to ``else`` or ``end`` of the surrounding action, and which of them; None at the template's end.

        Of an ``else`` the rest (``else if x``) is not yet read.
        """
        self._deeper()
        nodes: list[Node] = []
        end = None
        while self._place < len(self._tokens):
            token = self._next()
            if token.kind is Kind.TEXT:
                nodes.append(Text(token.text))
                continue
            keyword = self._keyword()
            if keyword in {"else", "end"}:
                end = keyword
                break
            nodes.append(self._action(keyword))
        self._depth -= 1
        return tuple(nodes), end

    def _keyword(self) -> str | None:
        token = self._peek()
        if token.kind is Kind.NAME and token.text in _KEYWORDS:
            self._next()
            return token.text
        return None

    def _action(self, keyword: str | None) -> Node:
        match keyword:
            case None:
                action = Action(self._pipeline("command"))
                self._expect(Kind.CLOSE, "command")
                return action
            case "if" | "with" | "range":
                return self._control(keyword)
            case "break" | "continue":
                self._expect(Kind.CLOSE, keyword)
                if not self._ranges:
                    raise TemplateError(f"{{{{{keyword}}}}} outside {{{{range}}}}")
                return Break() if keyword == "break" else Continue()
            case _:
                raise TemplateError(f"{{{{{keyword}}}}} is not supported")

    def _control(self, keyword: str) -> If | With | Range:
        """The rest of ``if``, ``with`` or ``range``, up to its ``end``."""
        variables = len(self._variables)
        pipeline = self._pipeline(keyword, most_variables=2 if keyword == "range" else 1)
        self._expect(Kind.CLOSE, keyword)
        self._ranges += keyword == "range"
        body, end = self._body()
        self._ranges -= keyword == "range"
        otherwise: Body = ()
        if end == "else":
            otherwise = self._otherwise(keyword)
        elif end == "end":
            self._expect(Kind.CLOSE, "end")
        else:
            raise TemplateError(f"unexpected EOF: {{{{{keyword}}}}} has no {{{{end}}}}")
        del self._variables[variables:]
        match keyword:
            case "if":
                return If(pipeline, body, otherwise)
            case "with":
                return With(pipeline, body, otherwise)
            case _:
                return Range(pipeline, body, otherwise)

    def _otherwise(self, keyword: str) -> Body:
        following = self._keyword()
        if following is not None:
            if following != keyword or keyword == "range":
                raise TemplateError(f"unexpected {{{{else {following}}}}} in {keyword}")
            # Its `end` is ours, too.
            return (self._control(following),)
        self._expect(Kind.CLOSE, "else")
        body, end = self._body()
        if end == "else":
            raise TemplateError("expected end; found {{else}}")
        if end is None:
            raise TemplateError(f"unexpected EOF: {{{{{keyword}}}}} has no {{{{end}}}}")
        self._expect(Kind.CLOSE, "end")
        return body

    # Inside an action.

    def _pipeline(self, context: str, *, most_variables: int = 1) -> Pipeline:
        self._deeper()
        names, declares = self._assignment(context, most_variables)
        commands = [self._command(context)]
        while self._accept("|"):
            commands.append(self._command(context))
            if isinstance(commands[-1].operands[0], Literal | Dot | Pipeline):
                raise TemplateError(f"non executable command in pipeline stage {len(commands)}")
        # Only now: in `$x := $x` the right one is the earlier one.
        if declares:
            self._variables += names
        self._depth -= 1
        return Pipeline(names, declares, tuple(commands))

    def _assignment(self, context: str, most: int) -> tuple[tuple[str, ...], bool]:
        """The variables that the pipeline's value goes to, if there are any, and whether they are new."""
        start = self._place
        names: list[str] = []
        while self._peek().kind is Kind.VARIABLE:
            names.append(self._next().text)
            sign = self._peek().text
            if sign in {":=", "="}:
                self._next()
                if len(names) > most:
                    raise TemplateError(f"too many declarations in {context}")
                for name in names:
                    self._check_variable(name, new=sign == ":=")
                return tuple(names), sign == ":="
            if sign != ",":
                break
            self._next()
        self._place = start
        return (), False

    def _check_variable(self, name: str, *, new: bool) -> None:
        if new and name == "$":
            raise TemplateError("$ cannot be declared")
        if not new and name not in self._variables:
            raise TemplateError(f"undefined variable {name!r}")

    def _command(self, context: str) -> Command:
        operands: list[Operand] = []
        start = self._peek().start
        end = start
        while (token := self._peek()).kind is not Kind.CLOSE and token.text not in {"|", ")"}:
            if operands and token.start == end:
                raise TemplateError(f"unexpected {self._source[token.start : token.end]} in operand")
            operands.append(self._operand(context))
            end = self._tokens[self._place - 1].end
        if not operands:
            raise TemplateError(f"missing value for {context}")
        first = operands[0]
        if len(operands) > 1 and isinstance(first, Literal | Dot):
            raise TemplateError(f"can't give argument to non-function {self._source[start:end].split()[0]}")
        return Command(tuple(operands), start, self._source[start:end])

    def _operand(self, context: str) -> Operand:
        start = self._peek().start
        term = self._term(context)
        names = []
        while self._peek().kind is Kind.FIELD and self._peek().start == self._tokens[self._place - 1].end:
            names.append(self._next().text[1:])
        if not names:
            return term
        source = self._source[start : self._tokens[self._place - 1].end]
        if isinstance(term, Literal):
            raise TemplateError(f"unexpected . after term {source}")
        if isinstance(term, Fields):
            return Fields(term.base, (*term.names, *names), start, source)
        return Fields(term, tuple(names), start, source)

    def _term(self, context: str) -> Operand:
        token = self._next()
        match token.kind:
            case Kind.DOT:
                return Dot()
            case Kind.FIELD:
                return Fields(Dot(), (token.text[1:],), token.start, token.text)
            case Kind.VARIABLE:
                if token.text not in self._variables:
                    raise TemplateError(f"undefined variable {token.text!r}")
                return Variable(token.text)
            case Kind.STRING:
                return Literal(token.text)
            case Kind.NUMBER:
                return Literal(_number(token.text))
            case Kind.NAME if token.text in _CONSTANTS:
                return Literal(_CONSTANTS[token.text])
            case Kind.NAME:
                return self._function(token.text)
            case Kind.SIGN if token.text == "(":
                pipeline = self._pipeline("parenthesized pipeline")
                if not self._accept(")"):
                    raise TemplateError("unclosed left paren")
                return pipeline
            case _:
                raise TemplateError(f'unexpected "{token.text}" in {context}')

    def _function(self, name: str) -> Function:
        if name in _KEYWORDS:
            raise TemplateError(f"unexpected <{name}> in operand")
        if name in _REFUSED_FUNCTIONS:
            raise TemplateError(f'function "{name}" is not supported')
        if name not in self._functions:
            raise TemplateError(f'function "{name}" not defined')
        return Function(name)

    # Tokens.

    def _peek(self) -> Token:
        if self._place == len(self._tokens):
            raise TemplateError("unclosed action")
        return self._tokens[self._place]

    def _next(self) -> Token:
        token = self._peek()
        self._place += 1
        return token

    def _accept(self, sign: str) -> bool:
        token = self._peek()
        if token.kind is Kind.SIGN and token.text == sign:
            self._place += 1
            return True
        return False

    def _expect(self, kind: Kind, context: str) -> None:
        token = self._next()
        if token.kind is not kind:
            raise TemplateError(f'unexpected "{token.text}" in {context}')

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise TemplateError(f"nested deeper than {_DEEPEST}")


def _number(text: str) -> int | float:
    try:
        if text.lstrip("+-")[:1] == "0" and text.lstrip("+-")[1:].isdecimal():
            return int(text, 8)
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise TemplateError(f"bad number syntax: {text}") from None

"""Docker's command line syntax: declared flags, a parser, the typed values.

click's own option parser differs from the one that Docker uses (pflag) in ways
that scripts depend on: `--rm=false`, `-t=true`, `-m=512m`, a switch that is
repeated, and values that begin with a dash. So a command with Docker's flags is
a click command whose `parse_args` is the parser below; click keeps the groups,
the lazy loading and the context.

A flag is declared once as an object, and that object is the key to its value:
`values.one(MEMORY)` has the type that MEMORY's parser returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar, cast

from ardock.cli.errors import UsageError, quoted

T = TypeVar("T")

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def boolean(text: str) -> bool:
    """Go's strconv.ParseBool, which Docker's switches take."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError("give true or false")


class AnyFlag:
    """What all flags have: names, a help line, how a value is read.

    `read` takes the text and the value so far (None at first), and returns the
    new value; a ValueError says what is wrong with the text.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        read: Callable[[str, object], object],
        *,
        takes_value: bool = True,
        short: str = "",
        metavar: str = "",
        aliases: Sequence[str] = (),
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.help = help_text
        self.read = read
        self.takes_value = takes_value
        self.short = short
        self.metavar = metavar
        self.aliases = tuple(aliases)
        self.hidden = hidden

    @property
    def spelled(self) -> str:
        """The flag as error messages name it: `-m, --memory`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Flag(AnyFlag, Generic[T]):
    """A flag with one value; the last one given wins."""

    def __init__(
        self,
        name: str,
        parse: Callable[[str], T],
        help_text: str,
        *,
        short: str = "",
        metavar: str = "string",
        aliases: Sequence[str] = (),
        hidden: bool = False,
    ) -> None:
        super().__init__(
            name, help_text, lambda text, _: parse(text), short=short, metavar=metavar, aliases=aliases, hidden=hidden
        )
        self.parse = parse


class Many(AnyFlag, Generic[T]):
    """A flag that may be repeated; the values are kept in order."""

    def __init__(
        self,
        name: str,
        parse: Callable[[str], T],
        help_text: str,
        *,
        short: str = "",
        metavar: str = "list",
        aliases: Sequence[str] = (),
    ) -> None:
        def read(text: str, earlier: object) -> list[T]:
            return [*cast("list[T]", earlier or []), parse(text)]

        super().__init__(name, help_text, read, short=short, metavar=metavar, aliases=aliases)


class Switch(AnyFlag):
    """A flag that is on or off; `--name` is `--name=true`."""

    def __init__(
        self, name: str, help_text: str, *, short: str = "", default: bool = False, hidden: bool = False
    ) -> None:
        super().__init__(name, help_text, lambda text, _: boolean(text), takes_value=False, short=short, hidden=hidden)
        self.default = default


class Refused(AnyFlag):
    """A flag of Docker's that ardock does not have (yet).

    It is refused by name rather than ignored. Values that ask for what happens
    anyway (`harmless`, such as `--restart no`) are accepted.
    """

    def __init__(
        self,
        name: str,
        reason: str,
        *,
        short: str = "",
        switch: bool = False,
        harmless: Sequence[str] = (),
        aliases: Sequence[str] = (),
    ) -> None:
        accepted = frozenset(harmless) | (FALSE if switch else frozenset())

        def read(text: str, _: object) -> str:
            if text in accepted:
                return text
            raise UsageError(f"{self.spelled} is not supported: {reason}")

        super().__init__(name, reason, read, takes_value=not switch, short=short, aliases=aliases, hidden=True)


class Values:
    """The values of one command line, by flag."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def one(self, flag: Flag[T]) -> T | None:
        """The flag's value, or None where it was not given."""
        return cast("T | None", self._values.get(flag.name))

    def many(self, flag: Many[T]) -> list[T]:
        """The flag's values in the order given; empty where there are none."""
        return cast("list[T]", self._values.get(flag.name, []))

    def on(self, flag: Switch) -> bool:
        """Whether the switch is on."""
        return cast("bool", self._values.get(flag.name, flag.default))

    def given(self, flag: AnyFlag) -> bool:
        """Whether the flag was on the command line at all."""
        return flag.name in self._values

    def add(self, flag: AnyFlag, text: str) -> None:
        """Take a value from the command line."""
        try:
            self._values[flag.name] = flag.read(text, self._values.get(flag.name))
        except ValueError as error:
            raise UsageError(f'invalid argument {quoted(text)} for "{flag.spelled}" flag: {error}') from None


class HelpRequested(Exception):  # noqa: N818 - a wish, no error
    """`--help` was met."""


class Parser:
    """Docker's argument syntax over a set of flags.

    `interspersed` says that flags may stand behind positional arguments, as everywhere but where a command line of
    another program's follows.
    """

    def __init__(self, flags: Iterable[AnyFlag], *, interspersed: bool = False) -> None:
        self._interspersed = interspersed
        self._long: dict[str, AnyFlag] = {}
        self._short: dict[str, AnyFlag] = {}
        for flag in flags:
            for name in (flag.name, *flag.aliases):
                self._long[name] = flag
            if flag.short:
                self._short[flag.short] = flag

    def parse(self, arguments: Sequence[str]) -> tuple[Values, list[str]]:
        """The flags, and the positional arguments: all after `--`, and (unless interspersed) all after the first one."""
        values = Values()
        positional: list[str] = []
        rest = list(arguments)
        while rest:
            word = rest[0]
            if len(word) < 2 or not word.startswith("-"):
                if not self._interspersed:
                    break
                positional.append(rest.pop(0))
                continue
            del rest[0]
            if word == "--":
                break
            if word.startswith("--"):
                self._long_flag(word, rest, values)
            else:
                self._short_flags(word[1:], rest, values)
        return values, positional + rest

    def _long_flag(self, word: str, rest: list[str], values: Values) -> None:
        name, equals, value = word[2:].partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {quoted(word)}")
        flag = self._long.get(name)
        if flag is None:
            if name == "help":
                raise HelpRequested
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if not flag.takes_value:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: --{name}")
        values.add(flag, value)

    def _short_flags(self, letters: str, rest: list[str], values: Values) -> None:
        whole = letters
        while letters:
            flag = self._short.get(letters[0])
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{letters[0]}' in -{whole}")
            if len(letters) > 2 and letters[1] == "=":
                value, letters = letters[2:], ""
            elif not flag.takes_value:
                value, letters = "true", letters[1:]
            elif len(letters) > 1:
                value, letters = letters[1:], ""
            elif rest:
                value, letters = rest.pop(0), ""
            else:
                raise UsageError(f"flag needs an argument: '{letters[0]}' in -{whole}")
            values.add(flag, value)

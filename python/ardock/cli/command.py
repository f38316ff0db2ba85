"""What every command shares: the global settings, and commands with Docker's flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ardock.cli.errors import ENGINE_FAILED, CliError, engine_error
from ardock.cli.flags import AnyFlag, Parser, Values


class Settings(NamedTuple):
    """The global options.

    Attributes:
        root: The state folder.
        run_dir: The folder of sockets and exit records.
        host: The engine's socket, ``unix://PATH``; None where none was named: the root folder's owner is asked, or this
            command becomes it.
        debug: Show where an error came from.
    """

    root: str
    run_dir: str
    host: str | None
    debug: bool


class Attached(NamedTuple):
    """Which of our standard streams a program's are connected to."""

    stdin: bool
    stdout: bool
    stderr: bool


class PullWish(NamedTuple):
    """When `run` and `create` are to pull.

    Attributes:
        when: ``always``, ``missing`` or ``never``.
        platform: ``os[/architecture[/variant]]``; empty is the engine's machine's.
        quiet: Without progress.
    """

    when: str = "missing"
    platform: str = ""
    quiet: bool = False


class FlagCommand:
    """A command whose flags are ours (see `ardock.cli.flags`).

    click is not needed to run it, and takes a fifth of a short command's time to import; `ardock.cli.group` makes a click
    command of it where its help is asked for.

    Attributes:
        name: Its name.
        flags: All of them, those that are refused by name too.
        usage: What follows the name in the help's first line.
        help_text: What it does.
        epilog: The end of its help.
        failure: Its exit code for what the engine refuses; a program that cannot be found or run has its own.
        interspersed: Flags may stand behind positional arguments.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Settings, Values, list[str]], int],
        flags: Sequence[AnyFlag],
        *,
        usage: str,
        help_text: str,
        epilog: str = "",
        failure: int = ENGINE_FAILED,
        interspersed: bool = False,
    ) -> None:
        self.name = name
        self.flags = tuple(flags)
        self.usage = usage
        self.help_text = help_text
        self.epilog = epilog
        self.failure = failure
        self.interspersed = interspersed
        self._function = function

    def __call__(self, settings: Settings, words: Sequence[str]) -> int:
        """Run it with its command line; its exit code.

        Raises:
            HelpRequested: `--help` is among the words.
            CliError: The command line is wrong, or the engine refuses what it asks for.
        """
        values, arguments = Parser(self.flags, interspersed=self.interspersed).parse(words)
        try:
            return self._function(settings, values, arguments)
        except Exception as error:
            known = engine_error(error)
            if known is None or known.exit_code != ENGINE_FAILED:
                raise
            raise CliError(known.message, self.failure) from error

"""What every command shares: the global settings, and click commands with Docker's flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import click

from ardock.cli.errors import ENGINE_FAILED, CliError, engine_error
from ardock.cli.flags import AnyFlag, HelpRequested, Parser, Values
from ardock.cli.overriding import override


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


class FlagCommand(click.Command):
    """A click command whose flags are ours (see `ardock.cli.flags`).

    `failure` is its exit code for what the engine refuses; a program that cannot be found or run has its own. With
    `interspersed`, flags may stand behind positional arguments.
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
        super().__init__(name, help=help_text, epilog=epilog, add_help_option=False)
        self._function = function
        self._flags = tuple(flags)
        self._usage = usage
        self._failure = failure
        self._interspersed = interspersed

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse by Docker's rules; click's own parser sees nothing."""
        try:
            values, arguments = Parser(self._flags, interspersed=self._interspersed).parse(args)
        except HelpRequested:
            click.echo(ctx.get_help())
            ctx.exit()
        ctx.params = {"values": values, "arguments": arguments}
        return []

    @override
    def invoke(self, ctx: click.Context) -> int:
        """Run the command; its exit code."""
        settings = ctx.find_object(Settings)
        assert settings is not None, "set by the group"
        try:
            return self._function(settings, ctx.params["values"], ctx.params["arguments"])
        except Exception as error:
            known = engine_error(error)
            if known is None or known.exit_code != ENGINE_FAILED:
                raise
            raise CliError(known.message, self._failure) from error

    @override
    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The line that begins with Usage."""
        formatter.write_usage(ctx.command_path, self._usage)

    @override
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's call
        """The flags that are built, as Docker's help lists them."""
        rows = [
            (f"{f'-{flag.short}, ' if flag.short else '    '}--{flag.name} {flag.metavar}".rstrip(), flag.help)
            for flag in self._flags
            if not flag.hidden
        ]
        with formatter.section("Options"):
            formatter.write_dl([*rows, ("    --help", "Print usage")])

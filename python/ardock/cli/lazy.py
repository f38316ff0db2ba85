"""Groups of commands whose modules are imported when they are called, with click."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

import click

from ardock.cli.command import FlagCommand, Settings
from ardock.cli.errors import UsageError
from ardock.cli.flags import HelpRequested
from ardock.cli.overriding import override


class LazyGroup(click.Group):
    """A group whose commands are modules with a `command`.

    `modules` has for each name the module and the line that the group's help shows without importing it.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        modules: Mapping[str, tuple[str, str]],
        **attributes: object,
    ) -> None:
        # click's own attributes are as many as they are of types; they are checked where the group is declared.
        super().__init__(name, **cast("dict[str, bool]", attributes))  # type: ignore[arg-type]
        self._modules = modules

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's call
        """The names, without importing anything."""
        return list(self._modules)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's call
        """Import the one that is called."""
        if cmd_name not in self._modules:
            return None
        command: object = importlib.import_module(self._modules[cmd_name][0]).command
        if isinstance(command, FlagCommand):
            return _ClickCommand(command)
        assert isinstance(command, click.Command)
        return command

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names, or an error in Docker's words."""
        if args and args[0] not in self._modules:
            path = ctx.command_path
            raise UsageError(f"unknown command: {path} {args[0]} (see '{path} --help')")
        return super().resolve_command(ctx, args)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's call
        """The commands with their lines."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._modules.items()])


class _ClickCommand(click.Command):
    """A `FlagCommand` for click."""

    def __init__(self, command: FlagCommand) -> None:
        super().__init__(command.name, help=command.help_text, epilog=command.epilog, add_help_option=False)
        self._command = command

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The command parses them itself, by Docker's rules; click's own parser sees nothing."""
        ctx.params = {"words": list(args)}
        return []

    @override
    def invoke(self, ctx: click.Context) -> int:
        """Run the command, or show its help; its exit code."""
        settings = ctx.find_object(Settings)
        assert settings is not None, "set by the group"
        try:
            return self._command(settings, ctx.params["words"])
        except HelpRequested:
            click.echo(ctx.get_help())
            return 0

    @override
    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The line that begins with Usage."""
        formatter.write_usage(ctx.command_path, self._command.usage)

    @override
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's call
        """The flags that are built, as Docker's help lists them."""
        rows = [
            (f"{f'-{flag.short}, ' if flag.short else '    '}--{flag.name} {flag.metavar}".rstrip(), flag.help)
            for flag in self._command.flags
            if not flag.hidden
        ]
        with formatter.section("Options"):
            formatter.write_dl([*rows, ("    --help", "Print usage")])

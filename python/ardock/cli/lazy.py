"""A group of commands whose modules are imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

import click

from ardock.cli.errors import UsageError
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

"""The `ardock` command for click: help, and command lines that are not plain."""

from __future__ import annotations

import click

from ardock.cli.app import COMMANDS, ROOT, RUN_DIR, settings_of
from ardock.cli.errors import ENGINE_FAILED
from ardock.cli.lazy import LazyGroup


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Docker's one line."""
    if value:
        from ardock.cli.version import version

        click.echo(f"ardock version {version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    context_settings={"help_option_names": ["--help"], "max_content_width": 120},
    options_metavar="[OPTIONS]",
    subcommand_metavar="COMMAND [ARG...]",
    invoke_without_command=True,
)
@click.option("--root", envvar="ARDOCK_ROOT", default=ROOT, show_default=True, help="State folder.")
@click.option("--run-dir", envvar="ARDOCK_RUN_DIR", default=RUN_DIR, show_default=True, help="Folder of sockets.")
@click.option(
    "-H",
    "--host",
    envvar="ARDOCK_HOST",
    metavar="unix://PATH",
    help="Engine's socket, instead of the one of the root folder's owner.",
)
@click.option("--debug", "-D", is_flag=True, help="Show where an error came from.")
@click.option(
    "--version",
    "-v",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version.",
)
@click.pass_context
def app(ctx: click.Context, root: str, run_dir: str, host: str | None, *, debug: bool) -> None:
    """Run containers."""
    ctx.obj = settings_of(root, run_dir, host, debug=debug)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def sentence(error: Exception) -> tuple[str, int] | None:
    """What to say of an error of click's, and the exit code; None where it is none."""
    if isinstance(error, click.exceptions.Abort):
        return "interrupted", 130
    if isinstance(error, click.NoSuchOption):
        return f"unknown flag: {error.option_name} (see 'ardock --help')", ENGINE_FAILED
    if isinstance(error, click.ClickException):
        return error.format_message().rstrip("."), ENGINE_FAILED
    return None

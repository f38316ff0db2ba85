"""`ardock exec`: a program joined to a running container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ardock.cli import detach, files, values
from ardock.cli.command import Attached, FlagCommand
from ardock.cli.errors import FAILED, UsageError
from ardock.cli.flags import Flag, Many, Switch

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values
    from ardock.model.spec import ExecSpec

DETACH = Switch("detach", "Detached mode: run command in the background", short="d")
DETACH_KEYS = Flag("detach-keys", detach.keys, "Override the key sequence for detaching from its terminal")
ENV = Many("env", files.env_setting, "Set environment variables", short="e")
ENV_FILE = Many("env-file", values.text, "Read in a file of environment variables")
INTERACTIVE = Switch("interactive", "Keep STDIN open even if not attached", short="i")
PRIVILEGED = Switch("privileged", "Give extended privileges to the command")
TTY = Switch("tty", "Allocate a pseudo-TTY", short="t")
USER = Flag("user", values.text, "Username or UID (format: <name|uid>[:<group|gid>])", short="u")
WORKDIR = Flag("workdir", values.absolute, "Working directory inside the container", short="w")

FLAGS = (DETACH, DETACH_KEYS, ENV, ENV_FILE, INTERACTIVE, PRIVILEGED, TTY, USER, WORKDIR)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if len(arguments) < 2:
        raise UsageError("exec requires at least 2 arguments: ardock exec [OPTIONS] CONTAINER COMMAND [ARG...]")
    ref, *argv = arguments
    from ardock.cli import signals
    from ardock.cli.connection import connected
    from ardock.protocol.methods import EXEC_DETACHED, ExecCall

    spec = _spec(values, argv)
    if values.on(DETACH):
        with connected(settings) as engine:
            engine.call(EXEC_DETACHED, ExecCall(ref=ref, spec=spec))
        return 0
    from ardock.cli.joined import JoinedFront

    with signals.Caught() as caught, connected(settings) as engine:
        attached = Attached(spec.stdin_open, stdout=True, stderr=True)
        keys = detach.parse(values.one(DETACH_KEYS) or "")
        return JoinedFront(engine, caught, ref, spec, attached, detach_keys=keys).run()


def _spec(values: Values, argv: list[str]) -> ExecSpec:
    import msgspec

    from ardock.cli.terminal import our_size
    from ardock.model.spec import ExecSpec

    tty, interactive, detached = values.on(TTY), values.on(INTERACTIVE), values.on(DETACH)
    if tty and interactive and not detached and not os.isatty(0):
        raise UsageError("the input device is not a TTY: leave out -t, --tty, or run from a terminal")
    spec = ExecSpec(
        argv=tuple(argv),
        env=files.environment(values.many(ENV_FILE), values.many(ENV)),
        cwd=values.one(WORKDIR) or None,
        user=values.one(USER) or None,
        privileged=values.on(PRIVILEGED),
        tty=tty,
        stdin_open=interactive and not detached,
    )
    return msgspec.structs.replace(spec, tty_size=our_size()) if tty else spec


command = FlagCommand(
    "exec",
    run,
    FLAGS,
    usage="[OPTIONS] CONTAINER COMMAND [ARG...]",
    help_text="Execute a command in a running container",
    epilog=(
        "Options end at the container. The exit code is the command's, or 128 + n where signal n ended it, 127 where the "
        "command is not found, 126 where it cannot be run."
    ),
    failure=FAILED,
)

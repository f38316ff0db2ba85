"""The `ardock` command: global options, lazily imported commands, and how errors look.

A command's module is imported when that command is called: start-up time is part
of the interface. Every error ends here, as one sentence on stderr and an exit
code; a traceback is shown with --debug alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ardock.cli.command import FlagCommand, Settings
from ardock.cli.errors import ENGINE_FAILED, CliError, Interrupted, UsageError, engine_error, printable
from ardock.cli.flags import HelpRequested

ROOT = "/var/lib/ardock"
RUN_DIR = "/run/ardock"

# The global options that take a value: the variable that may give it, and its default.
_GLOBAL = {
    "--root": ("ARDOCK_ROOT", ROOT),
    "--run-dir": ("ARDOCK_RUN_DIR", RUN_DIR),
    "--host": ("ARDOCK_HOST", ""),
}

# Name: module, and the line that `ardock --help` shows without importing it. In the order of a container's life.
COMMANDS = {
    "run": ("ardock.cli.run", "Create and run a new container"),
    "create": ("ardock.cli.create", "Create a new container"),
    "start": ("ardock.cli.start", "Start one or more stopped containers"),
    "restart": ("ardock.cli.restart", "Restart one or more containers"),
    "ps": ("ardock.cli.ps", "List containers"),
    "logs": ("ardock.cli.logs", "Fetch the logs of a container"),
    "exec": ("ardock.cli.exec", "Execute a command in a running container"),
    "attach": ("ardock.cli.attach", "Attach standard input, output and error to a running container"),
    "stop": ("ardock.cli.stop", "Stop one or more running containers"),
    "kill": ("ardock.cli.kill", "Kill one or more running containers"),
    "wait": ("ardock.cli.wait", "Block until containers stop, then print their exit codes"),
    "rm": ("ardock.cli.rm", "Remove one or more containers"),
    "rename": ("ardock.cli.rename", "Rename a container"),
    "inspect": ("ardock.cli.inspect", "Return low-level information on containers, images and volumes"),
    "events": ("ardock.cli.events", "Follow what happens, from now or from any point in the past"),
    "diff": ("ardock.cli.diff", "Inspect changes to files or directories on a container's filesystem"),
    "export": ("ardock.cli.export", "Export a container's filesystem as a tar archive"),
    "commit": ("ardock.cli.commit", "Create a new image from a container's changes"),
    "pull": ("ardock.cli.image_pull", "Download an image from a registry"),
    "push": ("ardock.cli.image_push", "Upload an image to a registry"),
    "images": ("ardock.cli.image_ls", "List images"),
    "tag": ("ardock.cli.image_tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "rmi": ("ardock.cli.image_rm", "Remove one or more images"),
    "history": ("ardock.cli.image_history", "Show the history of an image"),
    "save": ("ardock.cli.image_save", "Save one or more images to a tar archive"),
    "load": ("ardock.cli.image_load", "Load an image from a tar archive or STDIN"),
    "import": ("ardock.cli.image_import", "Import the contents from a tarball to create a filesystem image"),
    "image": ("ardock.cli.image", "Manage images"),
    "volume": ("ardock.cli.volume", "Manage volumes"),
    "login": ("ardock.cli.login", "Log in to a registry"),
    "logout": ("ardock.cli.logout", "Log out from a registry"),
    "df": ("ardock.cli.system_df", "Show disk usage"),
    "system": ("ardock.cli.system", "Manage the engine"),
    "info": ("ardock.cli.info", "Show what this machine and this engine have"),
    "version": ("ardock.cli.version", "Show the version"),
    "daemon": ("ardock.cli.daemon", "Own the root folder and serve its socket"),
    "schema": ("ardock.cli.schema", "Print the machine-readable description of the API"),
    "doctor": ("ardock.cli.doctor", "Check whether this machine can run containers, and say how to mend it"),
}


def host_of(value: str | None) -> str | None:
    """A value of `--host`: `unix://` and an absolute path; what will be there later is refused by name."""
    if not value:
        return None
    scheme, separator, rest = value.partition("://")
    if separator and scheme in {"tcp", "ssh", "fd", "npipe", "http", "https"}:
        raise UsageError(f"-H, --host {value}: {scheme}:// is not supported yet: give unix:///PATH")
    if scheme != "unix" or not rest.startswith("/"):
        raise UsageError(f"-H, --host {value}: give unix:///PATH")
    return value


def settings_of(root: str, run_dir: str, host: str | None, *, debug: bool) -> Settings:
    """The settings that the global options make."""
    return Settings(os.path.abspath(root), os.path.abspath(run_dir), host_of(host), debug)  # noqa: PTH100 - pathlib costs more


def _plainly(words: Sequence[str]) -> int | None:
    """Run a command without click, which takes a fifth of a short command's time to import.

    None where the line is not plain: help is asked for, a global option is wrong, the command is unknown or click's. Then
    nothing was done, and click does all of it, in its own words.
    """
    given = {name: os.environ.get(variable) or default for name, (variable, default) in _GLOBAL.items()}
    debug = False
    rest = list(words)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        name = "--host" if name == "-H" and not equals else name
        if name in {"-D", "--debug"} and not equals:
            debug = True
        elif name in given and (equals or rest):
            given[name] = value if equals else rest.pop(0)
        else:
            return None
    module, _ = COMMANDS.get(rest[0], (None, "")) if rest else (None, "")
    command: object = getattr(importlib.import_module(module), "command", None) if module is not None else None
    if not isinstance(command, FlagCommand):
        return None
    settings = settings_of(given["--root"], given["--run-dir"], given["--host"], debug=debug)
    try:
        return command(settings, rest[1:])
    except HelpRequested:
        return None


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: run the command line and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_standard_streams()
    debug = "--debug" in words or "-D" in words
    try:
        code = _run(words)
    except Exception as error:
        if debug:
            raise
        code = report(error)
    except KeyboardInterrupt:
        code = 130
    except Interrupted as signalled:
        code = signalled.exit_code
    _flush()
    sys.exit(code)


def _run(words: list[str]) -> int:
    code = _plainly(words)
    if code is not None:
        return code
    from ardock.cli.group import app

    result: object = app.main(words, prog_name="ardock", standalone_mode=False)
    return result if isinstance(result, int) else 0


def report(error: Exception) -> int:
    """Say on stderr what went wrong; the exit code for it."""
    message, code = _sentence(error)
    # To the descriptor: sys.stderr is None where it was closed when Python started.
    with contextlib.suppress(OSError):
        os.write(2, f"ardock: {printable(message)}\n".encode("utf-8", "backslashreplace"))
    return code


def _sentence(error: Exception) -> tuple[str, int]:
    if isinstance(error, CliError):
        return error.message, error.exit_code
    if "click" in sys.modules:
        from ardock.cli.group import sentence

        found = sentence(error)
        if found is not None:
            return found
    known = engine_error(error)
    if known is not None:
        return known.message, known.exit_code
    if isinstance(error, ExceptionGroup):
        # Of tasks that fail together the first has the cause; --debug shows all.
        return _sentence(error.exceptions[0])
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or error}", ENGINE_FAILED
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {text} (--debug shows where; please report it)", ENGINE_FAILED


def _open_standard_streams() -> None:
    """Fill descriptors 0 to 2: where one is closed, the next file to be opened would take its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _flush() -> None:
    """Flush what was printed; a reader that has left is no error."""
    if sys.stdout is None:  # It was closed when Python started.
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # Python flushes it once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

"""The errors: stable codes, all of them raised somewhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ardock
from ardock.engine.keepers import mapping
from ardock.model import errors
from ardock.model.launch import LaunchError

PACKAGE = Path(errors.__file__).resolve().parents[1]
CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.ArdockError)
]
CONCRETE = [kind for kind in CLASSES if kind is not errors.ArdockError]


def test_codes_are_stable() -> None:
    """A code is an interface: whoever changes one changes it here on purpose."""
    assert {kind.__name__: (kind.code, kind.http_status, kind.exit_code) for kind in CONCRETE} == {
        "Conflict": ("conflict", 409, 125),
        "Ambiguous": ("ambiguous", 400, 125),
        "Cancelled": ("cancelled", 499, 125),
        "DeadlineExceeded": ("deadline_exceeded", 504, 125),
        "ConnectionLost": ("connection_lost", 503, 125),
        "DaemonUnavailable": ("daemon_unavailable", 503, 125),
        "MalformedRequest": ("malformed_request", 400, 125),
        "DiskFull": ("disk_full", 507, 125),
        "InvalidArgument": ("invalid_argument", 400, 125),
        "NotFound": ("not_found", 404, 125),
        "NotRunning": ("not_running", 409, 125),
        "Unsupported": ("unsupported", 501, 125),
        "NotPermitted": ("not_permitted", 403, 125),
        "RegistryUnavailable": ("registry_unavailable", 502, 125),
        "ContentDamaged": ("content_damaged", 502, 125),
        "EngineLocked": ("engine_locked", 409, 125),
        "EngineClosed": ("engine_closed", 503, 125),
        "FolderUnusable": ("folder_unusable", 500, 125),
        "CapacityExceeded": ("capacity_exceeded", 503, 125),
        "LaunchFailed": ("launch_failed", 500, 125),
        "CommandNotFound": ("command_not_found", 400, 127),
        "CommandNotExecutable": ("command_not_executable", 400, 126),
        "LaunchTimedOut": ("launch_timed_out", 504, 125),
        "KeeperUnavailable": ("keeper_unavailable", 500, 125),
        "KeeperLost": ("keeper_lost", 500, 255),
        "ProtocolViolation": ("protocol_violation", 500, 125),
    }


def made_in_the_package() -> set[str]:
    """Names of the classes that are called somewhere outside the file that defines them."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found.add(node.func.id)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                found.add(node.value.id)  # chosen first, called afterwards
    return found


@pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.code)
def test_every_code_is_raised_somewhere(kind: type[errors.ArdockError]) -> None:
    assert kind.__name__ in made_in_the_package()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.code)
def test_every_error_is_public_and_says_whose_fault_it_is(kind: type[errors.ArdockError]) -> None:
    assert getattr(ardock, kind.__name__) is kind
    assert kind.__name__ in ardock.__all__
    if kind is not errors.ArdockError:
        assert kind.__doc__
        assert any(word in kind.__doc__ for word in ("fault", "limit", "refused"))


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            LaunchError(step="exec", subject="nope", errno=2, hint="", exit_code=127),
            errors.CommandNotFound,
            "could not execute nope: No such file or directory",
        ),
        (
            LaunchError(step="exec", subject="/x", errno=13, hint="not a program", exit_code=126),
            errors.CommandNotExecutable,
            "could not execute /x: Permission denied: not a program",
        ),
        (
            LaunchError(step="deadline", subject="", errno=0, hint="during mount", exit_code=125),
            errors.LaunchTimedOut,
            "could not finish in time: during mount",
        ),
        (
            LaunchError(step="spec", subject="cwd", errno=0, hint="relative", exit_code=125),
            errors.InvalidArgument,
            "could not accept the specification cwd: relative",
        ),
        (
            LaunchError(step="mount", subject="/a", errno=5, hint="", exit_code=125),
            errors.LaunchFailed,
            "could not mount /a: Input/output error",
        ),
    ],
)
def test_a_launch_error_becomes_the_class_that_says_what_to_do(
    error: LaunchError, kind: type[errors.ArdockError], text: str
) -> None:
    made = mapping.launch_error(error)
    assert type(made) is kind
    assert made.message == text

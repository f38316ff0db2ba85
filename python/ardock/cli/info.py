"""`ardock info`: what this machine has, and what its engine holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag
from ardock.cli.listed import OBJECT_FORMAT, show_objects
from ardock.cli.several import check_count, write
from ardock.cli.tables import wrapped
from ardock.docker.times import human_size, rfc3339_nano

if TYPE_CHECKING:
    from collections.abc import Callable

    from ardock.cli.command import Settings
    from ardock.cli.flags import Values
    from ardock.engine.host import About
    from ardock.model.container import EngineInfo


def _format(text: str) -> tuple[bool, Callable[[object], str] | None]:
    """Whether it is JSON, which is indented here, and what renders it; ``table`` is the usual output."""
    if text == "json":
        return True, None
    return False, None if text in {"", "table"} else OBJECT_FORMAT.parse(text)


FORMAT = Flag("format", _format, "Format output: json, or a template; text without it", short="f")


def show(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Print what is known."""
    check_count("info", arguments, 0, 0)
    from ardock.cli.present import present
    from ardock.engine.host import Host, about
    from ardock.protocol.methods import INFO, NoParams

    server: EngineInfo | None = None
    with present(settings) as engine:
        if engine is not None:
            server = engine.call(INFO, NoParams())
    # The engine is on this machine, behind whichever socket.
    root, run_dir = (settings.root, settings.run_dir) if server is None else (server.root, settings.run_dir)
    found = about(Host(), Path(root), Path(run_dir))
    as_json, render = values.one(FORMAT) or (False, None)
    if as_json or render is not None:
        _structured(found, server, render)
    else:
        _text(_rows(found, server))
    return 0


def _structured(found: About, server: EngineInfo | None, render: Callable[[object], str] | None) -> None:
    import msgspec

    from ardock.docker.values import OpenMap

    shown: dict[str, object] = msgspec.to_builtins(found)
    about = None if server is None else {name: getattr(server, name) for name in server.__struct_fields__}
    if about is not None:
        about["containers"] = OpenMap(about["containers"])
        about["storage_status"] = OpenMap(about["storage_status"])
    shown["server"] = about
    if render is None:
        write([msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()])
        return
    show_objects(render, [shown])


def _text(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, value in rows:
        first, *more = wrapped(value, width + 2)
        lines.append(f"{name:<{width}}  {first}")
        lines += [f"{'':<{width}}  {line}" for line in more]
    write(lines)


def _rows(found: About, server: EngineInfo | None) -> list[tuple[str, str]]:
    # The engine's own where there is one: its environment may declare something absent.
    paths = found.kernel_paths if server is None else server.kernel_paths
    return [
        ("version", found.version),
        ("engine", f"ardock-{found.engine_id}" if found.engine_id else "none yet: the root folder is unused"),
        ("root folder", found.root),
        ("run folder", found.run_dir),
        ("owner", f"process {found.owner}" if found.owner else "none"),
        *([] if server is None else _engine_rows(server)),
        ("keepers", str(found.keepers)),
        ("kernel", f"{found.kernel} ({found.architecture})"),
        *((name.replace("_", " "), way) for name, way in paths.items()),
        ("CPUs", str(found.cpus)),
        ("memory", f"{found.memory / (1 << 30):.1f} GiB"),
        ("cgroups", f"version {found.cgroup_version} ({found.cgroup_layout})"),
        ("controllers", ", ".join(found.cgroup_controllers)),
        ("security", ", ".join(found.security)),
        ("default network", found.network),
        ("default scratch", found.scratch),
        ("default capabilities", ", ".join(found.capabilities)),
    ]


def _engine_rows(server: EngineInfo) -> list[tuple[str, str]]:
    """What the engine itself tells."""
    total = sum(server.containers.values())
    states = ", ".join(f"{number} {status}" for status, number in sorted(server.containers.items()) if number)
    return [
        ("owner's version", server.version),
        ("owner since", rfc3339_nano(server.started_at)),
        ("containers", f"{total} ({states})" if states else "0"),
        ("images", str(server.images)),
        ("storage driver", f"{server.storage_driver}: {server.storage_reason}"),
        *server.storage_status.items(),
        ("events", f"up to {server.epoch}:{server.seq}, {human_size(server.journal_bytes)} kept"),
    ]


command = FlagCommand(
    "info",
    show,
    (FORMAT,),
    usage="[OPTIONS]",
    help_text="Show what this machine and this engine have",
    failure=FAILED,
    interspersed=True,
)

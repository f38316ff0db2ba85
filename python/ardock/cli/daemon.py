"""`ardock daemon`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ardock.cli.command import FlagCommand
from ardock.cli.errors import UsageError
from ardock.cli.flags import Flag, Many

if TYPE_CHECKING:
    from collections.abc import Callable

    from ardock.cli.command import Settings
    from ardock.cli.flags import Values
    from ardock.daemon.logs import Format, Level
    from ardock.model.registry import RegistryOptions
    from ardock.model.spec import ScratchKind


def _socket(value: str) -> str:
    """The path of ``unix://PATH``."""
    scheme, separator, path = value.partition("://")
    if not separator:
        raise ValueError("give unix:///PATH")
    if scheme != "unix":
        raise ValueError(f"{scheme}:// is not supported yet: give unix:///PATH")
    if not path.startswith("/"):
        raise ValueError("give unix:///PATH")
    return path


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"give {', '.join(choices[:-1])} or {choices[-1]}")
        return value

    return parse


HOST = Many("host", _socket, "Listen there, too: unix:///PATH", short="H", metavar="list")
GROUP = Flag("group", str, "Group whose members may connect (default ardock)", short="G")
LOG_FORMAT = Flag("log-format", _one_of("text", "json"), "Log as text (key=value) or json")
LOG_LEVEL = Flag("log-level", _one_of("debug", "info", "warn", "error"), "Least level of what is logged", short="l")
SCRATCH = Flag("scratch", _one_of("disk", "memory", "none"), "Where containers' writes go by default (default disk)")


def _option(value: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``; which there are, the engine knows."""
    name, separator, text = value.partition("=")
    if not name or not separator:
        raise ValueError("give NAME=VALUE")
    return name.strip().lower(), text.strip()


STORAGE_DRIVER = Flag(
    "storage-driver",
    _one_of("overlay", "btrfs", "vfs", "devicemapper", "aufs"),
    "How layers of images are kept (default: what the root folder's file system can do)",
    short="s",
)
STORAGE_OPT = Many("storage-opt", _option, "Storage driver options (size=BYTES, dm.NAME=VALUE)")
INSECURE = Many(
    "insecure-registry", str, "Registry that may be spoken to without TLS: HOST[:PORT], or a block such as 10.0.0.0/8"
)
MIRROR = Many("registry-mirror", str, "Mirror of Docker Hub to read from first: HOST[:PORT] or URL")


def _registry(insecure: list[str], mirrors: list[str]) -> RegistryOptions | None:
    """The options of the machine's file, with what the flags add; None: there are none, and the engine reads the file."""
    if not insecure and not mirrors:
        return None
    from msgspec.structs import replace

    from ardock.engine.registry import configured

    options = configured()
    hub = (*mirrors, *options.mirrors.get("docker.io", ()))
    return replace(
        options,
        insecure=(*options.insecure, *insecure),
        mirrors={**options.mirrors, **({"docker.io": hub} if hub else {})},
    )


def serve(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Own the root folder and serve its socket until SIGTERM or SIGINT; the containers go on."""
    if arguments:
        raise UsageError(f"daemon accepts no arguments: {arguments[0]}")
    from ardock.daemon.logs import configure
    from ardock.daemon.service import Options, run

    configure(cast("Format", values.one(LOG_FORMAT) or "text"), cast("Level", values.one(LOG_LEVEL) or "info"))
    sockets = values.many(HOST)
    if settings.host is not None:
        sockets = [_socket(settings.host), *sockets]
    run(
        Options(
            root=settings.root,
            run_dir=settings.run_dir,
            sockets=tuple(dict.fromkeys(sockets)),
            group=values.one(GROUP) or "ardock",
            scratch=cast("ScratchKind", values.one(SCRATCH) or "disk"),
            storage_driver=values.one(STORAGE_DRIVER) or "",
            storage_options=dict(values.many(STORAGE_OPT)),
            registry=_registry(values.many(INSECURE), values.many(MIRROR)),
        )
    )
    return 0


command = FlagCommand(
    "daemon",
    serve,
    (HOST, GROUP, LOG_FORMAT, LOG_LEVEL, SCRATCH, STORAGE_DRIVER, STORAGE_OPT, INSECURE, MIRROR),
    usage="[OPTIONS]",
    help_text="Own the root folder and serve its socket",
)

"""What is mounted and what devices there are: `-v`, `--mount`, `--tmpfs`, `--device`.

The syntax and its rules are docker/cli's (opts/mount.go, cli/compose/loader/volume.go) and the daemon's
(volume/mounts/linux_parser.go).
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple, cast

from ardock.cli.flags import boolean
from ardock.cli.values import size

if TYPE_CHECKING:
    from ardock.model.spec import Propagation

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_CONSISTENCIES = frozenset({"consistent", "cached", "delegated", "default", ""})
_DEVICE_LETTERS = frozenset("rwm")


class Bind(NamedTuple):
    """A folder or file of the host's, to be had inside."""

    source: str
    target: str
    read_only: bool = False
    propagation: Propagation = "rprivate"
    recursive: bool = True
    create_source: bool = False
    read_only_recursive: bool | None = None


class VolumeMount(NamedTuple):
    """A volume; without a source an anonymous one."""

    source: str
    target: str
    read_only: bool = False
    no_copy: bool = False
    subpath: str = ""
    driver: str = ""
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    by_v: bool = False


class Tmpfs(NamedTuple):
    """A file system in memory."""

    target: str
    options: str = ""
    read_only: bool = False


class DeviceNode(NamedTuple):
    """A device of the host's, to be had inside."""

    source: str
    target: str
    permissions: str = "rwm"


def volume(value: str) -> Bind | VolumeMount:
    """`-v [SOURCE:]TARGET[:MODES]`: a source with a slash is a path of the host's, any other a volume's name."""
    parts = value.split(":")
    if len(parts) > 3:
        raise ValueError("give [SOURCE:]TARGET[:ro|rw,...]; a path with a colon needs --mount")
    if len(parts) == 1:
        return VolumeMount("", _target(value), by_v=True)
    source, target = parts[0], parts[1]
    if not source or not target:
        raise ValueError("the source and the target cannot be empty: give [SOURCE:]TARGET[:ro]")
    modes = parts[2].split(",") if len(parts) == 3 else []
    kinds = [_kind(mode) for mode in modes]
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"the mode {','.join(modes)} says the same thing twice")
    if _is_name(source):
        wrong = next((mode for mode in modes if mode in PROPAGATIONS), None)
        if wrong:
            raise ValueError(f"invalid mode {wrong} for the volume {source}: only a path of the host's is propagated")
        return VolumeMount(source, _target(target), read_only="ro" in modes, no_copy="nocopy" in modes, by_v=True)
    bind = Bind(_host_path(source), _target(target), read_only="ro" in modes, create_source=True)
    for mode in modes:
        if mode in PROPAGATIONS:
            bind = bind._replace(propagation=cast("Propagation", mode))
    return bind


def _kind(mode: str) -> str:
    if mode in {"ro", "rw"}:
        return "access"
    if mode in PROPAGATIONS:
        return "propagation"
    if mode in _CONSISTENCIES:
        return "consistency"
    if mode in {"z", "Z"}:
        return "label"  # SELinux relabelling: nothing to do where there is none, as in Docker
    if mode == "nocopy":
        return "copy"  # What Docker does for a bind in any case
    raise ValueError(f"invalid mode {mode}: give ro, rw, nocopy or one of {', '.join(PROPAGATIONS)}")


def _is_name(source: str) -> bool:
    """Docker's rule (docker/cli, cli/compose/loader/volume.go): what begins with none of these is a volume's name."""
    return not source.startswith(("/", ".", "~"))


def _host_path(source: str) -> str:
    if source.startswith("~"):
        raise ValueError("~ is the shell's to expand: write $HOME, or leave it outside of quotes")
    if source in {".", ".."} or source.startswith(("./", "../")):
        return os.path.abspath(source)  # noqa: PTH100 - by its words, as Docker does it: Path keeps `..`
    if not source.startswith("/"):
        raise ValueError(f"invalid mount path {source}: the source must be absolute, or begin with ./")
    return source


def _target(target: str) -> str:
    if not target.startswith("/"):
        raise ValueError(f"invalid mount path {target}: the target must be absolute")
    if posixpath.normpath("/" + target) in {"/", "//"}:
        raise ValueError("the target cannot be /")
    return target


def tmpfs(value: str) -> tuple[str, str]:
    """`--tmpfs PATH[:OPTIONS]`: the path and the options for mount(8)."""
    path, _, options = value.partition(":")
    return _target(path), options


def mount(value: str) -> Bind | VolumeMount | Tmpfs:
    """`--mount type=bind,source=...,target=...` and the like."""
    fields = _fields(value)
    kind = _one(fields, "type", "volume").lower()
    target = _one(fields, "target")
    read_only = _switch(fields, "readonly")
    if _one(fields, "consistency", "default").lower() not in _CONSISTENCIES:
        raise ValueError("invalid consistency: give consistent, cached or delegated")
    if kind not in {"bind", "tmpfs", "volume"}:
        raise ValueError(f"mounts of type {kind} are not supported: give type=volume, type=bind or type=tmpfs")
    if not target:
        raise ValueError("target is required")
    wrong = next((name for name in fields if "-" in name and not name.startswith(f"{kind}-")), None)
    if wrong:
        raise ValueError(f"cannot mix {wrong.partition('-')[0]}-* options with mount type {kind}")
    source = _one(fields, "source")
    if kind == "tmpfs":
        if source:
            raise ValueError("a tmpfs has no source")
        return Tmpfs(_target(target), _tmpfs_options(fields), read_only)
    if kind == "volume":
        if source and not _is_name(source):
            raise ValueError(f"{source} is no name of a volume: give one, or type=bind for a path of the host's")
        return VolumeMount(
            source,
            _target(target),
            read_only=read_only,
            no_copy=_switch(fields, "volume-nocopy"),
            subpath=_one(fields, "volume-subpath"),
            driver=_driver(_one(fields, "volume-driver")),
            options=_pairs(fields, "volume-opt"),
            labels=_pairs(fields, "volume-label"),
        )
    if not source:
        raise ValueError("source is required")
    propagation = _one(fields, "bind-propagation")
    if propagation and propagation not in PROPAGATIONS:
        raise ValueError(f"invalid bind-propagation {propagation}: give one of {', '.join(PROPAGATIONS)}")
    recursive, read_only_recursive = _recursive(fields)
    if read_only_recursive is not None and not read_only:
        mode = "readonly" if read_only_recursive else "writable"
        raise ValueError(f"bind-recursive={mode} requires readonly to be given, too")
    if read_only_recursive and propagation != "rprivate":
        raise ValueError("bind-recursive=readonly requires bind-propagation=rprivate to be given, too")
    return Bind(
        _host_path(source),
        _target(target),
        read_only=read_only,
        propagation=cast("Propagation", propagation or "rprivate"),
        recursive=recursive,
        create_source=_switch(fields, "bind-create-src"),
        read_only_recursive=read_only_recursive,
    )


def _driver(name: str) -> str:
    if name not in {"", "local"}:
        raise ValueError(f"there is no volume driver {name}: local is the only one")
    return name


def volume_driver(value: str) -> str:
    """`--volume-driver`: `local`, or nothing."""
    return _driver(value)


def volumes_from(value: str) -> str:
    """`--volumes-from CONTAINER[:ro|rw]`."""
    ref, colon, mode = value.partition(":")
    if not ref or (colon and mode not in {"ro", "rw", "z", "Z"}):
        raise ValueError("give CONTAINER[:ro|rw]")
    return value


_SYNONYMS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BARE = frozenset({"readonly", "bind-nonrecursive", "bind-create-src", "volume-nocopy"})
_KNOWN = frozenset({
    "type", "source", "target", "readonly", "consistency", "bind-propagation", "bind-nonrecursive", "bind-recursive",
    "bind-create-src", "tmpfs-size", "tmpfs-mode", "volume-nocopy", "volume-label", "volume-driver", "volume-opt",
    "volume-subpath", "image-subpath",
})  # fmt: skip


def _fields(value: str) -> dict[str, list[str]]:
    """What is given for each name, in order."""
    import csv  # A value with a comma is quoted as in CSV.

    rows = list(csv.reader([value], strict=True))
    fields: dict[str, list[str]] = {}
    for field in rows[0] if rows else []:
        name, equals, content = field.partition("=")
        name = _SYNONYMS.get(name, name)
        if not equals:
            if name not in _BARE:
                raise ValueError(f"invalid field {field}: it must be a key=value pair")
            content = "true"
        if name not in _KNOWN:
            raise ValueError(f"unexpected key {name}")
        fields.setdefault(name, []).append(content)
    return fields


def _one(fields: dict[str, list[str]], name: str, default: str = "") -> str:
    """The last value of a name, which is done with then."""
    return fields.pop(name, [default])[-1]


def _pairs(fields: dict[str, list[str]], name: str) -> tuple[tuple[str, str], ...]:
    """`key=value` each; of a key alone the value is empty."""
    pairs = [text.partition("=") for text in fields.pop(name, [])]
    if any(not key for key, _, _ in pairs):
        raise ValueError(f"invalid value for {name}: give key=value")
    return tuple((key, content) for key, _, content in pairs)


def _switch(fields: dict[str, list[str]], name: str) -> bool:
    text = _one(fields, name, "false")
    try:
        return boolean(text)
    except ValueError:
        raise ValueError(f"invalid value for {name}: {text}") from None


def _recursive(fields: dict[str, list[str]]) -> tuple[bool, bool | None]:
    """Whether what is mounted beneath comes along, and whether that is read-only where the mount is."""
    nonrecursive = _switch(fields, "bind-nonrecursive")
    mode = _one(fields, "bind-recursive", "enabled")
    match mode:
        case "enabled" | "true":
            return not nonrecursive, None
        case "disabled" | "false":
            return False, None
        case "writable":
            return not nonrecursive, False
        case "readonly":
            return not nonrecursive, True
        case _:
            raise ValueError(f"invalid value for bind-recursive: {mode}: give enabled, disabled, writable or readonly")


def _tmpfs_options(fields: dict[str, list[str]]) -> str:
    options = []
    if "tmpfs-size" in fields:
        options.append(f"size={size(_one(fields, 'tmpfs-size'))}")
    if "tmpfs-mode" in fields:
        text = _one(fields, "tmpfs-mode")
        if not text or any(digit not in "01234567" for digit in text):
            raise ValueError(f"invalid value for tmpfs-mode: {text}: give octal digits such as 1777")
        options.append(f"mode={text}")
    return ",".join(options)


def device(value: str) -> list[DeviceNode]:
    """`--device SOURCE[:TARGET][:rwm]`; a source that ends in `*` is a pattern."""
    parts = value.split(":")
    if len(parts) > 3 or not parts[0]:
        raise ValueError("give PATH[:PATH-IN-CONTAINER][:rwm]")
    source, target, permissions = parts[0], "", "rwm"
    if len(parts) == 3:
        target, permissions = parts[1], parts[2]
        if not _is_device_mode(permissions):
            raise ValueError(f"bad mode {permissions}: give letters of rwm")
    elif len(parts) == 2 and _is_device_mode(parts[1]):
        permissions = parts[1]
    elif len(parts) == 2:
        target = parts[1]
    for path in (source, target):
        if path and not path.startswith("/"):
            raise ValueError(f"{path} is not an absolute path")
    if not source.endswith("*"):
        return [DeviceNode(source, target or source, permissions)]
    if target:
        raise ValueError("a device pattern cannot have a path in the container")
    folder, _, pattern = source.rpartition("/")
    from pathlib import Path  # Rare, and dear to import.

    found = sorted(str(path) for path in Path(folder or "/").glob(pattern))
    return [DeviceNode(path, path, permissions) for path in found]


def _is_device_mode(mode: str) -> bool:
    return bool(mode) and set(mode) <= _DEVICE_LETTERS and len(set(mode)) == len(mode)

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


def volume(value: str) -> Bind:
    """`-v SOURCE:TARGET[:MODES]`."""
    parts = value.split(":")
    if len(parts) > 3:
        raise ValueError("give SOURCE:TARGET[:ro|rw,...]; a path with a colon needs --mount")
    if len(parts) == 1:
        raise ValueError("volumes without a source are not supported yet: give SOURCE:TARGET[:ro]")
    source, target = parts[0], parts[1]
    if not source or not target:
        raise ValueError("the source and the target cannot be empty: give SOURCE:TARGET[:ro]")
    bind = Bind(_host_path(source), _target(target), create_source=True)
    modes = parts[2].split(",") if len(parts) == 3 else []
    kinds = [_kind(mode) for mode in modes]
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"the mode {','.join(modes)} says the same thing twice")
    for mode in modes:
        if mode == "ro":
            bind = bind._replace(read_only=True)
        elif mode in PROPAGATIONS:
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
    raise ValueError(f"invalid mode {mode}: give ro, rw or one of {', '.join(PROPAGATIONS)}")


def _host_path(source: str) -> str:
    if source.startswith("~"):
        raise ValueError("~ is the shell's to expand: write $HOME, or leave it outside of quotes")
    # Docker takes a word without a slash as a volume's name; `.` and `..` are paths.
    if source in {".", ".."} or source.startswith(("./", "../")):
        return os.path.abspath(source)  # noqa: PTH100 - by its words, as Docker does it: Path keeps `..`
    if not source.startswith("/"):
        raise ValueError(f"named volumes are not supported yet: give {source} as a path (./{source})")
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


def mount(value: str) -> Bind | Tmpfs:
    """`--mount type=bind,source=...,target=...` and the like."""
    fields = _fields(value)
    kind = fields.pop("type", "volume").lower()
    target = fields.pop("target", "")
    read_only = _switch(fields, "readonly")
    if fields.pop("consistency", "default").lower() not in _CONSISTENCIES:
        raise ValueError("invalid consistency: give consistent, cached or delegated")
    if kind == "volume":
        raise ValueError("volumes are not supported yet: give type=bind or type=tmpfs")
    if kind not in {"bind", "tmpfs"}:
        raise ValueError(f"mounts of type {kind} are not supported: give type=bind or type=tmpfs")
    if not target:
        raise ValueError("target is required")
    wrong = next((name for name in fields if "-" in name and not name.startswith(f"{kind}-")), None)
    if wrong:
        raise ValueError(f"cannot mix {wrong.partition('-')[0]}-* options with mount type {kind}")
    if kind == "tmpfs":
        if fields.pop("source", ""):
            raise ValueError("a tmpfs has no source")
        return Tmpfs(_target(target), _tmpfs_options(fields), read_only)
    source = fields.pop("source", "")
    if not source:
        raise ValueError("source is required")
    propagation = fields.pop("bind-propagation", "") or "rprivate"
    if propagation not in PROPAGATIONS:
        raise ValueError(f"invalid bind-propagation {propagation}: give one of {', '.join(PROPAGATIONS)}")
    return Bind(
        _host_path(source),
        _target(target),
        read_only=read_only,
        propagation=cast("Propagation", propagation),
        recursive=_recursive(fields),
        create_source=_switch(fields, "bind-create-src"),
    )


_SYNONYMS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BARE = frozenset({"readonly", "bind-nonrecursive", "bind-create-src", "volume-nocopy"})
_KNOWN = frozenset({
    "type", "source", "target", "readonly", "consistency", "bind-propagation", "bind-nonrecursive", "bind-recursive",
    "bind-create-src", "tmpfs-size", "tmpfs-mode", "volume-nocopy", "volume-label", "volume-driver", "volume-opt",
    "volume-subpath", "image-subpath",
})  # fmt: skip


def _fields(value: str) -> dict[str, str]:
    import csv  # A value with a comma is quoted as in CSV.

    rows = list(csv.reader([value], strict=True))
    fields: dict[str, str] = {}
    for field in rows[0] if rows else []:
        name, equals, content = field.partition("=")
        name = _SYNONYMS.get(name, name)
        if not equals:
            if name not in _BARE:
                raise ValueError(f"invalid field {field}: it must be a key=value pair")
            content = "true"
        if name not in _KNOWN:
            raise ValueError(f"unexpected key {name}")
        fields[name] = content
    return fields


def _switch(fields: dict[str, str], name: str) -> bool:
    text = fields.pop(name, "false")
    try:
        return boolean(text)
    except ValueError:
        raise ValueError(f"invalid value for {name}: {text}") from None


def _recursive(fields: dict[str, str]) -> bool:
    nonrecursive = _switch(fields, "bind-nonrecursive")
    mode = fields.pop("bind-recursive", "enabled")
    if mode in {"disabled", "false"}:
        return False
    if mode in {"writable", "readonly"}:
        raise ValueError(f"bind-recursive={mode} is not supported yet")
    if mode not in {"enabled", "true"}:
        raise ValueError(f"invalid value for bind-recursive: {mode}: give enabled or disabled")
    return not nonrecursive


def _tmpfs_options(fields: dict[str, str]) -> str:
    options = []
    if "tmpfs-size" in fields:
        options.append(f"size={size(fields['tmpfs-size'])}")
    if "tmpfs-mode" in fields:
        text = fields["tmpfs-mode"]
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

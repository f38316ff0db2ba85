"""Which way is taken for each thing that newer kernels have and older ones do without.

What the kernel has is found by trying (`rust/launch/src/kernel.rs`); what is done with it and without it is told here, in
the same words by `doctor`, `info` and the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ardock import _core
from ardock.model.errors import InvalidArgument


class KernelPath(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that newer kernels have.

    Attributes:
        key: What it is for, such as ``"overlay_layers"``.
        feature: Its name, as ``ARDOCK_KERNEL_WITHOUT`` takes it.
        since: The first kernel that has it.
        there: This one has it, and it was not declared absent.
        way: What is done here, in a few words.
        loss: What containers cannot have without it; empty where nothing.
    """

    key: str
    feature: str
    since: str
    there: bool
    way: str
    loss: str = ""


class _Ways(msgspec.Struct, frozen=True):
    key: str
    feature: str
    since: str
    with_it: str
    without: str
    loss: str = ""


# "lowerdir+fd" and "idmap" change nothing yet; they are told since the kernel's users ask for them.
_WAYS: Final = (
    _Ways(
        "overlay_layers", "lowerdir+", "6.8", "one by one where a page does not hold them", "by links with short names"
    ),
    _Ways("overlay_descriptors", "lowerdir+fd", "6.13", "attached to a path first", "attached to a path first"),
    _Ways("mount_attributes", "open_tree_attr", "6.15", "with the copy", "by a second call"),
    _Ways("keeper_memfd", "mfd_exec", "6.3", "marked as executable", "unmarked"),
    _Ways("keeper_binary", "memfd", "", "sealed memfd", "read-only mount of its file"),
    _Ways("idmapped_mounts", "idmap", "5.12", "not used: no user namespaces yet", "not used: no user namespaces yet"),
    _Ways(
        "joined_proc",
        "proc_pidns",
        "6.17",
        "mounted",
        "refused",
        "a container in another's pid namespace gets no /proc",
    ),
)


def kernel_paths(features: Mapping[str, bool]) -> tuple[KernelPath, ...]:
    """What is done on a kernel with these `features` (as `_core.kernel_features`)."""
    paths = []
    for ways in _WAYS:
        there = features.get(ways.feature, False)
        paths.append(
            KernelPath(
                key=ways.key,
                feature=ways.feature,
                since=ways.since,
                there=there,
                way=ways.with_it if there else ways.without,
                loss="" if there else ways.loss,
            )
        )
    return tuple(paths)


def told(paths: tuple[KernelPath, ...]) -> dict[str, str]:
    """The ways by their keys, such as ``{"keeper_binary": "sealed memfd"}``."""
    return {path.key: path.way for path in paths}


def kernel_features() -> dict[str, bool]:
    """What the running kernel has, without what ``ARDOCK_KERNEL_WITHOUT`` declares absent.

    Raises:
        InvalidArgument: It declares what is not known.
    """
    try:
        return _core.kernel_features()
    except ValueError as error:
        raise InvalidArgument(str(error)) from None

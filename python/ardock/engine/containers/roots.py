"""Root file systems that are open: one detached mount for each directory that containers run on.

Opening one costs a clone in the kernel and a message to the keeper, so they are kept, the least recently used ones being let
go of. A directory is known by device, inode and mount, looked up for each container (2 µs): another directory put in its
place under the same path is another root.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ardock import _core
from ardock.engine.containers.resolved import User
from ardock.engine.facts import in_user_namespace
from ardock.engine.keepers import mapping
from ardock.model.errors import InvalidArgument, NotFound, NotPermitted

_MOST_ROOTS: Final = 128
_MOST_USERS: Final = 1024
_PASSWD_FILES: Final = ("etc/passwd", "etc/group")

Identity = tuple[int, int, int]
Stamp = tuple[int, int, int]


class Root:
    """A directory that is kept as a detached mount.

    Attributes:
        key: Its name in the keepers' namespaces, ``/roots/<key>``.
        fd: The mount; owned.
        identity: Device, inode, mount id.
        masks: Where the engine's own folders would show in a container on it.
        in_use: Launches under way on it; not let go of while there are any.
        path: Where it was found.
    """

    __slots__ = ("_given", "fd", "identity", "in_use", "key", "masks", "path")

    def __init__(self, key: int, fd: int, identity: Identity, path: str, masks: tuple[str, ...]) -> None:
        """Own `fd`."""
        self._given = False
        self.key = key
        self.fd = fd
        self.path = path
        self.identity = identity
        self.masks = masks
        self.in_use = 0

    def mount(self) -> int:
        """The mount for one more keeper; a descriptor, owned by the caller.

        Once a keeper has attached it, a mount is no longer detached and of no use to another: each gets a clone of its
        own, and a clone can be made of what is attached in our own namespace alone, so by the path again.

        Raises:
            NotFound: Another directory is at the path by now.
        """
        if not self._given:
            self._given = True
            return os.dup(self.fd)
        fd = open_root(self.path, "rootfs")
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != self.identity[:2]:
            os.close(fd)
            raise NotFound(f"rootfs: {self.path}: another directory is there by now", field="rootfs")
        return fd

    def stamp(self) -> tuple[Stamp, ...]:
        """What changes when its passwd or group file does."""
        stamps: list[Stamp] = []
        for path in _PASSWD_FILES:
            try:
                status = os.stat(path, dir_fd=self.fd, follow_symlinks=False)
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(stamps)


class Roots:
    """The open roots of one engine."""

    def __init__(self, hidden: tuple[str, ...], forget: Callable[[int], None]) -> None:
        """Start with none.

        Args:
            hidden: The engine's own folders, resolved: masked in every root that shows them.
            forget: Called with the key of a root that is let go of.
        """
        self._hidden = hidden
        self._forget = forget
        self._next_key = 1
        self._by_identity: OrderedDict[Identity, Root] = OrderedDict()
        self._dropped: list[Root] = []
        self._users: dict[
            tuple[tuple[Identity, ...], str, tuple[str, ...]], tuple[tuple[tuple[Stamp, ...], ...], User]
        ] = {}

    def keys_from(self, key: int) -> None:
        """Give no key below this one from now on: keepers that were adopted may still hold them."""
        self._next_key = max(self._next_key, key)

    def get(self, path: str, field: str = "rootfs") -> Root:
        """The root at `path`.

        Raises:
            InvalidArgument: The path is relative.
            NotFound: It is not there, or no directory.
        """
        root = self._find(path, field)
        self._shrink(1)
        return root

    def get_all(self, paths: Sequence[str], field: str) -> tuple[Root, ...]:
        """The roots at `paths`, all of them open at once, however many they are.

        Raises:
            InvalidArgument: A path is relative.
            NotFound: One is not there, or no directory.
        """
        try:
            return tuple([self._find(path, field) for path in paths])
        finally:
            # The last ones used are these: none of them goes, or one that is opened later would have its descriptor's number.
            self._shrink(len(paths))

    def _find(self, path: str, field: str) -> Root:
        """The root at `path`; nothing is let go of.

        Raises:
            InvalidArgument: The path is relative.
            NotFound: It is not there, or no directory.
        """
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"{field}: {path!r} is not an absolute path", field=field)
        try:
            identity = _core.root_identity(path)
        except OSError as error:
            raise NotFound(f"{field}: {path}: {error.strerror}", field=field) from None
        root = self._by_identity.get(identity)
        if root is None:
            return self._open(path, identity, field)
        self._by_identity.move_to_end(identity)
        return root

    def _open(self, path: str, identity: Identity, field: str) -> Root:
        if not Path(path).is_dir():
            raise NotFound(f"{field}: {path}: Not a directory", field=field)
        root = Root(self._next_key, open_root(path, field), identity, path, self._masks(path))
        self._next_key += 1
        self._by_identity[identity] = root
        return root

    def _masks(self, path: str) -> tuple[str, ...]:
        real = os.path.realpath(path).rstrip("/")
        return tuple(folder[len(real) :] for folder in self._hidden if folder.startswith(f"{real}/"))

    def _shrink(self, keep: int) -> None:
        """Let go of what is too many, but of none of the last `keep` used."""
        excess = len(self._by_identity) - max(_MOST_ROOTS, keep)
        if excess <= 0:
            return
        unused = [item for item in list(self._by_identity.items())[:-keep] if not item[1].in_use]
        for identity, root in unused[:excess]:
            del self._by_identity[identity]
            self._forget(root.key)
            os.close(root.fd)

    def drop(self, path: str) -> None:
        """Let go of the root at `path`, where it is open: what is there is about to be removed.

        Else whatever comes next may be taken for it: btrfs gives the device number of a subvolume that is gone to the next one
        at once, and all of their roots have one inode number.
        """
        for identity, root in self._by_identity.items():
            if root.path == path:
                del self._by_identity[identity]
                self._forget(root.key)
                # A launch that is under way fails, as what it stands on is removed; its descriptor must still be there.
                (self._dropped.append if root.in_use else _close)(root)
                return

    def user(self, roots: tuple[Root, ...], name: str, groups: tuple[str, ...]) -> User:
        """Resolve a user by the roots' own passwd and group files; looked up again when one of them changes.

        Raises:
            NotFound: No such user or group.
            InvalidArgument: A malformed one.
        """
        key = (tuple([root.identity for root in roots]), name, groups)
        stamp = tuple([root.stamp() for root in roots])
        cached = self._users.get(key)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        try:
            uid, gid, more, home = _core.resolve_user([root.fd for root in roots], name, list(groups))
        except _core.HostError as error:
            step, subject, number, hint, _ = error.args
            found = mapping.from_host(step, subject, number, hint, "user")
            raise (found if number else NotFound(found.message, field="user")) from None
        # The primary group is a supplementary one, too (CVE-2022-36109): a group that a file shuts out cannot be dropped.
        user = User(uid, gid, tuple(dict.fromkeys((gid, *more))), home or "/")
        if len(self._users) >= _MOST_USERS:
            self._users.clear()
        self._users[key] = (stamp, user)
        return user

    def close(self) -> None:
        """Let go of all."""
        for root in (*self._by_identity.values(), *self._dropped):
            os.close(root.fd)
        self._by_identity.clear()
        self._dropped.clear()


def _close(root: Root) -> None:
    os.close(root.fd)


def open_root(path: str, field: str) -> int:
    """A directory as a detached mount; a descriptor, owned by the caller.

    Raises:
        NotFound: It is not there.
        LaunchFailed: The kernel refuses.
    """
    try:
        return _core.open_root(path)
    except _core.HostError as error:
        step, subject, number, hint, _ = error.args
        raise mapping.from_host(step, subject or path, number, hint, field) from None


def check_root_privilege() -> None:
    """Containers need root.

    Raises:
        NotPermitted: This process is not root, or is so in a user namespace alone.
    """
    if os.geteuid() != 0:
        raise NotPermitted("ardock needs root to run containers: run it as root, for example with sudo")
    if in_user_namespace():
        raise NotPermitted(
            "ardock needs the machine's root to run containers, and this one is of a user namespace (a rootless container, or "
            "unshare -Ur): run it outside of that"
        )

"""Reading the host: files of /proc and /sys, file systems, and which system calls the kernel knows.

Everything goes through one `Host`, whose root folder and calls can be others, so that each check is tested against
machines that are not at hand.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from ardock import _core
from ardock.engine.facts import in_user_namespace
from ardock.engine.kernel_paths import KernelPath, kernel_features, kernel_paths

MFD_EXEC = 0x10
"""linux/memfd.h, since Linux 6.3; Python's `os` has no name for it yet."""

_CAP_SYS_ADMIN = 21
_FSOPEN = 430
_FSOPEN_CLOEXEC = 1


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A line of /proc/self/mountinfo, as far as it matters here.

    Attributes:
        target: Where it is mounted.
        device: ``major:minor``.
        root: The folder of the file system that is mounted there; a control group's may begin with ``/..`` where it lies
            outside of the cgroup namespace.
        kind: The file system's type.
        source: What is mounted, such as ``/dev/vda1``.
        readonly: The mount or its file system is read-only.
        options: The file system's own options.
    """

    target: str
    device: str
    root: str
    kind: str
    source: str
    readonly: bool
    options: frozenset[str]


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Room on a file system.

    Attributes:
        free_bytes: For root.
        free_inodes: None where the file system makes them as needed (btrfs).
    """

    free_bytes: int
    free_inodes: int | None


def call_errno(number: int) -> int:
    """The errno of a system call made with nothing but invalid arguments (-1 for each), 0 if it succeeded.

    All calls asked about refuse such flags, sizes and descriptors before they do anything, so what tells is whether
    the answer is ENOSYS.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    invalid = [ctypes.c_long(-1)] * 6
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *invalid) == -1 else 0


def memfd_errno(flags: int) -> int:
    """The errno of making a memfd with `flags`, 0 if it can be made."""
    try:
        os.close(os.memfd_create("ardock-doctor", flags))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def filesystem_errno(name: str) -> int:
    """The errno of asking the kernel for a file system by its name, 0 if it has it.

    Nothing is mounted. A file system that is a module not loaded yet is loaded by that, as it would be by the first mount.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    fd = libc.syscall(ctypes.c_long(_FSOPEN), name.encode(), ctypes.c_uint(_FSOPEN_CLOEXEC))
    if fd == -1:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def space_of(path: Path) -> Space:
    """Room on the file system of an existing path."""
    found = os.statvfs(path)
    inodes = found.f_favail if found.f_files else None
    return Space(free_bytes=found.f_bavail * found.f_frsize, free_inodes=inodes)


class Host:
    """A machine, read through its file system.

    Args:
        prefix: The folder that stands for ``/``.
        call: As `call_errno`.
        memfd: As `memfd_errno`.
        filesystem: As `filesystem_errno`.
        space: As `space_of`; given paths beneath `prefix`.
        features: As `kernel_features`.
        device_programs: As `_core.device_programs`.
    """

    def __init__(
        self,
        prefix: Path = Path("/"),
        *,
        call: Callable[[int], int] = call_errno,
        memfd: Callable[[int], int] = memfd_errno,
        filesystem: Callable[[str], int] = filesystem_errno,
        space: Callable[[Path], Space] = space_of,
        features: Callable[[], dict[str, bool]] = kernel_features,
        device_programs: Callable[[], str] = _core.device_programs,
    ) -> None:
        self._prefix = prefix
        self._call = call
        self._memfd = memfd
        self._filesystem = filesystem
        self._space = space
        self._features = features
        self._device_programs = device_programs

    def __repr__(self) -> str:
        return f"<Host at {self._prefix}>"

    def path(self, path: str | Path) -> Path:
        """Where an absolute path of that machine lies."""
        return self._prefix / str(path).lstrip("/")

    def exists(self, path: str | Path) -> bool:
        """Whether there is such a path; what a link leads to does not matter."""
        return os.path.lexists(self.path(path))

    def text(self, path: str | Path) -> str | None:
        """A file's text without the white space at its ends; None where it is not there or cannot be read."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def lines(self, path: str | Path) -> list[str]:
        """A file's lines; none where it is not there."""
        return (self.text(path) or "").splitlines()

    def number(self, path: str | Path) -> int | None:
        """The first number of a file; None where there is none."""
        words = (self.text(path) or "").split()
        try:
            return int(words[0]) if words else None
        except ValueError:
            return None

    def status(self, field: str) -> str:
        """A field of /proc/self/status; empty where the kernel has none of that name."""
        for line in self.lines("/proc/self/status"):
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        return ""

    def hard_limit(self, name: str) -> int | None:
        """A hard limit of this process by its name in /proc/self/limits; None where it is unlimited or not there."""
        for line in self.lines("/proc/self/limits"):
            if line.startswith(name):
                value = line[len(name) :].split()[1]
                return int(value) if value != "unlimited" else None
        return None

    def meminfo(self, field: str) -> int | None:
        """Bytes of a field of /proc/meminfo."""
        for line in self.lines("/proc/meminfo"):
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
        return None

    def has_call(self, number: int) -> bool:
        """Whether the kernel has a system call and lets this process make it.

        A seccomp filter around us (we may be in a container ourselves) says EPERM where the kernel would find fault
        with the arguments. So does the kernel where privileges are missing, which is not to be told twice: checks of their
        own tell of that.
        """
        found = self._call(number)
        return found != errno.ENOSYS and (found != errno.EPERM or not self._may_mount())

    def _may_mount(self) -> bool:
        return self.has_capability(_CAP_SYS_ADMIN) and not self.in_user_namespace()

    def has_capability(self, number: int) -> bool:
        """Whether this process's effective set has a capability, by its number in linux/capability.h."""
        return bool(int(self.status("CapEff") or "0", 16) >> number & 1)

    def kernel_paths(self) -> tuple[KernelPath, ...]:
        """Which ways are taken on this kernel. Only root can find out."""
        return kernel_paths(self._features())

    def device_rules_refused(self) -> str:
        """Why the kernel takes no device rules on control groups of version 2; empty where it does or only root can tell."""
        return self._device_programs() if self._may_mount() else ""

    def executable_memfd(self) -> bool:
        """Whether a program may be run from a memfd (``vm.memfd_noexec`` below 2)."""
        # EINVAL: a kernel before 6.3, where every memfd may be executed and the flag is not known.
        return self._memfd(MFD_EXEC) in {0, errno.EINVAL}

    def has_filesystem(self, name: str) -> bool:
        """Whether the kernel has a file system, or has a module of it at hand.

        /proc/filesystems names only those that are loaded, and a mount loads what is missing.
        """
        if name == "overlay" and self._may_mount() and not self._features()["overlay"]:
            return False  # not there, or declared absent (ARDOCK_KERNEL_WITHOUT)
        if any(line.split()[-1:] == [name] for line in self.lines("/proc/filesystems")):
            return True
        found = self._filesystem(name)
        if found not in {errno.EPERM, errno.ENOSYS}:
            return found == 0
        # Not allowed to ask: is there a module to be loaded?
        release = self.text("/proc/sys/kernel/osrelease") or ""
        names = (line.partition(":")[0] for line in self.lines(f"/lib/modules/{release}/modules.dep"))
        return any(Path(path).name.partition(".")[0] == name for path in names)

    def in_user_namespace(self) -> bool:
        """Whether this process's root is not the machine's: as in a rootless container, or after ``unshare -Ur``."""
        return in_user_namespace(self.path("/proc/self/ns/user"))

    def mounts(self) -> list[Mount]:
        """The mount table, in the order of mounting."""
        return [_parse_mount(line) for line in self.lines("/proc/self/mountinfo")]

    def mount_of(self, path: Path) -> Mount | None:
        """The mount that a path lies on, or would lie on once made."""
        existing = self.nearest(path)
        best: Mount | None = None
        for mount in self.mounts():
            inside = existing == Path(mount.target) or Path(mount.target) in existing.parents
            # Of several on the same place the last one mounted is seen.
            if inside and (best is None or len(mount.target) >= len(best.target)):
                best = mount
        return best

    def nearest(self, path: Path) -> Path:
        """The path itself, or its nearest ancestor that is there, links resolved; as that machine names it."""
        absolute = Path("/") / path
        while not self.path(absolute).exists() and absolute != absolute.parent:
            absolute = absolute.parent
        resolved = self.path(absolute).resolve()
        return Path("/") / resolved.relative_to(self._prefix.resolve())

    def space(self, path: Path) -> Space:
        """Room where a path is, or would be made."""
        return self._space(self.path(self.nearest(path)))


def _parse_mount(line: str) -> Mount:
    """Read a line of mountinfo: proc_pid_mountinfo(5)."""
    words = line.split(" ")
    rest = words[words.index("-", 6) + 1 :]
    options = frozenset(rest[2].split(","))
    return Mount(
        target=_unescape(words[4]),
        device=words[2],
        root=_unescape(words[3]),
        kind=rest[0],
        source=_unescape(rest[1]),
        readonly="ro" in words[5].split(",") or "ro" in options,
        options=options,
    )


def _unescape(word: str) -> str:
    """Space, tab, newline and backslash stand in octal there."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word

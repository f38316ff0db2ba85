"""The Rust side: system calls and wire; it decides nothing.

Descriptors cross as ints. "Owned" means that the receiver of the int closes it.
"""

from collections.abc import Sequence
from typing import Protocol, Self, final, type_check_only

__all__ = [
    "CancelFlag",
    "FrameReader",
    "HostError",
    "KeeperClient",
    "Launched",
    "Launcher",
    "LayerError",
    "LayerIngest",
    "LayerSummary",
    "LogWatch",
    "Shelf",
    "changes",
    "copy_tree",
    "decompress_file",
    "device_programs",
    "import_directory",
    "keeper_is_alive",
    "kernel_features",
    "launch",
    "mount_filesystem",
    "open_bind",
    "open_root",
    "pack",
    "read_journal",
    "reencode",
    "remove_tree",
    "resolve_user",
    "root_identity",
    "seccomp_compile",
    "spawn_keeper",
    "step_phrases",
    "versions",
]

class HostError(Exception):
    """A look-up or launch failed. ``args`` is (step, subject, errno, hint, exit_code), as in ``LaunchError`` in Rust."""

    args: tuple[str, str, int, str, int]

@final
class FrameReader:
    """Splits a byte stream into MessagePack-RPC messages, which have no length before them.

    Checks the shape only: each message is an array of 3 or 4 values within the bounds.

    Args:
        max_frame: Most bytes of a message. One whose own lengths say that it will be longer is refused there and then.
        max_depth: Most arrays and maps within one another, the message's own array counted.
    """

    def __new__(cls, max_frame: int, max_depth: int = 64) -> Self: ...
    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece of the stream; the messages that are whole with it, in order.

        Raises:
            ValueError: The stream is no stream of messages, in one sentence. Messages of the same piece before it are
                dropped, and every later call raises the same: the connection is to be closed.
        """
    @property
    def pending(self) -> int:
        """Bytes kept of a message that is begun and not whole; 0 between messages."""

@final
class KeeperClient:
    """One connection to a keeper's socket; non-blocking, for one event loop."""

    @staticmethod
    def connect(folder: str) -> KeeperClient:
        """Connect to ``<folder>/sock``, of any length.

        Raises:
            OSError: ENOENT or ECONNREFUSED where no keeper listens, EACCES where it is not ours.
        """
    def fileno(self) -> int:
        """The socket, to be waited for; stays owned by this object. -1 when closed."""
    def send(self, array: bytes, fds: Sequence[int]) -> bool:
        """Send one array of messages with its descriptors (which stay the caller's); False where the socket is full.

        One of more than 64 KiB travels in a sealed memfd.

        Raises:
            OSError: The connection is gone.
        """
    def receive(self, limit: int) -> tuple[list[tuple[bytes, list[int]]], bool]:
        """All packets that are there, `limit` at most, with their descriptors (owned), and whether the other end closed.

        Raises:
            OSError: The connection is gone, or a packet was longer than is allowed.
        """
    def close(self) -> None:
        """Close the socket. Safe to call again."""

@final
class Launched:
    """What `launch` gives.

    Attributes:
        pid: Process id.
        pidfd: Its pidfd, owned.
        stdin: The pipe's end, owned; None where it is no pipe.
        stdout: Idem.
        stderr: Idem.
        terminal: The terminal's outer side, owned, where the spec asks for one.
        timings: MessagePack of a ``Timings``.
    """

    @property
    def pid(self) -> int: ...
    @property
    def pidfd(self) -> int: ...
    @property
    def stdin(self) -> int | None: ...
    @property
    def stdout(self) -> int | None: ...
    @property
    def stderr(self) -> int | None: ...
    @property
    def terminal(self) -> int | None: ...
    @property
    def timings(self) -> bytes: ...
    def wait(self) -> int:
        """Wait for its end and collect it; the exit code, or 128 + signal. Once; releases the GIL."""

@final
class Launcher:
    """A thread of this process with a private mount namespace, that launches without a keeper.

    For trusted tools, tests and benches only: a program in a container can make the kernel run whatever binary launched it
    (``#!/proc/self/exe``), which here is Python's.
    """

    def __new__(cls, store: str | None = None) -> Self:
        """Start the thread; `store` is seen as ``/store`` in specs.

        Raises:
            HostError: No privilege, or the mount namespace could not be made.
        """
    def add_root(self, key: int, fd: int) -> None:
        """Keep the detached mount `fd` (which stays the caller's) at ``/roots/<key>``."""
    def add_seccomp(self, digest: str, code: bytes) -> None:
        """Keep a seccomp program under its hash."""
    def make_cgroup_parent(self, parent: str) -> None:
        """Make the folder ``<parent>`` in all hierarchies."""
    def remove_cgroup_parent(self, parent: str) -> None:
        """Remove it."""
    def remove_cgroup(self, parent: str, name: str, *, patience: float = 0.0) -> None:
        """Remove one container's control groups, once it has ended.

        Tried again for `patience` seconds while one is busy: a process that is dead holds its group until its parent has
        collected it. Releases the GIL.

        Raises:
            HostError: Errno EBUSY where one still holds a process.
        """
    def kill_cgroup(self, parent: str, name: str) -> int:
        """Kill every process in one container's control groups; how many were seen. Waits for their end, 1 s at most."""
    def cgroup_children(self, parent: str) -> list[str]:
        """Names of the groups beneath `parent`, in any hierarchy."""
    def launch(self, spec: bytes, fds: Sequence[int]) -> Launched:
        """Launch MessagePack of a ``LaunchSpec``; `fds` stay the caller's. This process becomes the parent.

        Raises:
            HostError: A step failed; nothing is left of it.
        """
    def close(self) -> None:
        """End the thread. Safe to call again."""

@final
class LogWatch:
    """Tells which folders (or files) have changed: one inotify instance for all of them.

    A folder is told of when a file in it is made, written to, renamed or removed; a file when it is itself. Non-blocking,
    for one event loop.
    """

    def __new__(cls) -> Self:
        """Make one.

        Raises:
            OSError: EMFILE where the user's instances or the process's descriptors are used up.
        """
    def add(self, path: str) -> int:
        """Watch a folder or file from now on; the watch's number. The same path again is the same watch.

        Raises:
            OSError: ENOSPC where the user's watches are used up, ENOENT where nothing is there.
        """
    def remove(self, wd: int) -> None:
        """End a watch. One that has ended by itself, because what it watched is gone, is no error."""
    def read(self) -> list[int]:
        """The watches with changes since the last call, each once; empty where there are none.

        -1 among them says that the kernel has dropped some: anything may have changed.
        """
    def fileno(self) -> int:
        """To be waited for; stays owned by this object. -1 when closed."""
    def close(self) -> None:
        """End all watches. Safe to call again; everything but this and `fileno` is then an OSError (EBADF)."""

def launch(spec: bytes, fds: Sequence[int]) -> Launched:
    """Launch MessagePack of a ``LaunchSpec`` on a launcher that this process keeps for it; else as `Launcher.launch`."""

class LayerError(Exception):
    """A tree of files could not be made. ``args`` is (kind, message, errno).

    The kind is ``"source"`` (the archive is none, damaged, cut off, or leads out of its root), ``"unsupported"`` (an entry of a
    kind that is not taken, a compression that is not), ``"refused"`` (a bomb, or a device node where they are forbidden),
    ``"digest"`` (what came is not what was to come), ``"system"`` (a system call failed, with its errno) or ``"cancelled"``.
    """

    args: tuple[str, str, int]

@final
class CancelFlag:
    """Ends a call that runs in another thread."""

    def __new__(cls) -> Self: ...
    def set(self) -> None:
        """The calls that were given this end soon, with a ``"cancelled"`` `LayerError`."""
    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""

@final
class LayerSummary:
    """What is known of a layer.

    Attributes:
        digest: Of the bytes as they came, ``"sha256:<hex>"`` or ``"sha512:<hex>"``.
        size: Bytes as they came.
        diff_id: SHA-256 of the uncompressed archive to the end of its stream, ``"sha256:<hex>"``; ``""`` where nothing was
            unpacked.
        diff_size: Bytes of the uncompressed archive; 0 where nothing was unpacked.
        content: Bytes of its regular files, their holes counted; 0 where nothing was unpacked.
        files: Entries without the root and without whiteouts; 0 where nothing was unpacked.
        media: ``"gzip"``, ``"zstd"`` or ``"none"``, told by the first bytes.
    """

    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def diff_id(self) -> str: ...
    @property
    def diff_size(self) -> int: ...
    @property
    def content(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def media(self) -> str: ...

@final
class LayerIngest:
    """One layer, as a stream: its digest, a copy of it, its content's digest, its tree; in threads of its own and about 7 MB.

    The stream is gzip (of any number of members), zstd (of any number of frames, with windows of at most 128 MiB) or a plain
    tar, told by its first bytes; xz and bzip2 are refused by name. Every name is resolved beneath the target. After an error,
    or left before its end, blob and target are as they are then and the caller's to remove.

    `feed` is for one thread at a time; `abort` may be called while another thread is in `feed` or `finish`, which then end.

    Args:
        blob: Path of a new file (mode 600) that gets the bytes as they come; None: none is kept.
        target: An existing directory to unpack into. None: nothing is decompressed, and the bytes may be anything.
        whiteouts: What an entry ``.wh.NAME`` or ``.wh..wh..opq`` becomes. ``"overlay"``: a character device 0/0, the
            attribute ``trusted.overlay.opaque``; `target` is empty. ``"apply"``: what the layers below have there is deleted,
            and what this layer has is not; `target` holds the layers below. ``"aufs"``: files of that name; `target` is empty.
        algorithm: Of `LayerSummary.digest`: ``"sha256"`` or ``"sha512"``.
        max_size: Most bytes of the uncompressed archive, and most of its files with their holes. 1 TiB by default.
        max_ratio: Most uncompressed bytes for each compressed one, judged from 64 MiB on. 1032 by default, which is what gzip
            can do and zstd can exceed.
        devices: Take device nodes.
        strict: Refuse an uncompressed archive without end mark as cut off, for one that no digest speaks for. Docker takes them.
        expected: The digest that the bytes are to have. With it, what is wrong with the content does not end `feed`: hashing
            goes on, and `finish` tells of a wrong digest where it is one (kind ``"digest"``), and else of what was wrong first.

    Raises:
        LayerError: Target or blob cannot be opened or made (EEXIST where the blob is there), or no thread started.
        ValueError: `whiteouts` or `algorithm` is none of them.
    """

    def __new__(
        cls,
        *,
        blob: str | None,
        target: str | None,
        whiteouts: str = "overlay",
        algorithm: str = "sha256",
        max_size: int = ...,
        max_ratio: int = ...,
        devices: bool = True,
        strict: bool = False,
        expected: str | None = None,
    ) -> Self: ...
    def feed(self, data: bytes) -> None:
        """Take the next bytes, of any number. Waits while the threads are behind; releases the GIL.

        Raises:
            LayerError: What the threads have found, in this piece or in one before it; every later call raises it again.
            ValueError: It was finished or aborted.
        """
    def finish(self, cancel: CancelFlag) -> LayerSummary:
        """All bytes have come: wait until all is written, and on the disk. Releases the GIL.

        Raises:
            LayerError: Damaged, cut off, refused, or the disk refuses; cancelled. The threads have ended then.
            ValueError: It was finished or aborted.
        """
    def abort(self) -> None:
        """End the threads and close everything. Safe to call again, and after `finish`. Releases the GIL."""

def import_directory(source: str, target: str, hidden: Sequence[str], cancel: CancelFlag) -> LayerSummary:
    """Copy the directory `source` into the existing, empty directory `target`, and hash what `pack` gives of it.

    What is mounted within is not copied, nor what is in the directories `hidden` (of this machine, wherever in the tree they are
    met): both are there and empty. Sockets are left out, and so is what vanishes meanwhile. Releases the GIL.

    Returns:
        Of the archive that `pack` will make of `target`.

    Raises:
        LayerError: A file cannot be read or made; cancelled. ``"unsupported"``: names that begin with ``.wh.``, character
            devices 0/0 and attributes of the overlay file system's own, which mean something else in a layer.
    """

def pack(
    dirs: Sequence[str],
    out: int | None,
    *,
    compression: str = "none",
    below: Sequence[str] = ...,
    layout: str = "overlay",
    subpath: str = "",
    hidden: Sequence[str] = ...,
    cancel: CancelFlag,
) -> LayerSummary:
    """Write a tree, or what one has changed of another, as a tar archive. The same tree gives the same bytes, wherever it lies.

    In it are names, kinds, permissions, owners, contents, link targets, device numbers, extended attributes, times of the last
    change in ns, and which names are one file. An entry of the root is written where it is not 0755 and root's, without
    extended attributes; of changes, where it differs in these. Sockets are left out. Releases the GIL.

    Args:
        dirs: Directories, topmost first, which make the tree: merged as `layout` has it.
        out: A descriptor to write to (stays the caller's), blocking or not; None: take the digests and sizes alone. A pipe whose
            reader has gone is a ``"system"`` error with EPIPE.
        compression: ``"none"``, ``"gzip"`` (level 6, all processors) or ``"zstd"`` (level 3).
        below: Directories, topmost first, which make the tree that `dirs` is compared with: what is gone becomes ``.wh.NAME``,
            and a directory that hides all that was in it has ``.wh..wh..opq``. None: all is written.
        layout: ``"overlay"``: whiteouts and opaque directories as the overlay file system has them, and with `below` `dirs` is
            the one directory on top of them. ``"tree"``: each is a whole tree. ``"aufs"``: as aufs has them.
        subpath: The directory to write (names in the archive begin in it); links on the way are followed within the tree.
            Not together with `below`.
        hidden: Paths from the root that are left out, with all beneath, as if they were in neither tree.
        cancel: Ends it, unless it waits in a blocking `out`: then close the other end.

    Raises:
        LayerError: ``"source"``: `subpath` is no directory. ``"unsupported"``: what an archive of a layer cannot hold (names
            that begin with ``.wh.``), an overlay that was mounted with ``redirect_dir`` or ``metacopy``. ``"system"``.
        ValueError: `compression` or `layout` is none of them.
    """

def changes(
    dirs: Sequence[str], below: Sequence[str], *, layout: str = "overlay", cancel: CancelFlag
) -> list[tuple[str, str]]:
    """What a tree has changed of another: (``"A"`` added, ``"C"`` changed or ``"D"`` deleted, absolute path), by path.

    As ``docker diff``: of a deleted directory the directory alone is told, of an added one all that is in it, and a directory in
    which something has changed is changed. Arguments and errors as of `pack`. Releases the GIL.
    """

def copy_tree(
    dirs: Sequence[str], subpath: str, target: str, cancel: CancelFlag, *, layout: str = "overlay"
) -> tuple[int, int]:
    """Copy what is in the directory `subpath` of a tree (see `pack`) into the existing directory `target`, and sync that.

    `target` gets the owner, permissions, time and extended attributes of the directory itself. A tree without such a directory
    is no error. Releases the GIL.

    Returns:
        Bytes of regular files, and number of entries.

    Raises:
        LayerError: As `pack`, and where something cannot be made.
    """

def decompress_file(source: str, target: str, cancel: CancelFlag) -> int:
    """Write what the file `source` holds, uncompressed (see `LayerIngest`), to the new file `target`, which is not synced.

    What is not compressed is copied. Releases the GIL.

    Returns:
        Bytes written.

    Raises:
        LayerError: As `LayerIngest.finish`; EEXIST where `target` is there.
    """

def remove_tree(path: str) -> None:
    """Remove a file or a directory with all in it, of any depth; links are not followed. Not there: nothing. Releases the GIL.

    Raises:
        OSError: It cannot be removed.
    """

def versions() -> dict[str, str]:
    """Of the package (``ardock``), the keeper's protocol (``protocol``) and the build (``profile``, ``architecture``)."""

def spawn_keeper(
    executable: str, run_dir: str, *, number: int, engine_id: str, root: str, keep_inherited_seccomp: bool
) -> None:
    """Start a keeper and wait until it listens. It is init's child, not ours.

    Args:
        executable: Path of the keeper's binary, which is run from a sealed copy in memory.
        run_dir: The keeper's own run folder; exists and is empty.
        number: The keeper's number.
        engine_id: 8 hexadecimal digits.
        root: The engine's root folder, its ``/store``.
        keep_inherited_seccomp: Start it even where this process has a seccomp filter or no-new-privileges.

    Raises:
        HostError: It could not be started; the hint is the whole reason.
    """

def kernel_features() -> dict[str, bool]:
    """What this kernel has of what launches use where it is there, by name; found by trying, in some 20 µs.

    What the environment's ``ARDOCK_KERNEL_WITHOUT`` names (separated by commas) is told as absent. Needs root: without,
    most seem absent. The first call loads the module of the overlay file system where it is one. Releases the GIL.

    Raises:
        ValueError: ``ARDOCK_KERNEL_WITHOUT`` names none of them.
    """

def device_programs() -> str:
    """Why the kernel takes no BPF programs for device rules from this process; empty where it does.

    Of use on hosts with control groups of version 2 only, where device rules are such programs. Without them a container
    has no ``CAP_MKNOD``, and its root is mounted ``nodev``.
    """

def root_identity(path: str) -> tuple[int, int, int]:
    """Device, inode and mount id of `path` (statx): what a root mount is known by.

    Raises:
        OSError: It is not there.
    """

def open_root(path: str) -> int:
    """A detached, private, non-recursive clone of the directory `path`; an O_PATH descriptor, owned.

    Raises:
        HostError: It is not there, or no directory.
    """

@type_check_only
class BindOptions(Protocol):
    """How a copy of a mount is to be.

    `recursive`: what is mounted beneath comes along; `read_only`, and (`read_only_recursive`) what is beneath it, too;
    `propagation` by mount(8)'s name; `attributes`: ``MOUNT_ATTR_*`` of nosuid, nodev and noexec.
    """

    @property
    def recursive(self) -> bool: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def read_only_recursive(self) -> bool: ...
    @property
    def propagation(self) -> str: ...
    @property
    def attributes(self) -> int: ...

def open_bind(path: str, options: BindOptions, beneath: str | None = None) -> tuple[int, bool]:
    """A detached clone of `path` with these options; an O_PATH descriptor, owned, and whether it is no directory.

    Args:
        path: Absolute; symbolic links are followed.
        options: How it is to be.
        beneath: What of the directory `path` is wanted: a relative path, of which neither ``..`` nor a symbolic link leads out.

    Raises:
        HostError: It is not there, or leads out, or its file system cannot be cloned.
    """

def mount_filesystem(kind: str, source: str, options: Sequence[tuple[str, str | None]], attributes: int) -> int:
    """Mount a file system detached: in no mount table, gone with its last copy; an O_PATH descriptor, owned.

    Args:
        kind: Such as ``"tmpfs"``.
        source: A device, ``host:/path``, or any word; may be empty.
        options: The file system's and the super block's, each with its value or None.
        attributes: ``MOUNT_ATTR_*``.

    Raises:
        HostError: The kernel refuses; it names the option where it was one, and says what the kernel has logged.
    """

@final
class Shelf:
    """Keeps one mount in a mount namespace of its own, for copies to be made of it. Blocks; any thread may call.

    Raises:
        HostError: The namespace cannot be made; of every method: the mount cannot be attached or copied.
    """

    def __new__(cls) -> Self: ...
    def put(self, mount: int) -> None:
        """Keep a detached mount. It, or `take_over`, is called once."""

    def copy(self, options: BindOptions, beneath: str | None = None) -> tuple[int, bool]:
        """As `open_bind`, of the mount."""

    def take_over(self, namespace: int, path: str, device: int, attributes: int) -> None:
        """Keep a copy of what a container shows.

        Args:
            namespace: A descriptor of its mount namespace.
            path: The path in it.
            device: ``st_dev`` of the file system that must be there.
            attributes: ``MOUNT_ATTR_*`` in place of those that it has there.
        """

    def close(self) -> None:
        """Let go of the mount. Copies stay."""

def resolve_user(roots: Sequence[int], user: str, groups: Sequence[str]) -> tuple[int, int, list[int], str]:
    """Look up ``"name|uid[:group|gid]"`` in the passwd and group files of `roots` (topmost first).

    Returns:
        User id, group id, supplementary groups and home directory.

    Raises:
        HostError: No such user or group.
    """

def seccomp_compile(
    profile: str | None, capabilities: int, no_new_privileges: bool, joining: bool
) -> tuple[str, bytes]:
    """Compile a seccomp profile in Docker's JSON form (None: Docker's default) for a container with these capabilities.

    Returns:
        The program's SHA-256 in hexadecimal, and its ``struct sock_filter`` array.

    Raises:
        HostError: The profile is malformed, asks for what cannot be done, or forbids a call that starting the program
            (or `joining` it to a container) takes once the policy is in force.
    """

def keeper_is_alive(folder: str) -> bool:
    """Whether the keeper of this run folder lives, by the lock that it holds.

    Raises:
        OSError: It cannot be told.
    """

def read_journal(path: str) -> bytes:
    """What a dead keeper's journal knows: MessagePack of the list of its containers that are not acknowledged.

    A journal that is not there is an empty one.

    Raises:
        OSError: It cannot be read.
    """

def reencode(kind: str, data: bytes) -> bytes:
    """Decode MessagePack as the Rust record `kind` and encode it again: for the tests of the wire.

    Args:
        kind: ``"request"``, ``"reply"``, ``"launch_spec"``, ``"exec_spec"``, ``"launch_error"``, ``"timings"``.
        data: One record.

    Raises:
        ValueError: It does not decode.
    """

def step_phrases() -> dict[str, str]:
    """The launch core's steps and the phrase of each, that completes "could not ..."."""

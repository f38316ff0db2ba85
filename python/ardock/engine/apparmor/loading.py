"""Loading `ardock-default` into the kernel, once for each boot and text of it, and again where somebody unloads it."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import Final

import trio

from ardock.engine.apparmor import kernel
from ardock.engine.apparmor.profile import ABI, NAME, UNCONFINED, compose
from ardock.model.errors import NotFound

_LOG: Final = logging.getLogger("ardock.apparmor")
# Seconds for the parser, which needs some hundredths of one.
_PATIENCE: Final = 60.0


class Profile:
    """The default profile of one engine's containers.

    Where it cannot be had (no `apparmor_parser`, no securityfs, or the parser fails), containers run unconfined, as with
    Docker on a host without the parser: seccomp, capabilities and masks hold without it. The log says so once, and
    `inspect`, `info` and `doctor` show it.

    Attributes:
        default: What a container without a wish of its own gets: `NAME`, or ``"unconfined"``.
        problem: Why it is not `NAME`; empty where it is.
        loads: How often the parser was run.
    """

    def __init__(self, prefix: Path = Path("/")) -> None:
        """Nothing is loaded yet; `prefix` is the host's root."""
        self.default = UNCONFINED
        self.problem = ""
        self.loads = 0
        self._prefix = prefix
        # What is loaded, as long as `watch` would tell of a change.
        self._names: frozenset[str] | None = None
        self._watched = False

    def __repr__(self) -> str:
        """What containers get."""
        return f"<Profile {self.default}{self.problem and f': {self.problem}'}>"

    async def prepare(self) -> None:
        """Have the profile in the kernel, if it can be had: called once, when the engine opens."""
        self.problem = await self._provide()
        if self.problem:
            _LOG.warning("containers run without an AppArmor profile by default: %s", self.problem)
        else:
            self.default = NAME

    async def _provide(self) -> str:
        """Load the profile unless this very text of it is loaded; why it is not loaded, if it is not."""
        found = kernel.support(self._prefix)
        lacks = kernel.missing(found)
        if lacks or found.loaded is None:
            return lacks
        text, version = compose(label=kernel.own_label(self._prefix), abi=kernel.has_abi(ABI, self._prefix))
        # Replaced by another text's engine, the profile keeps this name beside the other's: the last one loaded stays, and
        # engines of two releases do not take turns.
        if NAME in found.loaded and version in found.loaded:
            return ""
        problem = "apparmor_parser is not installed" if found.parser is None else await self._load(found.parser, text)
        loaded = kernel.loaded_names(self._prefix)
        if loaded is not None and NAME in loaded:
            if problem:
                _LOG.warning("the AppArmor profile %s stays as it is, of another release: %s", NAME, problem)
            return ""
        return problem or "apparmor_parser has not loaded it, and said nothing"

    async def _load(self, parser: str, text: str) -> str:
        """Run the parser; what it complains of where it fails."""
        self.loads += 1
        # Neither from a cache, which goes by the time stamp of a file, nor into it. From standard input.
        command = [parser, "--skip-cache", "--replace"]
        try:
            with trio.move_on_after(_PATIENCE):
                done = await trio.run_process(
                    command, stdin=text.encode(), capture_stdout=True, stderr=subprocess.STDOUT, check=False
                )
                if done.returncode == 0:
                    return ""
                said = done.stdout.decode(errors="replace").split("\n")
                return f"apparmor_parser failed: {' '.join(line.strip() for line in said if line.strip())}"
        except OSError as error:
            return f"apparmor_parser cannot be run: {error.strerror}"
        return f"apparmor_parser did not end within {_PATIENCE:g} seconds"

    async def watch(self) -> None:
        """Load the profile again whenever it is unloaded, until cancelled.

        Upgrades of packages and `aa-remove-unknown` remove what is not in /etc/apparmor.d. The kernel tells of each change of its
        policy by this file, which costs nothing as long as there is none; moby looks before each start instead.
        """
        try:
            revision = os.open(
                self._prefix / kernel.SECURITYFS / "revision", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return
        try:
            while True:
                # The first read tells the revision of now, each later one is possible after a change only.
                os.read(revision, 64)
                self._watched = True
                self._names = loaded = kernel.loaded_names(self._prefix)
                if self.default == NAME and loaded is not None and NAME not in loaded:
                    _LOG.warning("the AppArmor profile %s was unloaded: loading it again", NAME)
                    problem = await self._provide()
                    if problem:
                        # Those that come now fail at their launch: who had a profile is not run without it.
                        _LOG.error("the AppArmor profile %s cannot be loaded again: %s", NAME, problem)
                await trio.lowlevel.wait_readable(revision)
        except OSError as error:
            _LOG.warning("changes of the AppArmor policy cannot be followed: %s", error.strerror)
        finally:
            self._watched = False
            self._names = None
            os.close(revision)

    def check(self, name: str) -> None:
        """See that a profile which a container asks for is loaded: before its launch, which would fail.

        Raises:
            NotFound: It is not.
        """
        loaded = self._names if self._watched else kernel.loaded_names(self._prefix)
        if loaded is None or kernel.is_loaded(name, loaded):
            return
        # A profile that was loaded since may not be told of yet.
        loaded = kernel.loaded_names(self._prefix)
        if loaded is not None and not kernel.is_loaded(name, loaded):
            raise NotFound(
                f"apparmor: the profile {name!r} is not loaded; load it with `apparmor_parser -r FILE` "
                "(`aa-status` lists those that are)",
                field="apparmor",
            )

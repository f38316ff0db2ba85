"""The engine of a command that found nobody owning its root folder: in a thread of its own, behind its socket.

The command itself is a client like any other, and other commands become clients of this one's engine. It ends with the
command: in good order, so that kept containers go on running in their keeper and the next owner adopts them.
"""

from __future__ import annotations

import contextlib
import gc
import threading

import trio

from ardock.engine import own_engine
from ardock.model.errors import ArdockError
from ardock.server import serving


class Owner:
    """An engine in a thread.

    Made by `Owner(root, run_dir)`, which returns when its socket is served.

    Attributes:
        socket: The path of its socket.

    Raises:
        EngineLocked: Another process owns the root folder by now.
        ArdockError: The engine cannot be opened.
    """

    def __init__(self, root: str, run_dir: str) -> None:
        self.socket = ""
        self._root, self._run_dir = root, run_dir
        self._ready = threading.Event()
        self._opened = threading.Event()
        self._error: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop: trio.Event | None = None
        self._scope = trio.CancelScope()
        # The garbage collector is off while a command starts (`ardock.cli.main`); an engine may live for days.
        gc.enable()
        # No daemon thread: the interpreter would freeze it anywhere, with the engine half closed.
        self._thread = threading.Thread(target=self._run, name="ardock-engine")
        self._thread.start()
        try:
            self._opened.wait()
        except BaseException:  # A signal: it raises here.
            self._end()
            self._thread.join()
            raise
        if not self.socket:
            self._thread.join()
            self._raise()

    @property
    def failed(self) -> bool:
        """The engine has ended by itself; `close` raises why."""
        return self._error is not None

    def close(self) -> None:
        """Close the engine and await its end.

        Raises:
            BaseException: What ended it before.
        """
        self._end()
        self._thread.join()
        self._raise()

    def _end(self) -> None:
        """Have the engine closed if it is open, and its opening cancelled if it is not."""
        self._ready.wait()
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):  # It has ended by itself, and `_raise` says why.
                self._token.run_sync_soon(self._end_in_loop)

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = _cause(error)
        finally:
            self._ready.set()
            self._opened.set()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        self._ready.set()
        with self._scope:
            async with own_engine(self._root, self._run_dir) as engine, serving(engine) as path:
                self.socket = str(path)
                self._opened.set()
                await self._stop.wait()

    def _end_in_loop(self) -> None:
        # One that is open is not cancelled: it is closed in good order.
        if self.socket and self._stop is not None:
            self._stop.set()
        else:
            self._scope.cancel()


def _cause(error: BaseException) -> BaseException:
    """Of tasks that failed together, the first engine's error; it says most."""
    if isinstance(error, BaseExceptionGroup):
        found = error.subgroup(ArdockError)
        return _cause((found or error).exceptions[0])
    return error

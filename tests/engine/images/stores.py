"""Images alone, with their state, as an engine opens them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ardock.engine.images import Images
from ardock.engine.registry import Registries
from ardock.engine.snapshots import Driver
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.state import State
from ardock.model.registry import RegistryOptions
from tests.unit.states import Clock, opened


def nobody(_: str) -> Sequence[str]:
    return ()


@asynccontextmanager
async def store(
    root: Path,
    in_use: Callable[[str], Sequence[str]] = nobody,
    *,
    clock: Clock | None = None,
    driver: Callable[[Path], Driver] = Overlay,
    take: Callable[[bytes], tuple[str, bytes] | None] = lambda _: None,
    options: RegistryOptions | None = None,
) -> AsyncIterator[tuple[Images, State]]:
    clock = clock or Clock()

    def now() -> int:
        clock.pass_(1)
        return clock.wall

    os.makedirs(root, exist_ok=True)
    registries = Registries(options)
    failure: BaseException | None = None
    async with opened(root, clock) as (state, loaded), trio.open_nursery() as nursery:
        snapshots = driver(root / "snapshots" / "driver")
        images = Images(root, state, snapshots, nursery, registries=registries, in_use=in_use, take=take, now=now)
        await images.open(loaded.images, fresh=loaded.fresh)
        try:
            yield images, state
        except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
            failure = error
        await registries.aclose()
        snapshots.close()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def kept(root: Path) -> list[str]:
    """All that is stored: blobs as ``sha256:<12 digits>``, copies of rows as ``row:...``, trees as ``tree:...``, the rest by its path."""
    found = []
    for algorithm in ("sha256", "sha512"):
        found += [f"{algorithm}:{name[:12]}" for name in os.listdir(root / "content" / algorithm)]
    found += [f"row:{name[:12]}" for name in os.listdir(root / "content" / "images")]
    found += [f"content/{name}" for name in os.listdir(root / "content") if name not in {"sha256", "sha512", "images"}]
    found += [
        f"tree:{name[:12]}" if len(name) == 64 else f"snapshots/{name}"
        for name in os.listdir(root / "snapshots" / "driver")
    ]
    return sorted(found)


async def parts(images: Images) -> list[str]:
    """All that is to be stored for the images that there are."""
    found = set()
    for info in await images.list():
        details = await images.inspect(info.id)
        found |= {f"sha256:{info.id[7:19]}", f"row:{info.id[7:19]}"}
        if details.manifest:
            found.add(f"sha256:{details.manifest[7:19]}")
        found |= {f"tree:{chain[:12]}" for chain in images.chain_of(info.id)}
    return sorted(found)


async def chunks(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens on the disk
        await trio.sleep(0.01)


async def told(state: State) -> list[tuple[str, str, str]]:
    """All events: action, name, the id's beginning."""
    entries = await state.read_journal(0, 1 << 20)
    return [(event.action, event.name, event.id[:10]) for entry in entries for event in entry.events()]

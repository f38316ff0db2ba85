"""Being cancelled at any moment leaves nothing: no connection, no task, no generator that is collected later."""

from __future__ import annotations

import gc
import random

import pytest
import trio

from ardock.engine.registry import Registries
from ardock.engine.registry.pace import Pace
from ardock.engine.registry.repository import Repository
from ardock.model.reference import parse_reference
from ardock.model.registry import Credentials
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import PASSWORD, USERNAME
from tests.registry.test_writing import MIB, Blob
from tests.registry.tokens import token_registry


async def everything(repository: Repository, seed: int) -> None:
    """Whatever a push and a pull do, at once."""
    blob = Blob(f"cancelled {seed}", 2 * MIB)

    async def read() -> None:
        async with repository.blob(blob.digest, blob.size) as pieces:
            async for _ in pieces:
                await trio.lowlevel.checkpoint()

    await repository.exists(blob.digest)
    await repository.mount(blob.digest, "public/other")
    await blob.upload(repository)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)


@pytest.mark.timeout(180)
async def test_nothing_is_left_wherever_it_is_cancelled() -> None:
    credentials = Credentials(username=USERNAME, password=PASSWORD)
    random.seed(7)

    async def sleep(seconds: float) -> None:
        await trio.sleep(seconds / 50)

    pace = Pace(sleep=sleep)
    with token_registry() as (registry, _), Proxy(registry.port) as proxy:
        reference = parse_reference(f"{proxy.host}/cancelled/app")

        async def once(seed: int, after: float) -> bool:
            proxy.faults[:] = [Fault("blobs/sha256", cut_after=MIB), Fault("^PUT", cut_request_after=MIB)]
            async with Registries(pace=pace).open(reference, credentials, push=True) as repository:
                with trio.move_on_after(after) as scope:
                    await everything(repository, seed)
            await proxy.until(0)
            return scope.cancelled_caught

        tasks = trio.lowlevel.current_statistics().tasks_living
        started = trio.current_time()
        assert not await once(0, 60)
        whole = trio.current_time() - started
        cancelled = sum([await once(seed, random.uniform(0, 0.8 * whole)) for seed in range(1, 21)])
        assert cancelled > 0
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        gc.collect()


async def test_a_handshake_that_is_cancelled_closes_its_connection() -> None:
    """Seen from the other side, and not by the garbage collector."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    async with listener:
        async with Registries().open(parse_reference(f"{host}/app")) as repository:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(repository.manifest, "1")
                with trio.fail_after(5):
                    server = await listener.accept()
                    assert await server.receive_some()  # its first words
                gc.disable()
                try:
                    nursery.cancel_scope.cancel()
                    with trio.CancelScope(shield=True), trio.fail_after(5):
                        while await server.receive_some():
                            pass
                finally:
                    gc.enable()
                    with trio.CancelScope(shield=True):
                        await server.aclose()

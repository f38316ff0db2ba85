#!/usr/bin/env python3
"""A container that goes on running: a conversation by its streams, a second program in it, a deadline.

Run as root: .venv/bin/python examples/session.py
"""

import os

import trio

import ardock


async def main() -> None:
    """Talk to a shell in a container."""
    root = os.environ.get("ARDOCK_ROOT", "/var/lib/ardock")
    run_dir = os.environ.get("ARDOCK_RUN_DIR", "/run/ardock")
    async with ardock.open_engine(root, run_dir) as engine:
        # Leaving the block kills the container and awaits its end, whatever happens inside.
        async with await engine.containers.spawn(["sh"], rootfs="/", stdin_open=True, memory="64m") as shell:
            assert shell.stdin is not None
            assert shell.stdout is not None
            await shell.stdin.send_all(b"echo the shell is process $$; exec 1>&-; sleep 60\n")
            async for piece in shell.stdout:
                print(piece.decode(), end="")

            async with await shell.exec(["sh", "-c", "echo joined it as process $$"]) as joined:
                assert joined.stdout is not None
                async for piece in joined.stdout:
                    print(piece.decode(), end="")

            with trio.move_on_after(0.1):
                await shell.wait()
            # A PID 1 that handles no signal hears none but SIGKILL.
            await shell.kill()
            print(f"it ended with {(await shell.wait()).exit_code}")

        # A cancelled run leaves no container behind.
        with trio.move_on_after(0.2) as scope:
            await engine.containers.run(["sleep", "60"], rootfs="/")
        print(f"cancelled: {scope.cancelled_caught}")


if __name__ == "__main__":
    trio.run(main)

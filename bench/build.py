"""Builds the C programs of the bench, and the root file system they run in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FLOOR_SOURCES = Path(__file__).resolve().parent / "floor"
PRODUCTS = FLOOR_SOURCES.parent.parent / "target" / "bench"
PROGRAM = "/bin/bench-program"
"""The program in the root file system: exits at once, prints its first argument, or with `-` stays."""


class BuildError(Exception):
    """A C compiler is missing or did not like its input."""


def floor() -> Path:
    """Return the floor program, built when its sources are newer."""
    sources = sorted(FLOOR_SOURCES.glob("*.c"))
    sources.remove(FLOOR_SOURCES / "program.c")
    return _compile("floor", sources, [])


def program() -> Path:
    """Return the static program that every system runs."""
    return _compile("program", [FLOOR_SOURCES / "program.c"], ["-static"])


def rootfs(where: Path) -> Path:
    """Make a root file system of one program at `where`, with the folders engines mount on."""
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (where / folder).mkdir(parents=True, mode=0o755)
    # Present in every real image, so that their binds find a target as they would there.
    for name in ("hosts", "hostname", "resolv.conf"):
        (where / "etc" / name).touch()
    (where / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/false\n")
    (where / "etc" / "group").write_text("root:x:0:\n")
    target = where / PROGRAM.lstrip("/")
    shutil.copy(program(), target)
    target.chmod(0o755)
    os.link(target, where / "bin" / "true")
    return where


def _compile(name: str, sources: list[Path], flags: list[str]) -> Path:
    product = PRODUCTS / name
    inputs = [*sources, *FLOOR_SOURCES.glob("*.h")]
    if product.exists() and all(source.stat().st_mtime <= product.stat().st_mtime for source in inputs):
        return product
    PRODUCTS.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CC", "cc")
    fresh = product.with_name(f"{name}.{os.getpid()}")
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", *flags, "-o", str(fresh)]
    try:
        subprocess.run([*command, *map(str, sources)], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise BuildError(f"no C compiler: {compiler} (install gcc and libc6-dev)") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{compiler} failed:\n{error.stderr}") from error
    # Renamed whole: another bench may be running the old one.
    fresh.rename(product)
    return product

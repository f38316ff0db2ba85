"""Which module may import which: the layers of docs/design.md as data, and imports read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# From the bottom up; parts on one level do not import each other either.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("_core",),  # the Rust side
    ("model",),
    ("protocol", "interface"),
    ("engine",),
    ("server", "client", "docker", "credentials"),
    ("daemon", "embedded"),
    ("cli",),
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# What the lower layers have no business with: they are plain data, or a protocol without I/O.
FORBIDDEN = {
    "model": frozenset({"anyio", "asyncio", "click", "socket", "subprocess", "threading", "trio"}),
    "protocol": frozenset({"anyio", "asyncio", "click", "socket", "subprocess", "threading", "trio"}),
    "engine": frozenset({"asyncio", "click"}),
}


class Import(NamedTuple):
    """One import: who, on which line, of what (dotted)."""

    file: Path
    line: int
    name: str


def imports_of(file: Path) -> Iterator[Import]:
    """Every import of a file, those inside functions and below TYPE_CHECKING too: a type is knowledge as well."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from ardock import engine` names the part only after the `import`.
            yield from (Import(file, node.lineno, f"{module}.{alias.name}") for alias in node.names)


def part_of(package: Path, file: Path) -> str:
    """The part a file belongs to: the first folder or module below the package."""
    return file.relative_to(package).parts[0].removesuffix(".pyi").removesuffix(".py")


def violations(package: Path) -> list[str]:
    """Every import that goes upwards, sideways or where the layer may not go, as `file:line: what`."""
    found = []
    for file in sorted(package.rglob("*.py")):
        part = part_of(package, file)
        if part == "__init__":
            continue  # the public names: the one module that stands above all and is imported by none
        if part not in LEVEL:
            found.append(f"{file.relative_to(package)}: {part} has no place in the layers")
            continue
        for imported in imports_of(file):
            problem = _problem(part, imported.name)
            if problem:
                found.append(f"{file.relative_to(package)}:{imported.line}: {problem}")
    return found


def _problem(part: str, name: str) -> str:
    words = name.split(".")
    if words[0] == "":
        return f"relative import {name}"
    if words[0] != "ardock":
        return f"{part} imports {words[0]}" if words[0] in FORBIDDEN.get(part, ()) else ""
    target = words[1] if len(words) > 1 else ""
    if target == part:
        return ""
    if target not in LEVEL:
        return f"{part} imports the public face ({name})"
    return "" if LEVEL[target] < LEVEL[part] else f"{part} imports {name}, which is not below it"

"""`ardock info`: what this machine and this engine have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ardock.cli.command import Settings
from ardock.cli.tables import wrapped

if TYPE_CHECKING:
    from ardock.engine.host import About


@click.command("info")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@click.pass_obj
def command(settings: Settings, output: str) -> None:
    """Show what this machine and this engine have."""
    from ardock.engine.host import Host, about

    found = about(Host(), Path(settings.root), Path(settings.run_dir))
    if output == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    rows = _rows(found)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        first, *more = wrapped(value, width + 2)
        click.echo(f"{name:<{width}}  {first}")
        for line in more:
            click.echo(f"{'':<{width}}  {line}")


def _rows(found: About) -> list[tuple[str, str]]:
    return [
        ("version", found.version),
        ("engine", f"ardock-{found.engine_id}" if found.engine_id else "none yet: the root folder is unused"),
        ("root folder", found.root),
        ("run folder", found.run_dir),
        ("owner", f"process {found.owner}" if found.owner else "none"),
        ("keepers", str(found.keepers)),
        ("kernel", f"{found.kernel} ({found.architecture})"),
        ("CPUs", str(found.cpus)),
        ("memory", f"{found.memory / (1 << 30):.1f} GiB"),
        ("cgroups", f"version {found.cgroup_version} ({found.cgroup_layout})"),
        ("controllers", ", ".join(found.cgroup_controllers)),
        ("security", ", ".join(found.security)),
        ("default network", found.network),
        ("default scratch", found.scratch),
        ("default capabilities", ", ".join(found.capabilities)),
    ]

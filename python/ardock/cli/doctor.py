"""`ardock doctor`: can this machine run containers, how many, and how is what it lacks mended?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ardock.cli.command import Settings
from ardock.cli.tables import table, wrapped

if TYPE_CHECKING:
    from ardock.engine.host import Bound, Check, Report

_COLOURS = {"ok": "green", "note": "yellow", "failed": "red"}


@click.command("doctor")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)
@click.pass_obj
def command(settings: Settings, output: str) -> int:
    """Check whether this machine can run containers, and say how to mend what it lacks.

    Nothing is changed on the machine, except that the kernel may load its overlay module. The exit code is 1 where
    containers cannot run as they are by default.
    """
    from ardock.engine.host import Host, examine

    report = examine(Host(), Path(settings.root), Path(settings.run_dir))
    if output == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        for line in _lines(report):
            click.echo(line)
    return 0 if report.healthy else 1


def _lines(report: Report) -> Iterator[str]:
    group = ""
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        if check.group != group:
            yield from ["", check.group] if group else [check.group]
            group = check.group
        yield from _check_lines(check, width)
    yield ""
    yield "how many more containers fit (one idle process and a memory limit each), by each limit alone"
    yield from _bound_lines([bound for bound in report.bounds if bound.counts], report.fits)
    yield ""
    yield "limits of some containers only"
    yield from _bound_lines([bound for bound in report.bounds if not bound.counts], report.fits)
    yield ""
    yield from _verdict(report)


def _check_lines(check: Check, width: int) -> Iterator[str]:
    status = click.style(f"{check.status:<6}", fg=_COLOURS[check.status])
    margin = " " * (2 + 6 + 1 + width + 2)
    first, *more = wrapped(check.found, len(margin))
    yield f"  {status} {check.name:<{width}}  {first}"
    yield from (margin + line for line in more)
    if check.remedy:
        yield from (margin + line for line in wrapped(f"mend: {check.remedy}", len(margin)))


def _bound_lines(bounds: Sequence[Bound], fits: int) -> Iterator[str]:
    rows = [(b.name, f"{b.limit:,}", f"{b.used:,}", f"{b.each:,}", f"{b.fits:,}", b.remark) for b in bounds]
    headings = ("limit", "value", "in use", "for each", "containers", "")
    yield from ("  " + line for line in table(headings, rows, right={1, 2, 3, 4}))
    # Far limits are not worth a line to most; --format json has them all.
    for bound in bounds:
        if bound.remedy and bound.fits < 10 * max(fits, 1):
            first, *more = wrapped(f"to raise {bound.name}: {bound.remedy}", 4)
            yield "    " + first
            yield from ("      " + line for line in more)


def _verdict(report: Report) -> Iterator[str]:
    failed = [check.name for check in report.checks if check.status == "failed"]
    if failed:
        yield click.style(f"Containers cannot run here: {', '.join(failed)}.", fg="red")
        return
    yield click.style("Containers can run here.", fg="green")
    if not report.bounds:
        return
    yield from wrapped(f"About {report.fits:,} more small ones fit, then {report.binding} is met.", 0)

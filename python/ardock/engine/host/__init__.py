"""The host, looked at: can containers run here and how many (`ardock doctor`), what is here (`ardock info`)?"""

from __future__ import annotations

from pathlib import Path

from ardock.engine.host.about import About, about
from ardock.engine.host.bounds import bounds
from ardock.engine.host.cgroups import Cgroups, find_cgroups
from ardock.engine.host.checks import kernel, kernel_ways, privileges
from ardock.engine.host.folders import folders
from ardock.engine.host.groups import control_groups
from ardock.engine.host.records import Bound, Check, Report
from ardock.engine.host.system import Host

__all__ = ["About", "Bound", "Cgroups", "Check", "Host", "Report", "about", "examine", "find_cgroups"]


def examine(host: Host, root: Path, run_dir: Path) -> Report:
    """Look at all that containers need, and count how many the host has room for.

    Nothing is changed, made or started on the host, except that the kernel loads the module of a file system that containers
    need, where it has not yet.

    Args:
        host: The machine.
        root: The engine's root folder; need not be there.
        run_dir: The engine's run folder; need not be there.
    """
    cgroups = find_cgroups(host)
    checks = (
        *privileges(host),
        *kernel(host),
        *kernel_ways(host),
        *control_groups(host, cgroups),
        *folders(host, root, run_dir),
    )
    found = bounds(host, cgroups, root)
    counting = [bound for bound in found if bound.counts]
    tightest = min(counting, key=lambda bound: bound.fits, default=None)
    return Report(
        healthy=all(check.status != "failed" for check in checks),
        checks=checks,
        bounds=found,
        fits=tightest.fits if tightest is not None else 0,
        binding=tightest.name if tightest is not None else "",
    )

"""What a container that runs costs in memory: the kernel's part and everybody's."""

from __future__ import annotations

import os
import time
from pathlib import Path


def keepers() -> set[int]:
    """Return the keepers and launchers on this machine."""
    return {int(comm.parent.name) for comm in Path("/proc").glob("[0-9]*/comm") if _is_ours(comm)}


def ours(others: set[int]) -> dict[str, list[int]]:
    """Return the processes whose memory is an engine's own price: this one, and the keepers that are not `others`."""
    return {"engine": [os.getpid()], "keeper": sorted(keepers() - others)}


def _is_ours(comm: Path) -> bool:
    try:
        return comm.read_text().startswith("ardock-")
    except OSError:
        return False


def weigh(processes: dict[str, list[int]]) -> dict[str, float]:
    """Return KiB: what the machine has left, and the PSS of each group of processes."""
    # Twice, with a pause: namespaces and control groups of containers that are gone are freed by workers of the kernel.
    for _ in range(2):
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        time.sleep(0.5)
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    found: dict[str, float] = {
        name: float(meminfo[name].split()[0])
        for name in ("MemAvailable", "Slab", "AnonPages", "KernelStack", "PageTables")
    }
    for group, pids in processes.items():
        found[group] = sum(_pss(pid) for pid in pids)
    return found


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


def difference(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    """Return what each of `count` containers added, KiB; and the whole PSS with all of them running."""
    result = {
        "n": float(count),
        "all_kib": (before["MemAvailable"] - after["MemAvailable"]) / count,
        "slab_kib": (after["Slab"] - before["Slab"]) / count,
        "anonymous_kib": (after["AnonPages"] - before["AnonPages"]) / count,
        "stacks_and_tables_kib": sum(after[n] - before[n] for n in ("KernelStack", "PageTables")) / count,
    }
    for group in set(after) - {"MemAvailable", "Slab", "AnonPages", "KernelStack", "PageTables"}:
        result[f"{group}_pss_kib"] = after[group]
        result[f"{group}_pss_kib_each"] = (after[group] - before.get(group, 0.0)) / count
    return result

"""Docker's masked and read-only paths of a container: what the engine applies, and what `inspect` tells."""

from __future__ import annotations

from typing import Final

# Paths that show or change the host and have no place inside. Missing ones are skipped by the launch core.
MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",  # CVE-2020-8694: energy counters as a side channel
    "/sys/firmware",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

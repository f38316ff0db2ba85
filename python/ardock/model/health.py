"""How a container says that it is well."""

from __future__ import annotations

import msgspec


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a container says that it is well (Docker's extension of the image's config). Recorded, not carried out yet.

    Attributes:
        test: ``("NONE",)``, ``("CMD", program, argument, ...)`` or ``("CMD-SHELL", line)``; empty inherits.
        interval: ns between two checks; 0 inherits, as for the rest.
        timeout: ns.
        start_period: ns.
        start_interval: ns.
        retries: Failures in a row that mean that it is not well.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

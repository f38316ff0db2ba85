"""What a slice of work measured, and what the rounds together say."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Slice:
    """One system's share of one round."""

    n: int
    """Containers that were started, all of them to their collected exit."""
    per_s: float
    """Of them, each second of wall time, clean-up that blocks included."""
    p50_ms: float
    """Median from before the first call for a container to its collected exit."""
    p99_ms: float
    """The same for all but the slowest hundredth."""

    @classmethod
    def of(cls, wall_s: float, latencies_ms: Sequence[float]) -> Slice:
        """Sum up the single latencies of a slice that took `wall_s` seconds."""
        ordered = sorted(latencies_ms)
        return cls(
            n=len(ordered),
            per_s=len(ordered) / wall_s,
            p50_ms=quantile(ordered, 0.50),
            p99_ms=quantile(ordered, 0.99),
        )

    @classmethod
    def from_json(cls, record: Mapping[str, float]) -> Slice:
        """Read what a worker or the floor printed."""
        return cls(
            n=int(record["n"]),
            per_s=float(record["per_s"]),
            p50_ms=float(record["p50_ms"]),
            p99_ms=float(record["p99_ms"]),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One system's line of the result."""

    system: str
    per_s: float
    p50_ms: float
    p99_ms: float
    n: int
    ratio_to_floor: float | None
    """`per_s` divided by the floor's of the same set; None where no floor was run."""
    in_flight: int
    scratch: str
    captures: bool
    """Belongs to the second set, in which each program's 100 bytes are collected."""


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the value at `q` of an ascending sequence (nearest rank, as the floor's)."""
    return ordered[int(q * (len(ordered) - 1))]


def over_rounds(slices: Sequence[Slice]) -> Slice:
    """Take the median of each figure over the rounds.

    A round that something else on the machine disturbed moves a mean, and no median.
    """
    return Slice(
        n=sum(s.n for s in slices),
        per_s=median(s.per_s for s in slices),
        p50_ms=median(s.p50_ms for s in slices),
        p99_ms=median(s.p99_ms for s in slices),
    )


def best(by_in_flight: Mapping[int, Slice]) -> tuple[int, Slice]:
    """Return the number in flight that gave the most starts a second."""
    return max(by_in_flight.items(), key=lambda item: item[1].per_s)

"""A run's result as it travels: the two directions."""

from __future__ import annotations

from ardock.model.errors import ArdockError
from ardock.model.records import RunResult, Timings
from ardock.protocol.methods import ErrorInfo, Outcome


def from_result(result: RunResult, error: ErrorInfo | None = None) -> Outcome:
    """`result` whole; whoever sends it takes long output out (`methods.INLINE_OUTPUT`)."""
    return Outcome(
        id=result.id,
        index=result.index,
        exit_code=result.exit_code,
        stdout=result.stdout,
        stderr=result.stderr,
        truncated=result.truncated,
        stdout_total=result.stdout_total,
        stderr_total=result.stderr_total,
        signal=result.signal,
        oom_killed=result.oom_killed,
        timed_out=result.timed_out,
        started_at=result.started_at,
        finished_at=result.finished_at,
        timings=result.timings,
        error=error,
    )


def to_result(
    outcome: Outcome, *, stdout: bytes | None = None, stderr: bytes | None = None, error: ArdockError | None = None
) -> RunResult:
    """`outcome`, with the output that came beside it."""
    return RunResult(
        id=outcome.id,
        index=outcome.index,
        exit_code=outcome.exit_code,
        stdout=outcome.stdout if stdout is None else stdout,
        stderr=outcome.stderr if stderr is None else stderr,
        truncated=outcome.truncated,
        stdout_total=outcome.stdout_total,
        stderr_total=outcome.stderr_total,
        signal=outcome.signal,
        oom_killed=outcome.oom_killed,
        timed_out=outcome.timed_out,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        timings=outcome.timings or Timings(),
        error=error,
    )

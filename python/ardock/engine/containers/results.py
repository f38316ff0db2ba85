"""From what a keeper tells to what a user gets."""

from __future__ import annotations

from ardock.engine.keepers.program import Program
from ardock.model.messages import Exit, Start
from ardock.model.records import ExitRecord, RunResult, Timings

NO_TIMINGS = Timings()


def exit_record(container_id: str, exec_id: str | None, start: Start | None, end: Exit) -> ExitRecord:
    """How a program ended."""
    return ExitRecord(
        id=container_id,
        exec_id=exec_id,
        exit_code=end.code,
        signal=end.signal,
        oom_killed=end.oom,
        started_at=0 if start is None else start.started_at,
        finished_at=end.finished_at,
    )


def whole(end: Exit, max_output: int) -> bool:
    """The exit message has all that was captured."""
    return len(end.stdout) >= min(end.stdout_total, max_output) and len(end.stderr) >= min(end.stderr_total, max_output)


async def complete(program: Program, end: Exit, max_output: int) -> tuple[bytes, bytes]:
    """Both captured streams, fetched in pieces where they did not fit in the exit message."""
    streams = ((1, end.stdout, end.stdout_total), (2, end.stderr, end.stderr_total))
    found: list[bytes] = []
    for number, first, total in streams:
        wanted = min(total, max_output)
        pieces = bytearray(first)
        while len(pieces) < wanted:
            piece = await program.connection.captured(program.id, program.exec_id, number, len(pieces))
            if not piece:
                break
            pieces += piece
        found.append(bytes(pieces[:wanted]))
    return found[0], found[1]


def run_result(
    program: Program,
    container_id: str,
    end: Exit,
    max_output: int,
    *,
    output: tuple[bytes, bytes] | None = None,
    index: int = 0,
) -> RunResult:
    """What `run` returns; `output` is both streams where the exit message has not the whole of them."""
    stdout, stderr = output or (end.stdout, end.stderr)
    start = program.start
    return RunResult(
        id=container_id,
        index=index,
        exit_code=end.code,
        stdout=stdout,
        stderr=stderr,
        truncated=end.stdout_total > max_output or end.stderr_total > max_output,
        stdout_total=end.stdout_total,
        stderr_total=end.stderr_total,
        signal=end.signal,
        oom_killed=end.oom,
        timed_out=program.timed_out,
        started_at=0 if start is None else start.started_at,
        finished_at=end.finished_at,
        timings=NO_TIMINGS if start is None else start.timings,
    )

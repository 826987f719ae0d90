"""Word the lines that frame an invocation's log as Lambda does; pure."""

from __future__ import annotations

import math

from triggerhub.settings import MB


def start_line(request_id: str, version: str) -> str:
    """Return the line before an invocation."""
    return f"START RequestId: {request_id} Version: {version or '$LATEST'}"


def end_line(request_id: str) -> str:
    """Return the line after an invocation."""
    return f"END RequestId: {request_id}"


def report_line(
    request_id: str,
    *,
    duration_ms: float,
    memory_mb: int,
    max_memory: int | None = None,
    init_ms: float | None = None,
    level: str | None = None,
) -> str:
    """Return the line that says what an invocation took; *max_memory* is in bytes, None where nobody measured.

    *level* is that of the sandbox, which Lambda does not have.
    """
    used = "" if max_memory is None else f"Max Memory Used: {-(-max_memory // MB)} MB\t"
    init = "" if init_ms is None else f"Init Duration: {init_ms:.2f} ms\t"
    sandbox = "" if level is None else f"Sandbox: {level}\t"
    return (
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\t"
        f"Billed Duration: {math.ceil(duration_ms)} ms\tMemory Size: {memory_mb} MB\t{used}{init}{sandbox}"
    )

"""Word the lines that frame an invocation's log as Lambda does; pure."""

from __future__ import annotations

import math


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
    parts = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {duration_ms:.2f} ms",
        f"Billed Duration: {math.ceil(duration_ms)} ms",
        f"Memory Size: {memory_mb} MB",
    ]
    if max_memory is not None:
        parts.append(f"Max Memory Used: {math.ceil(max_memory / 1024 / 1024)} MB")
    if init_ms is not None:
        parts.append(f"Init Duration: {init_ms:.2f} ms")
    if level is not None:
        parts.append(f"Sandbox: {level}")
    return "\t".join(parts) + "\t"

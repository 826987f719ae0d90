"""Gather the policies that a shard's records are handled under."""

from __future__ import annotations

from dataclasses import dataclass, field

from triggerhub.model import Millis
from triggerhub.settings import MB, RetryPolicy

PAYLOAD_LIMIT = 6 * MB
"""What one call may carry: Lambda's synchronous limit."""
STATE_LIMIT = MB
"""The largest state of a tumbling window: Lambda's limit for a shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A trigger's policies, as a stream's shards obey them."""

    size: int = 100
    """At most so many records in one call …"""
    window: Millis = 0
    """… for which the first of them may wait so long …"""
    bytes: int = PAYLOAD_LIMIT
    """… and which have at most so many bytes; the first is taken whatever its size."""
    parallel: int = 1
    """Calls that a shard may have under way; records of one partition key are in order all the same."""
    bisect: bool = False
    """Halve a batch that failed, instead of counting an attempt."""
    partial: bool = False
    """The function's answer names the records that failed."""
    tumbling: Millis = 0
    """The length of a tumbling window; 0 is none."""
    max_age: Millis | None = None
    """A record that arrived longer ago is given up; None is no limit."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)

"""Decide which of a shard's first records are wanted, where reading is to begin at a moment."""

from __future__ import annotations

from triggerhub.model import Millis
from triggerhub.policy.streaming.step import Record


class Beginning:
    """Passes over what arrived before a moment, until the first record that did not."""

    def __init__(self, since: Millis | None, *, latest: bool = False) -> None:
        """*latest* says that the service itself begins at the shard's end, so that every record is wanted."""
        self.since = since
        self.over = latest or since is None

    def anew(self) -> None:
        """Say that reading begins at the moment after all, for the service's own beginning was lost."""
        self.over = self.since is None

    def wants(self, record: Record) -> bool:
        """Whether a record is wanted; they come in the order of the shard."""
        if not self.over:
            assert self.since is not None, "it is over without a moment"
            self.over = record.arrived >= self.since
        return self.over

"""Name every error that a user may read; each says what to do about it."""

from __future__ import annotations

import errno

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT)


class TriggerhubError(Exception):
    """An error meant for a person: one sentence, and a hint that names the remedy."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(TriggerhubError):
    """What a caller sent cannot be used: HTTP 400, exit code 2."""


class NotFound(TriggerhubError):
    """There is no such function, trigger, delivery or event: HTTP 404, exit code 1."""


class Conflict(TriggerhubError):
    """The thing is not in a state that allows this: HTTP 409, exit code 1."""


class ConfigError(TriggerhubError):
    """The project cannot be run as it is configured: exit code 3."""


class HubUnreachable(TriggerhubError):
    """No hub answers where one was expected: exit code 4."""


class HubLocked(ConfigError):
    """Another hub already runs on this data folder: exit code 3."""


class BacklogFull(TriggerhubError):
    """A trigger has as many queued deliveries as its ``backlog`` allows: HTTP 429."""

    def __init__(self, trigger: str, backlog: int, *, retry_after: int = 1) -> None:
        super().__init__(
            f"trigger {trigger!r} has {backlog} queued deliveries, its backlog's limit",
            hint=f"Wait for the queue to drain, or raise triggers.{trigger}.backlog.",
        )
        self.retry_after = retry_after


class StoreFull(TriggerhubError):
    """The disk has no room for another event; what was accepted goes on settling: HTTP 507."""


class StoreBroken(TriggerhubError):
    """A sync failed, the disk reported an I/O error, or the database is corrupt: the hub must stop."""


class SourceFailed(TriggerhubError):
    """A hook of a source's module raised, or returned what it must not.

    ``bare`` leaves out the words of what it raised, which may hold a secret.
    """

    def __init__(self, source: str, hook: str, what: str, words: str = "", *, place: str = "") -> None:
        place = place and f" ({place})"
        self.bare = f"the source {source} failed in {hook}: {what}{place}"
        super().__init__(f"the source {source} failed in {hook}: {what}{words and f': {words}'}{place}")


class StartFailed(TriggerhubError):
    """A worker could not be started; ``type`` and ``payload`` are the function error the caller sees.

    *scarce*: the host had no room for it, or cannot isolate it, which is not the function's fault and may pass; nor is
    *severed*: what makes the sandboxes ended meanwhile.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - AWS's word
        message: str,
        payload: bytes,
        *,
        scarce: bool = False,
        severed: bool = False,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.payload = payload
        self.scarce = scarce
        self.severed = severed


def scarce(error: Exception) -> bool:
    """Whether the host has no room for another process: descriptors, memory, processes, disk."""
    return isinstance(error, OSError) and error.errno in _SCARCE

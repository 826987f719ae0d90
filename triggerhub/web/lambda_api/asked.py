"""Hold one request of the Lambda API as the operations see it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from triggerhub.model import Json
from triggerhub.source import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client asked for; *given* has the members of the operation's input, by name."""

    operation: str
    given: Mapping[str, Json]
    host: str = ""
    """By which name or address the client called the hub."""
    link: Callable[[str], str] = str
    """Makes the address where the client can fetch an archive for a while."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer that is not of the model's form: that of a call."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """What the client is told of its request: the id of the call, where it is one."""
    parts: Parts | None = None
    """What follows the body as it comes."""


Perform: TypeAlias = Callable[[Asked], Awaitable[Mapping[str, Json] | Answer]]
"""Carries an operation out; returns the members of its output. Raises ApiError, TriggerhubError."""

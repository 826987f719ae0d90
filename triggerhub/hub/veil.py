"""Keep the secrets of the configuration out of what people are shown; nothing that is run or sent goes by here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from triggerhub.model import Delivery
from triggerhub.policy.masking import Mask, mask, secrets_in
from triggerhub.policy.searching import tells
from triggerhub.settings import Project, Secret
from triggerhub.store import Query, Store

REMEMBERED = 1000
"""Secrets of earlier configurations that are masked still: what was logged under them is there, and it may be valid."""


class Veil:
    """The mask for the configuration in force, made once for each."""

    def __init__(self, project: Callable[[], Project]) -> None:
        self._project = project
        self._made_for: Project | None = None
        self._secrets: dict[Secret, None] = {}
        self._mask: Mask | None = None

    @property
    def mask(self) -> Mask | None:
        """What puts dots for secrets; None where there are none."""
        project = self._project()
        if project is not self._made_for:
            found = dict.fromkeys(secrets_in((project.functions, project.triggers, project.console, project.alarms)))
            earlier = [secret for secret in self._secrets if secret not in found]
            kept = earlier[-max(REMEMBERED - len(found), 0) :] if len(found) < REMEMBERED else []
            self._secrets = dict.fromkeys([*kept, *found])
            self._mask = mask(self._secrets)
            self._made_for = project
        return self._mask

    def text(self, text: str) -> str:
        """Return *text* with dots for secrets."""
        mask = self.mask
        return text if mask is None else mask(text)

    def payload(self, data: bytes) -> bytes:
        """Return *data* with dots for secrets, every other byte as it was."""
        mask = self.mask
        return data if mask is None else mask.payload(data)


async def unveiled(store: Store, query: Query, veil: Veil) -> list[Delivery]:
    """Return a page of the store of those deliveries whose error is found as it is shown.

    A search that found what lies behind dots would tell it, a guess at a time.
    """
    part = query.error
    found: list[Delivery] = []
    while True:
        rows = await store.page(query)
        if part is None or veil.mask is None:
            return rows
        found += [row for row in rows if row.error and tells(f"{row.error.type}: {veil.text(row.error.message)}", part)]
        if len(found) >= query.limit or len(rows) < query.limit:
            return found[: query.limit]
        query = replace(query, before=rows[-1].id)

"""Keep the secrets of the configuration out of what people are shown; nothing that is run or sent goes by here."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from triggerhub.errors import BadInput
from triggerhub.model import Delivery, Fault
from triggerhub.policy.grouping import Group, fingerprint, shown
from triggerhub.policy.masking import DOTS, Mask, mask, secrets_in
from triggerhub.policy.searching import tells
from triggerhub.settings import Project, Secret
from triggerhub.store import Detail, Query, Store

Read = TypeVar("Read", bound=tuple[Project | None, Any, Any])
REMEMBERED = 1000
"""Secrets of earlier configurations that are masked still: what was logged under them is there, and it may be valid."""

KEYLESS = "keys are taken from events, and you may not see what those carry"


class Veil:
    """The mask for the configuration in force, made once for each."""

    def __init__(self, project: Callable[[], Project]) -> None:
        self._project = project
        self._made_for: Project | None = None
        self._secrets: dict[Secret, None] = {}
        self._mask: Mask | None = None
        self._ahead: tuple[dict[Secret, None], Mask | None] | None = None
        self._key = secrets.token_bytes(32)

    @property
    def mask(self) -> Mask | None:
        """What puts dots for secrets; None where there are none."""
        project = self._project()
        if project is not self._made_for:
            known, ahead = self._known(project), self._ahead
            if ahead is not None and known.keys() <= ahead[0].keys():
                known, self._mask = ahead
            elif known.keys() != self._secrets.keys():
                self._mask = mask(known)
            self._secrets, self._made_for, self._ahead = known, project, None
        return self._mask

    def ahead(self, read: Callable[[], Read]) -> Callable[[], Read]:
        """Return *read*, to be called in a thread, with the mask for the project that it returns first made there.

        A long secret takes a tenth of a second, for which no event shall wait once it is in force.
        """

        def reading() -> Read:
            found = read()
            if found[0] is not None:
                known = self._known(found[0])
                if known.keys() != self._secrets.keys():
                    self._ahead = known, mask(known)
            return found

        return reading

    def _known(self, project: Project) -> dict[Secret, None]:
        """Return the secrets of a project after those of earlier ones."""
        found = dict.fromkeys(secrets_in((project.functions, project.triggers, project.console, project.alarms)))
        earlier = [secret for secret in self._secrets if secret not in found]
        kept = earlier[-max(REMEMBERED - len(found), 0) :] if len(found) < REMEMBERED else []
        return dict.fromkeys([*kept, *found])

    def line(self, text: str) -> str:
        """Return a line of output with dots for secrets, also those that go on in other lines."""
        mask = self.mask
        return text if mask is None else mask.line(text)

    def text(self, text: str) -> str:
        """Return *text* with dots for secrets."""
        mask = self.mask
        return text if mask is None else mask(text)

    def payload(self, data: bytes) -> bytes:
        """Return *data* with dots for secrets, every other byte as it was."""
        mask = self.mask
        return data if mask is None else mask.payload(data)

    # For whoever may not see what events carry: a handler's words quote them.

    def cause(self, kind: str, message: str) -> str:
        """Return what stands for an error's message: the same for all of one cause, as long as the hub runs.

        No guess at the message can be tried out on it: its key is the hub's.
        """
        mark = fingerprint(self.text(kind), self.text(message)).encode("utf-8", "surrogatepass")
        return f"{DOTS} {hmac.digest(self._key, mark, 'sha256').hex()[:12]}"

    def fault(self, fault: Fault | None, *, told: bool) -> Fault | None:
        """Return an error as it is shown to one who is told what events carry, or is not."""
        if fault is None:
            return None
        message = self.text(fault.message) if told else self.cause(fault.type, fault.message)
        return Fault(type=self.text(fault.type), message=message)

    def delivery(self, row: Delivery) -> Delivery:
        """Return a delivery without its error's words, and without the keys that were taken from its event."""
        return replace(
            row,
            error=self.fault(row.error, told=False),
            dedup_key=row.dedup_key and DOTS,
            ordering_key=row.ordering_key and DOTS,
        )

    def detail(self, found: Detail) -> Detail:
        """Return what is known of a delivery, without anything that its event, its answers and its errors say."""
        event = replace(
            found.event,
            data=b"null",
            dedup_key=found.event.dedup_key and DOTS,
            ordering_key=found.event.ordering_key and DOTS,
        )
        attempts = [replace(one, payload=None, error=self.fault(one.error, told=False)) for one in found.attempts]
        return replace(found, delivery=self.delivery(found.delivery), event=event, attempts=attempts)

    def group(self, one: Group, *, told: bool) -> Group:
        """Return a group of dead letters as it is shown."""
        one = shown(one, self.text)
        if told or not one.sample:
            return one
        kind, _, message = one.sample.partition(": ")
        text = f"{kind}: {self.cause(kind, message)}"
        return replace(one, sample=text, fingerprint=text)


async def unveiled(store: Store, query: Query, veil: Veil, *, told: bool) -> list[Delivery]:
    """Return a page of the store of those deliveries whose error is found as it is shown, see :meth:`Veil.fault`.

    A search that found what lies behind dots would tell it, a guess at a time; so would one that took longer for it,
    and for one who is not *told* what events carry no message is looked at. BadInput where he searches for a key.
    """
    if query.key is not None and not told:
        raise BadInput(KEYLESS)
    part, query = query.error, replace(query, typed=not told)
    found: list[Delivery] = []
    while True:
        rows = await store.page(query)
        if part is None or (told and veil.mask is None):
            return rows
        errors = ((row, veil.fault(row.error, told=told)) for row in rows)
        found += [row for row, error in errors if error and tells(error, part, typed=query.typed)]
        if len(found) >= query.limit or len(rows) < query.limit:
            return found[: query.limit]
        query = replace(query, before=rows[-1].id)

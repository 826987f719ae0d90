"""Notice a trigger whose ``key`` or ``order`` finds nothing in its records: a wrong JSONPath looks like that."""

from __future__ import annotations

import structlog

from triggerhub.model import Event
from triggerhub.settings import Trigger
from triggerhub.telemetry.metrics import Metrics

log = structlog.get_logger("intake")

SUSPECT = 10
"""Events from the first on in which a path found nothing: then it is told, once."""
_FOUND = -1


class Keyless:
    """Counts the events without a key; a record may lack one, but not every record."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._missed: dict[tuple[str, str, str], int] = {}
        """By trigger, setting and path: in how many events nothing was found, or that something was."""

    def look(self, trigger: Trigger, event: Event) -> None:
        """Look at an event that was admitted."""
        for setting, path, found in (
            ("key", trigger.key, event.dedup_key),
            ("order", trigger.order, event.ordering_key),
        ):
            if path is not None:
                self._note(trigger.name, setting, path, found is not None)

    def _note(self, trigger: str, setting: str, path: str, found: bool) -> None:
        place = (trigger, setting, path)
        if found:
            self._missed[place] = _FOUND
            return
        self._metrics.count("keyless", trigger)
        missed = self._missed.get(place, 0)
        if missed != _FOUND:
            self._missed[place] = missed + 1
            if missed + 1 == SUSPECT:
                log.warning(
                    f"triggers.{trigger}.{setting} has found nothing in the first {SUSPECT} events, which have no key",
                    path=path,
                    remedy="compare it with an event as the handler sees it, which `triggerhub deliveries show` shows",
                )

"""A key that nothing has is told once; one that some records lack is only counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.hub.rig import echoing, rig, trigger
from triggerhub.hub.keyless import SUSPECT


@pytest.mark.parametrize(
    ("settings", "first", "told"),
    [
        pytest.param({"key": "$.idd"}, {"id": 1}, ["triggers.hand.key"], id="never"),
        pytest.param({"order": "$.idd"}, {"id": 1}, ["triggers.hand.order"], id="an order, never"),
        pytest.param({"key": "$.idd"}, {"idd": 1}, [], id="once"),
        pytest.param({}, {"id": 1}, [], id="no key wanted"),
    ],
)
async def test_a_path_that_finds_nothing_is_told_once(tmp_path: Path, settings: dict, first: dict, told: list) -> None:
    async with rig(tmp_path, {"work": echoing}, triggers=[trigger(**settings)]) as r:
        with capture_logs() as logs:
            await r.emit("hand", first)
            for number in range(2 * SUSPECT):
                await r.emit("hand", {"id": number})
        page = (await r.hub.metrics()).decode()
    found = [one["event"] for one in logs if "has found nothing" in one["event"]]
    assert [one.split()[0] for one in found] == told
    missed = 2 * SUSPECT + ("idd" not in first) if settings else 0
    assert ('triggerhub_events_without_key_total{trigger="hand"} ' + f"{missed}.0" in page) == bool(settings)

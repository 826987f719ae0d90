"""What one call leaves to the next is what its function's ``reuse`` says, and changes when that does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.daemon import daemon, until
from tests.e2e.toml import queue

COUNT = """
import os

loaded, calls = os.urandom(8).hex(), 0

def handler(event, context):
    global calls
    calls += 1
    return [loaded, calls]
"""
TOML = '[functions.count]\nreuse = "{}"\nconcurrency = 1\n' + queue("events", "count")


def test_reuse_is_what_the_next_call_meets(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML.format("fork"), {"count.py": COUNT}) as hub:

        def called() -> tuple[set[str], list[int]]:
            answers = [hub.api("POST", "/api/v1/functions/count/invoke", b"{}") for _ in range(3)]
            return {loaded for loaded, _ in answers}, [calls for _, calls in answers]

        def changed(reuse: str) -> None:
            hub.write(TOML.format(reuse))
            until(lambda: shown() == reuse, "the hub has taken the change over")

        def shown() -> str:
            found: str = json.loads(hub.cli("functions", "show", "count", "--json", check=True).stdout)["reuse"]
            return found

        loaded, calls = called()
        assert (len(loaded), calls) == (1, [1, 1, 1])
        assert ", reuse fork" in hub.cli("functions", "show", "count", check=True).stdout
        for _ in range(20):
            hub.api("POST", "/api/v1/triggers/events/send", b"{}")
        assert hub.settled()["succeeded"] == 20
        changed("fresh")
        loaded, calls = called()
        assert (len(loaded), calls) == (3, [1, 1, 1])
        changed("warm")
        loaded, calls = called()
        assert (len(loaded), calls) == (1, [1, 2, 3])

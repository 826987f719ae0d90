"""What a delivery's page gives to be pasted into a terminal works there, wherever that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import GUARD
from tests.web.console.conftest import SECRETS, Site
from tests.web.console.test_pages import tags

HERE = Path(__file__).parents[3]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that is no project, with the program beside it on the way to commands."""
    program = tmp_path / "bin" / "triggerhub"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m triggerhub "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "else where"
    folder.mkdir()
    return folder


def typed(command: str, folder: Path) -> str:
    path = f"{folder.parent / 'bin'}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(HERE)}
    ran = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=GUARD, check=False
    )
    assert ran.returncode == 0, (command, ran.stderr)
    return ran.stdout


def commands(site: Site, delivery: str) -> dict[str, str]:
    """By their verbs, those of a delivery's page."""
    found = [
        given["data-copy"] or "" for _, given in tags(site.get(f"/deliveries/{delivery}").text) if "data-copy" in given
    ]
    folder = str(site.hub.project)
    return {
        one.split(f" -C {folder} ")[1].split(f" {delivery}")[0]: one
        for one in found
        if one.startswith(f"triggerhub -C {folder} ")
    }


def order(site: Site, **body: object) -> str:
    status, answer = site.hub.post("/orders", json.dumps({"total": 1, "customer": "c", **body}).encode())
    assert status == 202, answer
    site.settled()
    return json.loads(answer)["deliveries"][0]


def test_each_is_of_the_project_s_folder_and_one_calls_with_the_event(site: Site, elsewhere: Path) -> None:
    delivery = order(site, id="it's $(here)", note=None)
    given = commands(site, delivery)
    event = site.hub.api("GET", f"/api/v1/deliveries/{delivery}")["event_id"]
    assert delivery in typed(given["deliveries show"], elsewhere)
    assert "shipping it's $(here)" in typed(given["logs --delivery"], elsewhere)
    assert typed(given[f"explain {event}"], elsewhere).startswith(f"event {event}\n")
    typed(given["deliveries redeliver"], elsewhere)
    (call,) = [one for one in given.values() if " invoke ship -d " in one]
    assert json.loads(typed(call, elsewhere)) == {"shipped": "it's $(here)"}


def test_a_large_event_is_downloaded_before(site: Site, elsewhere: Path) -> None:
    delivery = order(site, id="large", more="x" * 5000)
    (call,) = [one for one in commands(site, delivery).values() if " invoke ship -d " in one]
    assert call.endswith(f" -d @payload-{delivery}.json")
    links = [given for name, given in tags(site.get(f"/deliveries/{delivery}").text) if name == "a"]
    (link,) = [given for given in links if (given.get("download") or "").startswith("payload-")]
    elsewhere.joinpath(str(link["download"])).write_bytes(site.get(str(link["href"])).body)
    assert json.loads(typed(call, elsewhere)) == {"shipped": "large"}


def test_an_event_with_a_secret_is_in_no_command(site: Site) -> None:
    (secret,) = SECRETS.values()
    given = commands(site, order(site, id="secretive", customer=secret))
    assert "deliveries show" in given
    assert not [one for one in given.values() if " invoke " in one]
    assert secret not in str(given)

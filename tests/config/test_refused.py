"""What is not in this version is refused by name; the list may only shrink."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config.load import load
from triggerhub.config.refused import REFUSED

Check = Callable[..., list[str]]

TRIGGER = '[triggers.t]\nfunction = "echo"\n'
SETTINGS = {
    "hub.store": '[hub]\nstore = "postgres://hub@db/triggerhub"\n',
    "respond stream": TRIGGER + 'type = "webhook"\npath = "/x"\nauth = "none"\nrespond = "stream"\n',
}
"""One example for each that is written in triggerhub.toml."""


def test_the_list_is_exactly_this() -> None:
    assert [refused.name for refused in REFUSED] == [*SETTINGS]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_refused_once_by_its_name(check: Check, name: str) -> None:
    says = next(refused.says for refused in REFUSED if refused.name == name)
    (line,) = check(SETTINGS[name])
    assert re.match(r"triggerhub\.toml:\d+:\d+: error\[not-available\]: ", line)
    assert f": {says}" in line


@pytest.mark.parametrize(
    "toml",
    [
        '[functions.echo]\nsandbox = { level = "trusted", network = true }\n',
        '[defaults]\nsandbox = { network = ["api.example:443", "10.0.0.0/8:5432", "*.s3.example:443"] }\n',
        '[defaults]\ntmp = "1GB"\nsandbox = { level = "isolated", network = false, read = ["/usr/share"], write = ["/srv"] }\n',
        '[functions.echo]\nruntime = "python"\n',
        '[hub]\nadmin = "127.0.0.9:8701"\n',
        '[hub]\nadmin = "[::1]:8701"\n',
        '[hub]\nadmin = "localhost:8701"\n',
        TRIGGER + 'type = "say"\nword = "x"\nack = "stored"\n',
    ],
)
def test_what_there_is_is_not_refused(check: Check, toml: str) -> None:
    assert check(toml) == []


def test_a_wrong_type_is_not_called_unavailable(check: Check) -> None:
    (line,) = check('[defaults]\nsandbox = { network = "yes" }\n')
    assert (
        line
        == 'triggerhub.toml:2:23: error[wrong-type]: defaults.sandbox.network: expected true or false or "host" or a list like ["…"], got "yes"'
    )


def test_the_example_shows_only_what_is_to_come_and_what_it_leaves_to_its_reader(tmp_path: Path) -> None:
    example = (Path(__file__).parent / "example.toml").read_text()
    (tmp_path / "triggerhub.toml").write_text(example)
    problems = load(tmp_path, environ={}).problems
    told = [(problem.line, problem.code) for problem in problems]
    assert told == [
        (19, "no-handler"),  # thumbnail.py
        (23, "bad-secret"),  # THUMB_API_TOKEN
        (26, "no-handler"),  # orders/ship.py
        (29, "unconsumed-queue"),  # shipped
        (30, "unknown-function"),  # tell-ops
        (34, "no-handler"),  # notify.mjs
        (71, "bad-secret"),  # GITHUB_WEBHOOK_SECRET
        (80, "unknown-function"),  # tell-ops
        (83, "bad-secret"),  # CONSOLE_ADMIN_HASH
    ]

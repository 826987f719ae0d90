"""The configuration in force, told as it would be written."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from triggerhub.config.load import load
from triggerhub.config.schema import NAMED, TABLES
from triggerhub.settings import Project
from triggerhub.web.console import effective

TOML = """\
[hub]
listen = "[::1]:8700"
keep = "1h30m"
log = { level = "debug" }

[defaults]
tmp = "64MB"
layers = ["layer"]

[console]
hosts = ["hub.example"]
[console.auth]
type = "password"
users.anna = { secret = "WORD" }
users.olga = { password = { secret = "WORD" }, role = "viewer" }

[functions.ship]
handler = "ship.py:handle"
rate = "10/s"
dead_letters = { keep = "2d" }
sandbox = { network = ["mail.example:25"], read = ["/etc/hostname"] }
env = { KEY = { secret = "WORD" }, NAME = "a \\"b\\"" }
on_failure = ["function:mail"]
[functions.ship.retry]
jitter = true
max = "2h"

[functions.mail]
command = ["cat",
  "-"]

[triggers.one]
type = "webhook"
path = "/one"
auth = { type = "bearer", secret = { secret = "WORD" } }
limit = { rate = "5/m" }
function = "ship"
retry.attempts = 7
input = { n = [1, true] }

[triggers.two]
type = "kinesis"
stream = "s"
start = 2026-01-31T12:00:00Z
region = "eu-west-1"
ack = "stored"
functions = ["ship", "mail"]
filter.data.kind = [{ numeric = [">", 0] }]

[triggers.three]
type = "cron"
schedule = "* * * * * *"
seconds_first = true
jitter = "5s"
function = "mail"

[alarms.bad]
when = "errors(ship) > 5 in 10m"
hold = "1m"
then = ["function:mail"]
"""
HANDLER = """\
# /// script
# [tool.triggerhub]
# timeout = "7s"
# ///
def handle(event, context):
    pass
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    (folder / "handlers").mkdir()
    (folder / "layer").mkdir()
    (folder / "layer" / "x").write_text("")
    (folder / "handlers" / "ship.py").write_text(HANDLER)
    (folder / "triggerhub.toml").write_text(TOML)
    word = f"scrypt$n=16384,r=8,p=1${'A' * 22}==${'B' * 43}="
    loaded = load(folder, environ={"WORD": word, "PATH": "/usr/bin:/bin"})
    assert loaded.project is not None, [one.message for one in loaded.problems]
    return loaded.project


def line(text: str) -> str:
    (found,) = (at for at, one in enumerate(TOML.split("\n"), 1) if one.startswith(text))
    return f"triggerhub.toml:{found}"


WRITTEN = [
    ("hub", "listen", '"[::1]:8700"', "listen"),
    ("hub", "keep", '"90m"', "keep"),
    ("hub", "log.level", '"debug"', "log"),
    ("hub", "log.format", '"auto"', None),
    ("hub", "data", '"var"', None),
    ("console", "hosts", '["hub.example"]', "hosts"),
    ("console", "auth.type", '"password"', 'type = "password"'),
    ("console", "auth.users.anna.password", "•••", "users.anna"),
    ("console", "auth.users.olga.role", '"viewer"', "users.olga"),
    ("console", "auth.users.olga.payloads", "true", None),
    ("functions.ship", "handler", '"ship.py:handle"', "handler"),
    ("functions.ship", "layers", '["layer"]', "layers"),
    ("functions.ship", "tmp", '"64MB"', "tmp"),
    ("functions.ship", "timeout", '"7s"', "handlers/ship.py"),
    ("functions.ship", "memory", '"256MB"', None),
    ("functions.ship", "rate", '"10/s"', "rate"),
    ("functions.ship", "dead_letters.keep", '"2d"', "dead_letters"),
    ("functions.ship", "sandbox.network", '["mail.example:25"]', "sandbox"),
    ("functions.ship", "sandbox.read", '["/etc/hostname"]', "sandbox"),
    ("functions.ship", "sandbox.level", '"isolated"', None),
    ("functions.ship", "env.KEY", "•••", "env"),
    ("functions.ship", "env.NAME", '"a \\"b\\""', "env"),
    ("functions.ship", "on_failure", '["function:mail"]', "on_failure"),
    ("functions.ship", "retry.jitter", "true", "jitter = true"),
    ("functions.ship", "retry.max", '"2h"', 'max = "2h"'),
    ("functions.ship", "retry.attempts", "3", None),
    ("functions.mail", "command", '["cat", "-"]', "command"),
    ("functions.mail", "tmp", '"64MB"', "tmp"),
    ("triggers.one", "function", '"ship"', 'function = "ship"'),
    ("triggers.one", "auth.type", '"bearer"', "auth = "),
    ("triggers.one", "auth.secret", "•••", "auth = "),
    ("triggers.one", "limit.rate", '"5/m"', "limit"),
    ("triggers.one", "limit.body", '"6MB"', None),
    ("triggers.one", "methods", '["POST"]', None),
    ("triggers.one", "retry.attempts", "7", "retry.attempts"),
    ("triggers.one", "input", "{ n = [1, true] }", "input"),
    ("triggers.two", "functions", '["ship", "mail"]', "functions"),
    ("triggers.two", "start", '"2026-01-31T12:00:00Z"', "start"),
    ("triggers.two", "region", '"eu-west-1"', "region"),
    ("triggers.two", "filter", '{ data = { kind = [{ numeric = [">", 0] }] } }', "filter"),
    ("triggers.three", "seconds_first", "true", "seconds_first"),
    ("triggers.three", "jitter", '"5s"', "jitter = \"5s\""),
    ("triggers.three", "batch.window", '"0ms"', None),
    ("alarms.bad", "when", '"errors(ship) > 5 in 10m"', "when"),
    ("alarms.bad", "hold", '"1m"', "hold"),
    ("alarms.bad", "then", '["function:mail"]', "then"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "key", "value", "place"), WRITTEN)
def test_a_value_is_told_as_it_is_written_with_its_place(
    table: str, key: str, value: str, place: str | None, project: Project
) -> None:
    rows = {name: (told, at) for name, told, at in dict(effective.tables(project))[table]}
    at = place if place is None or place.startswith("handlers/") else line(place)
    assert rows[key] == (value, at)


def test_whatever_is_told_is_toml_of_keys_that_there_are(project: Project) -> None:
    assert [name for name, _ in effective.tables(project)][:2] == ["hub", "console"]
    for table, rows in effective.tables(project):
        top, _, name = table.partition(".")
        known = set({**TABLES, **NAMED}[top].model_fields)
        if top == "triggers":
            known |= set(type(project.triggers[name].options).model_fields)  # type: ignore[attr-defined]
        assert len({key for key, _, _ in rows}) == len(rows)
        for key, value, _ in rows:
            assert key.split(".")[0] in known, key
            assert value == "•••" or tomllib.loads(f"{key} = {value}"), value


def test_a_path_within_the_project_is_told_from_there_on() -> None:
    assert effective.toml(Path("/p/var"), Path("/p")) == '"var"'
    assert effective.toml(Path("/q/var"), Path("/p")) == '"/q/var"'

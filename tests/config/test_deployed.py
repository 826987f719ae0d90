"""A configuration speaks of functions that were made through the Lambda API, by the names that the hub wrote down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.config.conftest import Check, Make
from triggerhub.config import deployed
from triggerhub.config.load import load
from triggerhub.settings import DAY, DEPLOYED_NAMES, MINUTE

TOML = """
[defaults]
retry = { attempts = 7, initial = "2s" }

[functions.echo]
on_success = ["function:made:2"]

[triggers.a]
type = "say"
word = "x"
functions = ["echo", "made"]
retry = { max = "1m" }
on_failure = ["function:other"]

[alarms.b]
when = "errors(made) > 5 in 10m"
then = ["function:made"]
"""


def named(project: Path, *names: str) -> None:
    deployed.write(project / "var", names, sync=True)


def test_what_was_made_by_the_api_may_be_named_wherever_a_function_may(make: Make) -> None:
    project = make(TOML)
    named(project, "made", "made:2", "other")
    loaded = load(project, environ={})
    assert loaded.problems == ()
    assert loaded.project is not None
    trigger = loaded.project.triggers["a"]
    assert trigger.functions == ("echo", "made")
    policy = trigger.retry["made"]
    assert (policy.attempts, policy.initial, policy.max) == (7, 2000, MINUTE), "the trigger's retry over [defaults]"
    assert list(loaded.project.functions) == ["echo"]


@pytest.mark.parametrize("text", [None, "", "{", "7", '["another", 5]', "[" * 100_000])
def test_what_was_not_made_may_not(make: Make, check: Check, text: str | None) -> None:
    project = make(TOML)
    if text is not None:
        (project / "var" / DEPLOYED_NAMES).parent.mkdir(parents=True)
        (project / "var" / DEPLOYED_NAMES).write_text(text)
    told = [str(problem) for problem in load(project, environ={}).problems]
    assert [line.partition("]: ")[2].partition(":")[0] for line in told] == [
        "functions.echo.on_success[0]", "triggers.a.functions[1]", "triggers.a.on_failure[0]", "alarms.b.when",
        "alarms.b.then[0]",
    ]  # fmt: skip


def test_a_table_of_such_a_function_says_who_sets_it(make: Make) -> None:
    project = make("[functions.made]\ntimeout = '5s'\nretry = { attempts = 9 }\n")
    named(project, "made")
    (problem,) = load(project, environ={}).problems
    assert str(problem).startswith(
        "triggerhub.toml:2:1: error[no-handler]: functions.made.timeout: that function was made"
    )
    assert "UpdateFunctionConfiguration or [defaults]; only retry and sandbox are set here" in str(problem)


def test_a_table_says_how_such_a_function_is_tried_again_over_aws_own_retries(make: Make) -> None:
    project = make("[functions.made]\nretry = { attempts = 9, max_age = '3d' }\n")
    named(project, "made", "made:2")
    loaded = load(project, environ={})
    assert (loaded.problems, loaded.project and loaded.project.retries) == (
        (), {"made": {"attempts": 9, "max_age": 3 * DAY}},
    )  # fmt: skip


def test_a_table_says_what_such_a_function_may_touch_over_the_defaults(make: Make) -> None:
    project = make(
        "[defaults]\nsandbox = { network = true, read = ['in'] }\n[functions.made]\nsandbox = { write = ['out'] }\n"
    )
    named(project, "made", "plain")
    (project / "in").mkdir()
    (project / "out").mkdir()
    loaded = load(project, environ={})
    assert (loaded.problems, loaded.project and loaded.project.sandboxes) == (
        (), {"made": {"network": True, "read": (project / "in",), "write": (project / "out",)}},
    )  # fmt: skip
    project = make("[functions.made]\nsandbox = { level = 'trusted', write = ['out'] }\n")
    named(project, "made")
    (problem,) = load(project, environ={}).problems
    assert 'functions.made.sandbox.write has no effect at the level "trusted"' in str(problem)


@pytest.mark.parametrize(
    ("retry", "told"),
    [
        ("{ initial = '1h' }", "2:21: error[bad-retry]: functions.made.retry: initial is 1h, over max, which is 2m"),
        ("{ max = '1s' }", "2:17: error[bad-retry]: functions.made.retry: initial is 1m, over max, which is 1s"),
        ("{ attempts = 0 }", "2:22: error[bad-value]: functions.made.retry.attempts"),
    ],
)
def test_retries_that_cannot_be_are_told_where_they_stand(make: Make, retry: str, told: str) -> None:
    project = make(f"[functions.made]\nretry = {retry}\n")
    named(project, "made")
    (problem,) = load(project, environ={}).problems
    assert str(problem).startswith(f"triggerhub.toml:{told}")


def test_names_that_cannot_be_written_leave_those_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.write(tmp_path, ["one"], sync=False)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space"):
        deployed.write(tmp_path, ["one", "two"], sync=False)
    assert deployed.names(tmp_path) == {"one"}
    assert [path.name for path in (tmp_path / DEPLOYED_NAMES).parent.iterdir()] == ["names.json"]

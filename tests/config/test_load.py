"""Every problem of a project, with its place, its code and what to do."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from triggerhub import settings
from triggerhub.config import daemon, schema
from triggerhub.config.codes import CODES
from triggerhub.config.discover import discover
from triggerhub.config.load import Loaded, load, render
from triggerhub.config.problem import Problem, Report
from triggerhub.errors import ConfigError
from triggerhub.policy.variables import LONGEST
from triggerhub.settings import DAY, HOUR, KB, MB, MINUTE, Batch, Destination, Rate, RetryPolicy, Secret
from triggerhub.web import address

Check = Callable[..., list[str]]
SAY = '[triggers.t]\ntype = "say"\nword = "x"\n'
ECHO = 'function = "echo"\n'


MISTAKES = (Path(__file__).parent / "mistakes.txt").read_text().split("===\n")[1:]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.split("\n")[1])
def test_a_mistake_is_told_with_its_place_and_remedy(check: Check, mistake: str, tmp_path: Path) -> None:
    toml, _, wanted = mistake.partition("---\n")
    told = "\n".join(line.removeprefix("triggerhub.toml:") for line in check(toml))
    assert told == wanted.replace("{project}", str(tmp_path / "project")).rstrip("\n")


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(check: Check) -> None:
    lines = check(
        "[hub]\nx = 1\n[defaults]\ny = 1\n[functions.echo]\nz = 1\n[triggers.t]\nq = 1\n", {"echo.py": "", "a.txt": ""}
    )
    places = [re.match(r"[^:]*:(\d+)|.*", line)[1] for line in lines]  # type: ignore[index]
    assert places == ["2", "4", "6", "7", None], lines


def test_an_unknown_type_is_told_with_what_there_is_and_where_to_put_ones_own(check: Check, tmp_path: Path) -> None:
    first, second = check(
        '[triggers.t]\ntype = "sayy"\nfunction = "echo"\n[triggers.u]\ntype = "imap"\nfunction = "echo"\n'
    )
    assert re.fullmatch(
        r'triggerhub.toml:2:8: error\[unknown-type\]: triggers.t.type: no source named "sayy"; there is .*\bsay\b.*; '
        r'did you mean "say"\?',
        first,
    )
    assert second.endswith(f"; put imap.py into {tmp_path}/project/sources")


def test_more_functions_than_an_event_has_deliveries_are_refused(check: Check) -> None:
    names = [f"f{number}" for number in range(256)]
    toml = SAY + _many(names)
    assert check(toml, {f"{name}.py": "" for name in names}) == [
        "triggerhub.toml:4:13: error[bad-functions]: triggers.t.functions has 256, at most 255 are allowed"
    ]
    assert check(SAY + _many(names[:255]), {}) == []


def _many(names: list[str]) -> str:
    return "functions = [" + ", ".join(f'"{name}"' for name in names) + "]\n"


HOOK = 'type = "webhook"\nauth = "none"\nfunction = "echo"\n'


@pytest.mark.parametrize(
    ("second", "clashes"),
    [
        pytest.param('path = "/a/{y}"\n', True, id="the names of parts do not matter"),
        pytest.param('path = "/a/{x}"\nmethods = ["GET"]\n', False, id="other methods"),
        pytest.param('path = "/a/b"\n', False, id="a literal goes before a part"),
        pytest.param('path = "/a/{x}"\nenabled = false\n', False, id="not enabled"),
    ],
)
def test_two_webhooks_of_one_route_are_refused(check: Check, second: str, clashes: bool) -> None:
    lines = check(f'[triggers.one]\n{HOOK}path = "/a/{{x}}"\n[triggers.two]\n{HOOK}{second}')
    wanted = "triggerhub.toml:10:8: error[duplicate-route]: triggers.two.path: triggers.one already answers POST "
    assert [line.startswith(wanted) for line in lines] == [True] * clashes, lines


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    (problem,) = load(tmp_path, environ={}).problems
    assert (
        str(problem)
        == f"triggerhub.toml: error[no-project]: there is no triggerhub.toml in {tmp_path}; triggerhub init {tmp_path}"
    )


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        pytest.param(b"a = \xff\n", "triggerhub.toml:1:5: error[syntax]: the file is not UTF-8: byte 0xff", id="bytes"),
        pytest.param(b"#" * 2_000_000, "triggerhub.toml: error[too-large]: triggerhub.toml is over 1 MB, which is not a "
                     "configuration", id="size"),
        pytest.param(b"a." * 40 + b"b = 1\n", "triggerhub.toml:1:1: error[too-deep]: a key has more than 32 dotted parts; "
                     "write tables with headers instead", id="dots"),
        pytest.param(b"[hub\n", "triggerhub.toml:1:5: error[syntax]: expected ']' at the end of a table declaration",
                     id="syntax"),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_is_one_problem(make: Callable[..., Path], content: bytes, wanted: str) -> None:
    project = make("")
    (project / "triggerhub.toml").write_bytes(content)
    (problem,) = load(project, environ={}).problems
    assert str(problem) == wanted


@pytest.mark.parametrize("marks", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_mark_in_front_and_the_line_ends_of_windows_are_read_and_counted(
    make: Callable[..., Path], marks: bytes, end: bytes
) -> None:
    project = make("")
    (project / "triggerhub.toml").write_bytes(marks + b"[hub]" + end + b"node = 'a'" + end + b"x = 1" + end)
    (problem,) = load(project, environ={}).problems
    assert (problem.line, problem.column, problem.code) == (3, 1, "unknown-key")


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ("{a=", "}"), ("[{a=", "}]")], ids=["arrays", "tables", "both"]
)
def test_ten_thousand_levels_are_refused_at_their_place(check: Check, opening: str, closing: str) -> None:
    (line,) = check("x = " + opening * 10_000 + "1" + closing * 10_000)
    assert re.match(r"triggerhub\.toml:1:\d+: error\[too-deep\]: values are nested deeper than 64 levels", line)


def test_a_key_of_ten_thousand_brackets_is_refused(check: Check) -> None:
    (line,) = check(SAY + ECHO + f'key = "$[?{"(" * 10_000}@.a{")" * 10_000}]"\n')
    assert line.startswith("triggerhub.toml:5:7: error[bad-key]: triggers.t.key: ")
    assert len(line) < 200


@pytest.mark.parametrize("place", ["triggerhub.toml", "handlers/echo.py", "handlers", "sources/say.py"])
def test_links_that_lead_in_a_circle_are_told(make: Callable[..., Path], place: str) -> None:
    project = make(SAY + ECHO)
    shutil.rmtree(project / place) if place == "handlers" else (project / place).unlink()
    (project / place).symlink_to(project / place)
    result = load(project, environ={})
    assert result.project is None
    assert any(problem.severity == "error" for problem in result.problems)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be a user who may not write everywhere."""
    was = os.geteuid()
    "x".encode("idna")  # what an address needs: nobody may not be let into the folder that it is loaded from
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_program_that_cannot_be_read_is_told_so(nobody: None) -> None:
    with tempfile.TemporaryDirectory() as handlers:
        program = Path(handlers, "run")
        program.write_text("#!/bin/sh\n")
        program.chmod(0o300)
        (problem,) = discover(Path(handlers), "handlers").problems
    assert str(problem) == (
        "handlers/run: warning[ignored-file]: handlers/run cannot be read; it is ignored; "
        "let the hub's user read it: a copy of it is what runs"
    )


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024, reason="ports are for every user"
)
def test_a_port_that_is_not_for_every_user_is_told_with_what_to_do(nobody: None) -> None:
    said = "hub.listen: 127.0.0.1:81 cannot be listened on: Permission denied"
    with pytest.raises(ConfigError, match=said) as caught, address.held("hub.listen", "127.0.0.1", 81):
        pass
    assert caught.value.hint is not None
    assert "set [hub] listen to a higher one" in caught.value.hint


@pytest.mark.parametrize("data", ["var", "var/deeper"])
def test_a_data_folder_that_cannot_be_written_is_told_with_its_owner(data: str, nobody: None) -> None:
    with tempfile.TemporaryDirectory() as project:
        (Path(project) / "var").mkdir(mode=0o500)
        settings_ = settings.HubSettings(project=Path(project), handlers=Path(), data=Path(project, data))
        report = Report("triggerhub.toml")
        assert not daemon.writable(settings_, report)
        (problem,) = report.problems
        assert problem.code == "unreadable"
        assert f"{project}/var of the user {Path(project).owner()} may not be written" in problem.message
        report.problems.clear()
        (Path(project) / "var").chmod(0o700)
        assert daemon.writable(settings_, report)
        assert report.problems == []


def test_render_counts(check: Check) -> None:
    one = Problem(file="triggerhub.toml", line=31, column=1, code="unknown-key",
                  message='triggers.orders has no key "bacth"', hint='did you mean "batch"?')  # fmt: skip
    two = Problem(file="triggerhub.toml", line=44, column=12, severity="warning", code="cron-both-days",
                  message='"0 0 13 * 5" fires on every 13th and on every Friday')  # fmt: skip
    assert render([one, two]) == (
        'triggerhub.toml:31:1: error[unknown-key]: triggers.orders has no key "bacth"; did you mean "batch"?\n'
        'triggerhub.toml:44:12: warning[cron-both-days]: "0 0 13 * 5" fires on every 13th and on every Friday\n'
        "2 problems."
    )
    assert render([one]).endswith("\n1 problem.")
    assert render([two]).endswith("\n1 warning."), "with which the hub runs"
    assert render([]) == ""


def test_a_problem_knows_how_much_to_underline(loaded: Callable[..., Loaded]) -> None:
    (problem,) = loaded('[functions.echo]\ntimeout = "16m"\n').problems
    assert (problem.line, problem.column, problem.length) == (2, 11, 5)


def test_every_code_is_explained_and_in_use() -> None:
    root = Path(__file__).parents[2]
    own = "".join(file.read_text() for file in (root / "triggerhub" / "config").glob("*.py") if file.name != "codes.py")
    found = "".join(
        file.read_text()
        for top in ("sources", "triggerhub", "triggerhub/policy", "triggerhub/stream", "triggerhub/cli")
        for file in (root / top).glob("*.py")
    )
    used = set(re.findall(r'"([a-z]+(?:-[a-z]+)+|syntax|outside|loop|unreadable)"', own)) - {
        "utf-8-sig",
        "requires-python",
    }
    used |= set(re.findall(r'\bcode(?:=|": )"([a-z-]+)"', found))
    assert set(CODES) == used, set(CODES) ^ used


@pytest.mark.parametrize("header", ["", "[hub]\n", "[triggers.t]\ntype = 'queue'\nname = 'q'\nfunction = 'echo'\n"])
def test_a_flood_of_mistakes_is_counted_and_the_first_are_told(loaded: Callable[..., Loaded], header: str) -> None:
    problems = loaded(header + "".join(f"x{number} = 1\n" for number in range(5000))).problems
    assert [problem.code for problem in problems] == ["too-many", *["unknown-key"] * 200]
    assert "5000" in problems[0].message


FULL = """
[hub]
data = "state"
listen = "[::1]:0"
node = "here"
drain = "5s"
keep_size = "1GB"
log = { level = "debug" }
durability = "normal"

[defaults]
timeout = "10s"
env = { A = "1", B = "2" }
retry = { attempts = 5, initial = "2s" }
idempotency = { keep = "1h" }
dead_letters = { keep = "2d" }

[functions.echo]
memory = "1GB"
rate = "10/m"
env = { B = "3", C = { secret = "TOKEN" } }
retry = { initial = "3s" }
idempotency = { key = "$.id" }
on_success = ["function:other"]
sandbox = { level = "trusted", network = true }

[triggers.t]
type = "say"
word = "x"
tags = ["a", "b"]
functions = ["echo", "other"]
filter = { a = [1] }
key = "header:X-Id"
keep = "2h"
order = "$.customer"
batch = { size = 10, window = "1s" }
input = { report = "daily" }
retry = { max = "10s" }
on_failure = []
backlog = 5
maximum_concurrency = 2
"""


def test_a_variable_that_no_program_can_be_started_with_is_refused(make: Callable[..., Path]) -> None:
    """Also one that is said elsewhere; the longest of all is a variable, in bytes."""
    project = make('[functions.echo]\nenv = { A = { secret = "LONG" }, B = { secret = "LONGEST" } }\n', {"echo.py": ""})
    result = load(project, environ={"LONG": "é" * LONGEST, "LONGEST": "x" * LONGEST})
    (problem,) = result.problems
    assert str(problem) == (
        "triggerhub.toml:2:13: error[bad-value]: functions.echo.env.A: that is more than 127KB, with which no program "
        "can be started; let it read a file"
    )


def test_a_project_holds_what_was_written(make: Callable[..., Path]) -> None:
    project = make(FULL, {"echo.py": "", "other.py": ""})
    result = load(project, environ={"TOKEN": "hunter2"})
    assert [str(problem) for problem in result.problems] == []
    assert result.project is not None
    hub = result.project.hub
    assert (hub.project, hub.handlers, hub.data) == (project, project / "handlers", project / "state")
    assert (hub.listen, hub.admin, hub.node) == (("::1", 0), ("127.0.0.1", 8701), "here")
    assert (hub.drain, hub.keep_size, hub.log_level, hub.log_format) == (5000, 1024 * MB, "debug", "auto")

    echo, other = result.project.functions["echo"], result.project.functions["other"]
    assert (echo.timeout, echo.memory, echo.rate) == (10_000, 1024 * MB, Rate(count=10, per=MINUTE))
    assert echo.env == {"A": "1", "B": "3", "C": Secret("hunter2")}
    assert echo.retry == RetryPolicy(attempts=5, initial=3000)
    assert echo.idempotency is not None
    assert (echo.idempotency.key, echo.idempotency.keep, echo.dead_letters_keep) == ("$.id", HOUR, 2 * DAY)
    assert echo.on_success == (Destination(kind="function", target="other"),)
    assert (other.retry, other.idempotency, other.memory) == (RetryPolicy(attempts=5, initial=2000), None, 256 * MB)

    trigger = result.project.triggers["t"]
    assert (trigger.functions, trigger.key, trigger.keep) == (("echo", "other"), "header:X-Id", 2 * HOUR)
    assert (trigger.batch, trigger.input) == (Batch(size=10, window=1000), b'{"report":"daily"}')
    assert trigger.retry == {
        "echo": RetryPolicy(attempts=5, initial=3000, max=10_000),
        "other": RetryPolicy(attempts=5, initial=2000, max=10_000),
    }
    assert (trigger.on_failure, trigger.backlog, trigger.maximum_concurrency) == ((), 5, 2)
    assert trigger.options.tags == ("a", "b")  # type: ignore[attr-defined]
    assert set(result.sources) == {"say"}


def test_loading_twice_gives_equal_projects_and_the_same_modules(make: Callable[..., Path]) -> None:
    project = make(FULL, {"echo.py": "", "other.py": ""})
    first, second = (load(project, environ={"TOKEN": "x"}, versions=Path("versions")) for _ in range(2))
    assert first.project == second.project
    assert first.sources["say"] is second.sources["say"]


def test_checking_writes_nothing(make: Callable[..., Path]) -> None:
    project = make(FULL, {"echo.py": "", "other.py": ""})
    before = sorted(project.rglob("*"))
    assert load(project, environ={"TOKEN": "x"}).project is not None
    assert [path for path in sorted(project.rglob("*")) if path not in before] == []


def test_the_settings_of_a_table_default_to_those_of_the_hub() -> None:

    function = settings.Function(name="x", runtime="python")
    trigger = settings.Trigger(name="x", type="x", functions=(), options=None)
    hub = settings.HubSettings(project=Path(), handlers=Path(), data=Path())
    for written, running, names in (
        (schema.Defaults(), function, ("timeout", "memory", "concurrency", "rate", "idle")),
        (schema.Retry(), settings.RetryPolicy(), schema.Retry.model_fields),
        (schema.Batch(), settings.Batch(), schema.Batch.model_fields),
        (schema.Trigger(type="x"), trigger, ("enabled", "keep", "backlog", "maximum_concurrency", "filter", "input")),
        (schema.Hub(), hub, ("listen", "admin", "timezone", "drain", "keep", "keep_size", "durability")),
    ):
        for name in names:
            assert getattr(written, name) == getattr(running, name), name
    assert schema.DeadLetters().keep == function.dead_letters_keep
    assert schema.Idempotency().keep == settings.Idempotency(key="$").keep
    assert (schema.Log().level, schema.Log().format) == (hub.log_level, hub.log_format)


def test_the_environment_of_the_test_is_not_read(check: Check) -> None:
    os.environ["TRIGGERHUB_TEST_SECRET"] = "x"
    try:
        (line,) = check('[functions.echo]\nenv = { A = { secret = "TRIGGERHUB_TEST_SECRET" } }\n')
    finally:
        del os.environ["TRIGGERHUB_TEST_SECRET"]
    assert "bad-secret" in line


@pytest.mark.parametrize(
    "toml", ["[hub]\nlisten = [VALUES]\n", "[defaults]\ntimeout = [VALUES]\non_success = [VALUES]\n"]
)
def test_a_message_stays_short_whatever_the_value(loaded: Callable[..., Loaded], toml: str) -> None:
    problems = loaded(toml.replace("VALUES", "1," * 5000)).problems
    assert problems
    assert max(len(str(problem)) for problem in problems) < 700


def test_a_long_list_of_functions_is_refused_unread(check: Check) -> None:
    (line,) = check(SAY + _many(["echo"] * 100_000))
    assert "has 100000, at most 255 are allowed" in line


def test_ten_kilobytes_of_noise_are_a_problem_and_no_failure(make: Callable[..., Path]) -> None:
    project = make("")
    for noise in ("[", "a.", '"', "{", "=", "\0", "[[x]]\n", "é", "'''"):
        (project / "triggerhub.toml").write_text(noise * (10 * KB))
        result = load(project, environ={})
        assert result.project is None
        assert result.problems


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("", False),
        ("network = false", False),
        ("network = true", True),
        ('network = "host"', "host"),
        ("network = []", ()),
        ('network = ["B.example:443", "a.example:80", "b.example:443"]', ("b.example:443", "a.example:80")),
    ],
)
def test_what_a_function_may_reach(make: Callable[..., Path], written: str, network: object) -> None:
    result = load(make(f"[functions.echo]\nsandbox = {{ {written} }}\n", {"echo.py": ""}), environ={})
    assert [str(problem) for problem in result.problems] == []
    assert result.project is not None
    assert result.project.functions["echo"].network == network


def test_a_function_sees_what_its_triggers_speak_of(tmp_path: Path) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "f.py").write_text("def handler(event, context): ...\n")
    (tmp_path / "inbox").mkdir()
    written = '[triggers.{0}]\ntype = "files"\npath = "{1}"\nexclude = ["var/**"]\nfunction = "f"\n'
    (tmp_path / "triggerhub.toml").write_text(written.format("a", "inbox") + written.format("b", "."))
    loaded = load(tmp_path, environ={})
    assert loaded.project is not None, loaded.problems
    function = loaded.project.functions["f"]
    assert function.shown == (tmp_path, tmp_path / "inbox")


def test_a_url_has_the_secrets_that_it_names_and_shows_none(
    loaded: Callable[..., Loaded],
) -> None:
    url = "https://hooks.example/{secret:HOOK}?t={secret:KEY}"
    toml = f'[alarms.a]\nwhen = "errors(echo) > 0 in 1m"\nthen = ["webhook:{url}"]\n'
    result = loaded(toml, environ={"HOOK": "T0/hush", "KEY": "hush"})
    assert result.project is not None, result.problems
    (one,) = result.project.alarms["a"].then
    assert one.secrets == (("HOOK", Secret("T0/hush")), ("KEY", Secret("hush")))
    assert str(one) == f"webhook:{url}"
    assert "hush" not in repr(result.project)

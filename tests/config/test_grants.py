"""What a sandbox shows is where the configuration had it, and nothing by which a handler gets out of it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config import deployed
from triggerhub.config.grants import follow, loose
from triggerhub.config.load import Loaded, load

Load = Callable[..., Loaded]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "handlers").mkdir()
    for name in ("fetch", "sort"):
        (tmp_path / "handlers" / f"{name}.py").write_text("def handler(event, context): ...\n")
    for name in ("work/incoming", "elsewhere/x", "sources", "layer/python"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def loaded(project: Path, text: str) -> Loaded:
    (project / "triggerhub.toml").write_text(text)
    return load(project, environ={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})


def told(project: Path, text: str) -> list[str]:
    return [f"{one.severity}[{one.code}] {one.message}" for one in loaded(project, text).problems]


PIPELINE = """
[functions.fetch]
sandbox = { write = ["work"] }
[functions.sort]
sandbox = { read = ["work/incoming"], write = ["work/out"] }
[triggers.t]
type = "files"
path = "work/incoming"
function = "sort"
"""


def test_a_link_of_the_owners_is_followed_once(project: Path) -> None:
    (project / "current").symlink_to("elsewhere")
    found = loaded(project, '[functions.sort]\nsandbox = { read = ["current/x"] }\n')
    assert found.problems == ()
    assert found.project is not None
    function = found.project.functions["sort"]
    assert function.read == (project / "current/x",)
    assert function.links == ((project / "current/x", project / "elsewhere/x"),)


def test_a_link_where_a_function_may_write_is_not_followed(project: Path) -> None:
    (project / "work" / "incoming").rmdir()
    (project / "work" / "incoming").symlink_to(project / "var")
    (project / "work" / "out").symlink_to(project / "handlers")
    why = "is a link in a folder that a function may write, and is not followed"
    assert told(project, PIPELINE) == [
        f"warning[loose-link] functions.sort.sandbox.read[0]: {project}/work/incoming {why}",
        f"warning[loose-link] functions.sort.sandbox.write[0]: {project}/work/out {why}",
        f"warning[loose-link] triggers.t.path: {project}/work/incoming {why}",
    ]
    found = loaded(project, PIPELINE).project
    assert found is not None
    assert found.functions["sort"].links == ()


def test_where_what_another_function_inherits_can_be_written_no_link_is_followed_either(project: Path) -> None:
    (project / "work" / "incoming").rmdir()
    (project / "work" / "incoming").symlink_to(project / "elsewhere")
    text = '[defaults]\nsandbox = { write = ["work"] }\n[functions.sort]\nsandbox = { read = ["work/incoming"] }\n'
    assert [one.split()[0] for one in told(project, text)] == ["warning[loose-link]"]


@pytest.mark.parametrize(
    ("path", "loose", "expected"),
    [
        ("plain/x", [], ("plain/x", None)),
        ("missing/x", [], ("missing/x", None)),
        ("link/x", [], ("plain/x", None)),
        ("link/x", ["plain"], ("plain/x", None)),
        ("link/x", ["."], ("link/x", "link")),
        ("plain/inner/y", ["plain"], ("plain/inner/y", "plain/inner")),
        ("over/y", ["plain"], ("plain/inner/y", "plain/inner")),
        ("up/x", [], ("plain/x", None)),
        ("round/x", [], ("round/x", None)),
    ],
)
def test_links_are_followed_up_to_where_a_handler_may_make_one(
    tmp_path: Path, path: str, loose: list[str], expected: tuple[str, str | None]
) -> None:
    (tmp_path / "plain" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "plain" / "inner").symlink_to(tmp_path)
    (tmp_path / "over").symlink_to("plain/inner")
    (tmp_path / "up").symlink_to("plain/x/../../link")
    (tmp_path / "round").symlink_to("round")
    real, link = follow(str(tmp_path / path), [os.path.normpath(tmp_path / one) for one in loose])
    assert (os.path.relpath(real, tmp_path), link and os.path.relpath(link, tmp_path)) == expected


def test_a_folder_behind_a_link_that_a_handler_made_is_not_the_handlers(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "out").symlink_to("/")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "all").symlink_to(tmp_path)
    written = [str(tmp_path / "work"), str(tmp_path / "work" / "out")]
    assert loose(written) == {str(tmp_path / "work")}
    # Whose link was first, nobody can tell.
    assert loose([str(tmp_path / "work" / "out"), str(tmp_path / "deep" / "er" / "all")]) == {"/", str(tmp_path)}
    # A link of the owner's beside them is followed, and what lies in it is then written by handlers, too.
    (tmp_path / "owners").symlink_to("deep")
    written.append(str(tmp_path / "owners"))
    assert loose(written) == {str(tmp_path / "work"), str(tmp_path / "deep")}


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("handlers", "the handlers"),
        ("handlers/new", "the handlers"),
        ("sources", "sources/"),
        ("triggerhub.toml", "triggerhub.toml"),
        ("layer", "a layer"),
        ("layer/python", "a layer"),
        ("tools", "the runtime of functions.sort"),
        ("link", "the handlers"),
        ("tokens", "the file of a secret"),
        (sys.executable, "the hub's own Python"),
    ],
)
def test_what_runs_outside_of_a_sandbox_no_handler_writes(project: Path, path: str, what: str) -> None:
    for name in ("tools/bin", "beside", "tokens"):
        (project / name).mkdir(parents=True)
    (project / "link").symlink_to("handlers")
    (project / "tokens" / "fetch").touch(0o600)
    (project / "tools" / "bin" / "python3").symlink_to(sys.executable)
    text = f"""
[functions.fetch]
layers = ["layer"]
env = {{ TOKEN = {{ file = "tokens/fetch" }} }}
[functions.sort]
runtime = "{project}/tools/bin/python3"
sandbox = {{ read = ["handlers"], write = ["beside", "{path}"] }}
"""
    (said,) = told(project, text)
    assert said.startswith("error[bad-sandbox] functions.sort.sandbox.write[1]: ")
    assert f"cannot be changed by a handler, which would leave its sandbox by {what} (" in said


def test_a_file_of_the_hubs_where_a_handler_may_write_is_told(project: Path) -> None:
    text = '[functions.fetch]\nsandbox = { write = ["work"] }\non_success = ["file:work/out.jsonl", "file:out.jsonl"]\n'
    (said,) = told(project, text)
    assert said == (
        "warning[loose-link] functions.fetch.on_success[0]: a function may write there, and the hub follows a link that "
        "it puts there"
    )


def test_what_is_not_there_is_told(project: Path) -> None:
    text = '[functions.sort]\nsandbox = { write = ["out"] }\n'
    assert told(project, text) == [
        f"warning[no-path] functions.sort.sandbox.write[0]: there is no {project}/out; until it is there, calls fail"
    ]


def test_the_hubs_data_is_refused_to_a_function_that_is_made_elsewhere_too(project: Path) -> None:
    (project / "var" / "functions").mkdir(parents=True)
    (project / "var" / "functions" / "names.json").write_text('["made"]')
    for text in ('[functions.made]\nsandbox = { read = ["var"] }\n', '[defaults]\nsandbox = { read = ["var"] }\n'):
        assert [one for one in told(project, text) if "that is the hub's data" in one]


def test_sockets_are_told_and_one_alone_is_no_sight(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / "run" / "docker").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("run/docker/docker.sock")
        found = "by which handlers can speak to who listens"
        place = f"{project}/run/docker/docker.sock"
        assert told(project, '[functions.sort]\nsandbox = { read = ["run"] }\n') == [
            f"warning[open-socket] functions.sort.sandbox.read[0]: there is a socket in {project}/run, {found}: {place}"
        ]
        text = '[triggers.t]\ntype = "files"\npath = "run/docker"\nfunction = "sort"\n'
        assert [one.split(":")[0] for one in told(project, text)] == ["warning[open-socket] triggers.t.path"]
        (said,) = told(project, '[functions.sort]\nsandbox = { read = ["run/docker/docker.sock"] }\n')
        assert said.startswith("error[bad-sandbox] functions.sort.sandbox.read[0]: ")
        assert "is a socket, by which a handler speaks to whoever listens there" in said
        assert told(project, '[functions.sort]\nsandbox = { write = ["run/docker/docker.sock"] }\n') == []


WATCHED = """
[triggers.t]
type = "files"
path = "{path}"
function = "sort"
exclude = ["**/var/**"]
"""


@pytest.mark.parametrize(
    ("path", "more", "why"),
    [
        ("/", "", "that is the whole host; name a folder in it"),
        ("/etc", "", "a handler has its own; name a folder below it"),
        ("/var", "", "a handler has its own; name a folder below it"),
        ("/tmp", "", "a handler has its own; name a folder below it"),
        ("/dev/shm/in", "", "/dev is the sandbox's own; name a folder elsewhere"),
        ("/proc", "", "/proc is the sandbox's own; name a folder elsewhere"),
        ("link", "", "a handler has its own; name a folder below it"),
        ("/opt/in", '[functions.sort]\nlayers = ["layer"]\n', "/opt is the sandbox's own; name a folder elsewhere"),
        ("/opt/in", '[defaults]\nlayers = ["layer"]\n', "/opt is the sandbox's own; name a folder elsewhere"),
        ("/tmp", '[functions.sort]\nsandbox = { level = "trusted" }\n', None),
        ("/opt/in", "", None),
        ("/etc/in", "", None),
        (".", "", None),
    ],
)
def test_what_a_sandbox_has_of_its_own_no_trigger_shows(project: Path, path: str, more: str, why: str | None) -> None:
    (project / "link").symlink_to("/etc")
    refused = [one for one in told(project, more + WATCHED.format(path=path)) if "bad-sandbox" in one]
    full = path if path.startswith("/") else project / path
    message = f"error[bad-sandbox] triggers.t.path: {full} cannot be shown to a handler: {why}"
    assert refused == ([] if why is None else [message])


@pytest.mark.parametrize("name", ["made", "made:live", "made:2"])
@pytest.mark.parametrize(("level", "refused"), [("trusted", 0), ("isolated", 1)])
def test_the_table_of_a_deployed_function_is_of_its_versions_and_aliases(
    project: Path, name: str, level: str, refused: int
) -> None:
    deployed.write(project / "var", ["made", "made:live", "made:2"], sync=False)
    text = f'[functions.made]\nsandbox = {{ level = "{level}" }}\n' + WATCHED.format(path="/tmp")
    said = told(project, text.replace('"sort"', f'"{name}"'))
    assert len([one for one in said if one.startswith("error[bad-sandbox] triggers.t.path")]) == refused
    assert len(said) == refused

"""What runs a function may be named as Lambda names it, or by its path."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config import interpreters
from triggerhub.config.interpreters import Wanted, parse
from triggerhub.config.load import load
from triggerhub.errors import ConfigError

Check = Callable[..., list[str]]
Make = Callable[..., Path]

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("python", Wanted("python")),
        ("python3", Wanted("python")),
        ("python3.12", Wanted("python", (3, 12))),
        ("nodejs20.x", Wanted("node", (20,))),
        ("node22", Wanted("node", (22,))),
        ("executable", Wanted("executable")),
        ("provided.al2023", Wanted("provided")),
        ("/usr/bin/python3", Wanted(None, path="/usr/bin/python3")),
        ("~/bin/python", Wanted(None, path="~/bin/python")),
    ],
)
def test_names(text: str, wanted: Wanted) -> None:
    assert parse(text) == wanted


def test_python3_is_the_hubs_own(make: Make) -> None:
    loaded = load(make('[functions.echo]\nruntime = "python3"\n'), environ={})
    assert not loaded.problems
    assert loaded.project is not None
    assert loaded.project.functions["echo"].interpreter is None


@pytest.mark.parametrize("text", ["", "ruby", "perl5", "python-3.12", "provided.al3", "nodejs.20"])
def test_unknown_names(text: str) -> None:
    with pytest.raises(ConfigError, match="there is no runtime"):
        parse(text)


@pytest.mark.parametrize("text", ["java21", "dotnet8", "ruby3.3", "go1.x"])
def test_runtimes_of_lambdas_that_need_their_own_client(text: str) -> None:
    with pytest.raises(ConfigError, match=f"nothing here runs {text}"):
        parse(text)


def shim(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def answers(version: str, program: str, name: str = "python") -> str:
    if name == "node":
        return f"""echo '[[{version}], "{program}", []]'"""
    return f"""echo '[[{version}], "{program}", ["/opt/x"]]'"""


def test_the_hubs_own_python_has_a_name_too(make: Make) -> None:
    project = make(f'[functions.echo]\nruntime = "python{OWN}"\n')
    loaded = load(project, environ={})
    assert loaded.project is not None, loaded.problems
    interpreter = loaded.project.functions["echo"].interpreter
    assert interpreter is not None
    assert (interpreter.name, interpreter.program) == (f"python{OWN}", sys.executable)
    assert interpreter.version == tuple(sys.version_info[:3])


def test_a_shim_that_starts_another_version_is_passed_over(make: Make, tmp_path: Path) -> None:
    shim(tmp_path / "a", "python3.99", answers("3, 98, 1", "/a"))
    right = shim(tmp_path / "b", "python3.99", answers("3, 99, 4", ""))
    path = f"{tmp_path}/a:{tmp_path}/b"
    loaded = load(make('[functions.echo]\nruntime = "python3.99"\n'), environ={"PATH": path})
    assert loaded.project is not None, loaded.problems
    found = loaded.project.functions["echo"].interpreter
    assert found is not None
    assert (found.name, found.program, found.version) == ("python3.99", str(right), (3, 99, 4))


def test_one_that_is_not_installed_is_a_warning_that_names_what_is(check: Check, make: Make, tmp_path: Path) -> None:
    (line,) = check('[functions.echo]\nruntime = "python3.99"\n')
    assert line.startswith("triggerhub.toml:2:11: warning[no-program]: functions.echo needs python3.99, which is not ")
    assert f"python{OWN}" in line
    assert "apt install python3.99, or uv python install 3.99" in line
    (line,) = check('[functions.f]\nruntime = "nodejs99.x"\n', {"f.mjs": "export const handler = () => 1\n"})
    assert "warning[no-program]: functions.f needs nodejs99.x, which is not installed here" in line


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ("ruby3.3", "functions.echo.runtime: nothing here runs ruby3.3"),
        ("cobol", 'functions.echo.runtime: there is no runtime "cobol"'),
        ("python3.6", "handlers need python 3.8 or newer, not 3.6"),
        ("/no/such/python3", "/no/such/python3 is not an executable file"),
        ("/bin/sh", "/bin/sh is neither Python nor Node"),
        ("bin/python", '"bin/python" is not a whole path'),
    ],
)
def test_errors(check: Check, runtime: str, says: str) -> None:
    (line,) = check(f'[functions.echo]\nruntime = "{runtime}"\n')
    assert line.startswith("triggerhub.toml:2:11: error[bad-runtime]: ")
    assert says in line


def test_another_interpreter_is_another_version_of_the_function(make: Make) -> None:
    def version(toml: str) -> str:
        project = load(make(toml), environ={}).project
        assert project is not None
        return project.functions["echo"].version

    assert version("") == version('[functions.echo]\nruntime = "python"\n')
    assert version("") != version(f'[functions.echo]\nruntime = "{sys.executable}"\n')


def test_requires_python_is_asked_of_what_runs_the_handler(check: Check, tmp_path: Path) -> None:
    script = '# /// script\n# requires-python = "==3.99.*"\n# ///\ndef handler(event, context): ...\n'
    (line,) = check("", {"echo.py": script})
    assert "warning[wrong-python]" in line
    assert 'runtime = "python3.13"' in line
    shim(tmp_path / "a", "python3.99", answers("3, 99, 1", "/a"))
    assert (
        check('[functions.echo]\nruntime = "python3.99"\n', {"echo.py": script}, environ={"PATH": f"{tmp_path}/a"})
        == []
    )


def test_a_folder_with_a_bootstrap_speaks_the_runtime_api(make: Make) -> None:
    files = {"report/bootstrap": "#!/bin/sh\n", "report/lambda_function.py": "", "bootstrap": "#!/bin/sh\n"}
    project = load(make("", files), environ={}, versions=Path("versions")).project
    assert project is not None
    report = project.functions["report"]
    assert (report.runtime, report.handler, report.command) == (
        "provided",
        "bootstrap",
        (str(report.code / "bootstrap"),),
    )
    assert (report.code / "lambda_function.py").is_file()
    assert project.functions["bootstrap"].runtime == "executable"


def test_what_a_bootstrap_is_told_to_run(make: Make, check: Check) -> None:
    toml = '[functions.report]\nhandler = "report:app.handler"\nruntime = "provided.al2023"\n'
    project = load(make(toml, {"report/bootstrap": "#!/bin/sh\n"}), environ={}).project
    assert project is not None
    assert project.functions["report"].handler == "app.handler"
    (line,) = check('[functions.report]\nhandler = "report:a b"\n', {"report/bootstrap": "#!/bin/sh\n"})
    assert 'error[bad-handler]: functions.report: "a b" cannot be the name of a function' in line


def test_any_program_may_speak_the_runtime_api(make: Make) -> None:
    project = load(make('[functions.api]\nruntime = "provided"\n', {"api": "#!/bin/sh\n"}), environ={}).project
    assert project is not None
    assert project.functions["api"].runtime == "provided"


def test_a_bootstrap_that_cannot_be_started_is_told(make: Make, check: Check) -> None:
    project = make("", {"report/bootstrap": "echo\n"})
    (problem,) = load(project, environ={}).problems
    assert str(problem).startswith(
        "handlers/report/bootstrap: warning[ignored-file]: handlers/report/bootstrap is not exec"
    )


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_node_by_its_path(make: Make) -> None:
    node = shutil.which("node")
    project = load(
        make(f'[functions.f]\nruntime = "{node}"\n', {"f.mjs": "export const handler = () => 1\n"}), environ={}
    ).project
    assert project is not None
    interpreter = project.functions["f"].interpreter
    assert interpreter is not None
    assert interpreter.name.startswith("nodejs")


def test_the_interpreters_of_the_host_are_named_by_what_they_are(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "python3.99"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    found = interpreters.found({"PATH": f"{program.parent}:/usr/bin", "HOME": "/nonexistent"})
    assert sys.base_prefix in [folder for one in found for folder in one.folders]
    assert str(program) not in [one.program for one in found], "a wrapper is not what it starts"
    assert len({one.program for one in found}) == len(found)

"""What lies in the handlers folder is a function, and its code is a version."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config.load import Loaded, load
from triggerhub.settings import MB, Function

Check = Callable[..., list[str]]
Make = Callable[..., Path]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def functions(project: Path, versions: Path | None = Path("versions")) -> dict[str, Function]:
    loaded: Loaded = load(project, environ={}, versions=versions)
    assert loaded.project is not None, loaded.problems
    return dict(loaded.project.functions)


@pytest.mark.parametrize(
    ("file", "name", "runtime", "handler"),
    [
        pytest.param("thumbnail.py", "thumbnail", "python", "thumbnail.", id="python"),
        pytest.param("a-b_C9.mjs", "a-b_C9", "node", "a-b_C9.", id="node, a module"),
        pytest.param("old.js", "old", "node", "old.", id="node"),
        pytest.param("older.cjs", "older", "node", "older.", id="node, CommonJS"),
        pytest.param("report/index.mjs", "report", "node", "index.", id="a folder for node"),
        pytest.param("report/main.py", "report", "python", "main.", id="a folder with main.py"),
        pytest.param(
            "report/lambda_function.py", "report", "python", "lambda_function.", id="a folder as Lambda has it"
        ),
    ],
)
@needs_node
def test_a_file_is_a_function_by_its_name(make: Make, file: str, name: str, runtime: str, handler: str) -> None:
    project = make("", {file: "# code\n", "_private.py": "", ".hidden.py": ""})
    ((found, function),) = functions(project).items()
    assert (found, function.runtime, function.handler, function.command) == (name, runtime, handler, ())
    assert function.source == f"handlers/{file}"
    assert (function.code / Path(file).name).read_text() == "# code\n"
    assert function.code == project / "var" / "versions" / name / function.version
    assert len(function.version) == 12


@pytest.mark.parametrize("name", ["count.sh", "count", "count.rb"])
def test_any_executable_is_a_function(make: Make, name: str) -> None:
    project = make("", {name: "#!/bin/sh\ncat\n"})
    function = functions(project)["count"]
    assert (function.runtime, function.handler) == ("executable", "")
    assert function.command == (str(function.code / name),)


def test_a_binary_is_a_function(make: Make) -> None:
    project = make("", {"_.txt": ""})
    shutil.copy(shutil.which("true") or "/bin/true", project / "handlers" / "yes")
    assert functions(project)["yes"].runtime == "executable"


@pytest.mark.parametrize(
    ("file", "text", "mode", "line"),
    [
        pytest.param(
            "notes.md", "# notes", 0o644,
            "handlers/notes.md: warning[ignored-file]: handlers/notes.md is neither .py, .js, .mjs, .cjs nor executable; "
            "it is ignored; put _ in front of its name to say so", id="no handler",
        ),
        pytest.param(
            "run.sh", "#!/bin/sh\n", 0o644,
            "handlers/run.sh: warning[ignored-file]: handlers/run.sh is neither .py, .js, .mjs, .cjs nor executable; "
            "it is ignored; make it executable with chmod +x", id="a script that may not be executed",
        ),
        pytest.param(
            "run.sh", "echo hi\n", 0o755,
            "handlers/run.sh: warning[ignored-file]: handlers/run.sh is executable but has no #! line and is no binary; "
            "it is ignored; begin it with #!", id="no interpreter",
        ),
        pytest.param(
            "a.b.py", "", 0o644,
            "handlers/a.b.py: warning[bad-name]: 'a.b' cannot be a function's name: letters, digits, '-' and '_', "
            "at most 64; it is ignored", id="two dots",
        ),
        pytest.param(
            "x" * 65 + ".py", "", 0o644,
            f"handlers/{'x' * 65}.py: warning[bad-name]: '{'x' * 65}' cannot be a function's name: letters, digits, "
            "'-' and '_', at most 64; it is ignored", id="too long",
        ),
    ],
)  # fmt: skip
def test_what_is_no_function_is_told_and_ignored(make: Make, file: str, text: str, mode: int, line: str) -> None:
    project = make("", {file: text})
    (project / "handlers" / file).chmod(mode)
    loaded = load(project, environ={})
    assert [str(problem) for problem in loaded.problems] == [line]
    assert loaded.project is not None
    assert loaded.project.functions == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            "#!/bin/sh\r\necho hi\r\n",
            "handlers/run.sh has line ends of Windows: its #! line names a program whose name ends in a carriage return; "
            "save it with line ends of Unix", id="line ends of Windows",
        ),
        pytest.param(
            "#!/no/such/python -u\n",
            "handlers/run.sh is to be run by /no/such/python, which is not there; mend its first line",
            id="no such interpreter",
        ),
        pytest.param("#! /bin/sh -e\necho hi\n", None, id="good"),
        pytest.param("#!\n", None, id="none named"),
    ],
)  # fmt: skip
def test_a_script_that_the_system_will_not_find_is_told_of(make: Make, text: str, line: str | None) -> None:
    project = make("", {})
    (project / "handlers").mkdir(exist_ok=True)
    (project / "handlers" / "run.sh").write_bytes(text.encode())
    (project / "handlers" / "run.sh").chmod(0o755)
    loaded = load(project, environ={})
    wanted = [] if line is None else [f"handlers/run.sh: warning[bad-handler]: {line}"]
    assert [str(problem) for problem in loaded.problems] == wanted
    assert loaded.project is not None
    assert "run" in loaded.project.functions


def test_two_files_of_one_stem_are_an_error_that_names_both(check: Check) -> None:
    assert check("", {"a.py": "", "a.js": ""}) == [
        "handlers/a.py: error[duplicate-function]: handlers/a.js and handlers/a.py are both the function a; rename one"
    ]


def test_a_folder_with_two_entries_wants_a_word(check: Check) -> None:
    files = {"a/main.py": "", "a/index.py": ""}
    assert check("", files) == [
        (
            "handlers/a: error[duplicate-function]: handlers/a has index.py and main.py: which of them is the function a?; "
            'say so with handler = "a/index.py" in [functions.a]'
        )
    ]
    assert check('[functions.a]\nhandler = "a/main.py"\n', files) == []


def test_a_folder_without_an_entry_is_no_function_and_says_what_it_lacks(make: Make) -> None:
    loaded = load(
        make("", {"shop/handler.py": "", "shop/requirements.txt": "", "data/x.csv": "", "_a/b.py": ""}), environ={}
    )
    assert loaded.project is not None
    assert loaded.project.functions == {}
    (problem,) = loaded.problems
    assert (problem.file, problem.code, problem.severity) == ("handlers/shop", "ignored-file", "warning")
    assert problem.message == "handlers/shop is no function: it has none of index.py, main.py, lambda_function.py"
    assert problem.hint == (
        'say which file it is with handler = "shop/handler.py" in [functions.shop], or put _ in front of shop where it is '
        "to be none"
    )


@pytest.mark.parametrize(
    ("toml", "files"),
    [
        pytest.param('[functions.f]\nhandler = "shop/handler.py"\n', {"shop/handler.py": ""}, id="named"),
        pytest.param("", {"shop.py": "", "shop/help.py": ""}, id="of a function of that name"),
        pytest.param(
            '[functions.f]\ncommand = ["cat", "handlers/shop/handler.py"]\n', {"shop/handler.py": ""}, id="in a command"
        ),
        pytest.param("", {"node_modules/index.txt": "", "node_modules/a.js": ""}, id="packages"),
    ],
)
def test_a_folder_that_something_uses_need_not_be_a_function(check: Check, toml: str, files: dict[str, str]) -> None:
    assert check(toml, files) == []


def test_a_table_for_a_folder_without_an_entry_says_what_it_lacks(check: Check) -> None:
    (line,) = check("[functions.shop]\ntimeout = 3\n", {"shop/handler.mjs": ""})
    assert "error[ignored-file]: handlers/shop is no function: it has none of index.mjs, index.js, index.cjs" in line
    assert 'handler = "shop/handler.mjs" in [functions.shop]' in line


@pytest.mark.parametrize(
    ("handler", "hint"),
    [
        ("pdf.handler", 'did you mean "pdf.py:handler"?'),
        ("pf.handler", 'did you mean "pdf.py:handler"?'),
        ("pfd.py", 'did you mean "pdf.py"?'),
        ("pfd.py:main", 'did you mean "pdf.py:main"?'),
        ("shop/handle.py", 'did you mean "shop/handler.py"?'),
        ("zzzzzz.py", None),
    ],
)
def test_a_handler_that_is_not_there_is_told_which_was_meant(check: Check, handler: str, hint: str | None) -> None:
    (line,) = check(
        f'[functions.f]\nhandler = "{handler}"\n',
        {"shop/handler.py": "", "_pf.py": "", "shop/main.py": "", "pdf.py": ""},
    )
    assert line.endswith(hint or f"there is no handlers/{handler}")


def test_no_handlers_folder_is_no_functions(make: Make) -> None:
    assert functions(make("", {})) == {}


def test_a_handler_in_a_folder_takes_the_folder_along(make: Make) -> None:
    toml = '[functions.ship-order]\nhandler = "orders/ship.py:handle"\n'
    project = make(toml, {"orders/ship.py": "import lib\n", "orders/lib.py": "", "orders/deep/er.txt": ""})
    function = functions(project)["ship-order"]
    assert (function.runtime, function.handler, function.source) == ("python", "ship.handle", "handlers/orders/ship.py")
    files = sorted(str(path.relative_to(function.code)) for path in function.code.rglob("*") if path.is_file())
    assert files == ["deep/er.txt", "lib.py", "ship.py"]


def test_a_table_beats_what_was_found(make: Make) -> None:
    project = make('[functions.a]\nhandler = "b.py:other"\n', {"a.py": "", "b.py": ""})
    assert functions(project)["a"].handler == "b.other"


def test_a_python_file_may_be_run_as_an_executable(make: Make) -> None:
    project = make('[functions.a]\nruntime = "executable"\n', {"a.py": "#!/usr/bin/env python3\n"})
    function = functions(project)["a"]
    assert (function.runtime, function.command) == ("executable", (str(function.code / "a.py"),))


def test_a_command_runs_the_snapshot_of_the_files_it_names(make: Make) -> None:
    toml = '[functions.n]\ncommand = ["sh", "-u", "handlers/tools/n.sh", "handlers/data.txt", "other", "--x=1"]\n'
    project = make(toml, {"tools/n.sh": "#!/bin/sh\n", "tools/lib.sh": "", "data.txt": "1"})
    (project / "handlers" / "data.txt").rename(project / "handlers" / "_data.txt")
    (project / "triggerhub.toml").write_text(toml.replace("data.txt", "_data.txt"))
    function = functions(project)["n"]
    code = function.code
    assert function.command == ("sh", "-u", str(code / "tools" / "n.sh"), str(code / "_data.txt"), "other", "--x=1")
    assert (code / "tools" / "lib.sh").is_file()
    assert function.source == "handlers/tools/n.sh"


def test_a_command_without_a_file_has_an_empty_folder(make: Make) -> None:
    function = functions(make('[functions.c]\ncommand = ["cat"]\n', {}))["c"]
    assert (function.command, list(function.code.iterdir()), function.source) == (("cat",), [], "cat")


def test_a_version_follows_the_content_and_nothing_else(make: Make) -> None:
    def version(toml: str, text: str) -> str:
        return functions(make(toml, {"a.py": text, "b.py": text}))["a"].version

    first = version("", "x = 1\n")
    assert version('[functions.a]\nmemory = "1GB"\n', "x = 1\n") == first
    assert version("", "x = 2\n") != first
    assert version('[functions.a]\nhandler = "a.py:other"\n', "x = 1\n") != first
    assert version("", "x = 1\n") == first


def test_a_check_gives_the_version_that_a_run_gives(make: Make) -> None:
    project = make('[functions.c]\ncommand = ["cat", "handlers/a.py"]\n', {"a.py": "x = 1\n", "s": "#!/bin/sh\n"})
    checked, run = functions(project, None), functions(project)
    assert {name: one.version for name, one in checked.items()} == {name: one.version for name, one in run.items()}


def test_a_handler_that_is_not_python_is_a_warning_and_the_rest_goes_on(make: Make) -> None:
    loaded = load(make("", {"bad.py": "x = 1\ndef handler(:\n", "good.py": ""}), environ={})
    assert [str(problem) for problem in loaded.problems] == [
        "handlers/bad.py:2:13: warning[bad-handler]: handlers/bad.py is not valid Python: invalid syntax"
    ]
    assert loaded.project is not None
    assert set(loaded.project.functions) == {"bad", "good"}


def test_a_handler_of_bytes_that_are_no_text_is_told_as_well(make: Make) -> None:
    project = make("", {"bad.py": ""})
    (project / "handlers" / "bad.py").write_bytes(b"\xff\xfe\x00")
    (problem,) = load(project, environ={}).problems
    assert str(problem).startswith("handlers/bad.py:1:1: warning[bad-handler]: handlers/bad.py is not valid Python: ")


@pytest.mark.parametrize("text", ["'\\d'\n", "x = 1 is 1\n", "# -*- coding: latin-1 -*-\ns = '\xe9'\n"])
def test_a_handler_that_python_takes_is_not_complained_about(make: Make, text: str) -> None:
    project = make("", {"a.py": ""})
    (project / "handlers" / "a.py").write_bytes(text.encode("latin-1"))
    assert load(project, environ={}).problems == ()


META = """# /// script
# requires-python = "{python}"
# dependencies = []
#
# [tool.triggerhub]
# {line}
# ///
"""


def meta(line: str, python: str = ">=3.11") -> str:
    return '"""Doc."""\n' + META.format(line=line, python=python)


def test_a_handlers_own_limits_lie_between_the_defaults_and_its_table(make: Make) -> None:
    toml = '[defaults]\ntimeout = "1s"\nmemory = "128MB"\nconcurrency = 1\n[functions.a]\ntimeout = "3s"\n'
    text = meta('timeout = "2s"\n# memory = "512MB"\n# retry = { attempts = 7 }')
    function = functions(make(toml, {"a.py": text}))["a"]
    assert (function.timeout, function.memory, function.concurrency) == (3000, 512 * MB, 1)
    assert function.retry.attempts == 7


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (meta("memroy = 1"), '7:3: warning[unknown-key]: tool.triggerhub has no key "memroy"; did you mean "memory"?'),
        (meta('timeout = "1h"'), "7:13: warning[bad-value]: tool.triggerhub.timeout: 1h is too much: at most 15m"),
        (meta('handler = "x"'), '7:3: warning[unknown-key]: tool.triggerhub has no key "handler"'),
        (meta("warm = -1"), "7:10: warning[bad-value]: tool.triggerhub.warm: -1 is too little: at least 0"),
        (meta("warm = 5"), None),
        (meta("="), "7:3: warning[syntax]: invalid statement"),
        (meta('on_success = ["function:b"]'), ('warning[unknown-function]: tool.triggerhub.on_success: there is no function '
         '"b"; it has a, good')),
        (meta('on_success = ["function:a"]'), ('warning[loop]: tool.triggerhub.on_success: "function:a" leads back to the '
         "function itself, which would never end")),
        (meta('layers = ["lib"]'), ("7:3: warning[bad-metadata]: tool.triggerhub.layers: a handler cannot say itself what of the host is "
         "put at /opt for it; write it in the function's table")),
        (meta('env = { A = { file = "/etc/shadow" } }'), ("7:11: warning[bad-metadata]: tool.triggerhub.env.A: a handler cannot say itself "
         "which secrets it is given; write it in the function's table")),
        (meta('env = { _HANDLER = "x" }'), ("7:11: warning[bad-value]: tool.triggerhub.env._HANDLER: the hub sets it for each worker, as "
         "Lambda does; take it out")),
        (meta('on_failure = ["function:a", "file:/etc/x"]'), ("7:31: warning[bad-metadata]: tool.triggerhub.on_failure[1]: a handler "
         "cannot say itself what the hub sends or writes for it; write it in the function's table")),
        (meta('retry = { initial = "1h" }'), None),
        (meta("", "<3.10"), "3:21: warning[wrong-python]: requires-python is \"<3.10\", but the hub runs this handler with Python"),
        (meta("", "three"), "3:21: warning[wrong-python]: requires-python is \"three\", but the hub runs this handler with Python"),
        (meta("") + "import x\n" + META.format(line="", python=">=3"), ("warning[bad-metadata]: there is more than one block of inline "
         "metadata")),
    ],
)  # fmt: skip
def test_a_mistake_in_a_handlers_metadata_is_told_in_its_file(make: Make, text: str, line: str | None) -> None:
    """It keeps nobody else from being served, and itself from being started."""
    loaded = load(make("", {"a.py": text, "good.py": ""}), environ={})
    (told,) = map(str, loaded.problems)
    assert loaded.project is not None
    assert not loaded.project.functions["good"].faulty
    why, (problem,) = loaded.project.functions["a"].faulty, loaded.problems
    assert problem.message in why
    assert problem.file in why
    if line is None and "warm" in text:
        assert told.endswith(
            "warning[bad-warm]: functions.a: warm is 5, over concurrency, which is 4; lower warm or raise concurrency"
        )
    elif line is None:
        assert "warning[bad-retry]: functions.a.retry: initial is 1h, over max, which is 5m" in told
    else:
        assert told.startswith(f"handlers/a.py:{line}" if line[0].isdigit() else f"handlers/a.py: {line}")


@pytest.mark.parametrize(
    ("toml", "line", "severity"),
    [
        ("[defaults]\nretry = { max = '10s' }\n", 'retry = { initial = "1m" }', "error"),
        ("[defaults]\nconcurrency = 2\n", "warm = 3", "error"),
        ("[functions.a]\nconcurrency = 2\n", "warm = 3", "error"),
        ("[functions.a]\ntimeout = '9s'\n", 'retry = { initial = "1h" }', "warning"),
        ("[functions.a]\nhandler = 'a.py'\n", "warm = 5", "warning"),
    ],
)
def test_what_triggerhub_toml_has_a_part_in_stays_its_error(make: Make, toml: str, line: str, severity: str) -> None:
    loaded = load(make(toml, {"a.py": meta(line)}), environ={})
    assert [problem.severity for problem in loaded.problems] == [severity]
    assert (loaded.project is None) is (severity == "error")


@pytest.mark.parametrize("table", ["", "[functions.a]\ntimeout = '9s'\n"])
def test_a_table_of_a_function_makes_no_error_of_what_is_wrong_with_its_packages(make: Make, table: str) -> None:
    project = make(table, {"a/main.py": ""})
    (project / "handlers/a/requirements.txt").write_bytes(b"\xff\n")
    loaded = load(project, environ={})
    assert [problem.severity for problem in loaded.problems] == ["warning"]
    assert loaded.project is not None
    assert loaded.project.functions["a"].faulty


@pytest.mark.parametrize(
    ("python", "right"),
    [
        (">=3.11", True), (">=3.11,<4", True), ("~=3.11", True), ("~= 3.9", True), ("==3.*", True), ("!=3.11.0", True),
        ("", True), (">3.10", True), (">=4", False), ("<3.11", False), ("==2.7.*", False), ("~=3.9.1", False),
        ("!=3.*", False), ("3.11", False), ("==3.11.999", False),
    ],
)  # fmt: skip
def test_requires_python_is_held_against_the_hubs(check: Check, python: str, right: bool) -> None:
    lines = check("", {"a.py": meta("", python)})
    assert [("wrong-python" in line) for line in lines] == [True] * (not right), lines


def test_a_link_that_leads_nowhere_is_told(make: Make) -> None:
    project = make("", {})
    (project / "handlers").mkdir()
    (project / "handlers" / "gone.py").symlink_to("nowhere.py")
    (project / "handlers" / ".#lock.py").symlink_to("somebody@host.4711")
    (line,) = [str(problem) for problem in load(project, environ={}).problems]
    assert line == (
        "handlers/gone.py: warning[ignored-file]: handlers/gone.py is a link that leads nowhere; it is ignored"
    )


def test_what_is_wrong_with_a_function_without_a_table_is_placed_at_its_file(make: Make) -> None:
    project = make('[functions.other]\nenv = { PATH = "/nowhere" }\n', {"other.py": "", "web.mjs": ""})
    (project / "handlers" / "out.py").symlink_to("/etc/hostname")
    errors = [problem for problem in load(project, environ={}).problems if problem.severity == "error"]
    assert [(problem.file, problem.line, problem.code) for problem in errors] == [("handlers/out.py", 0, "unreadable")]


def test_a_program_that_is_missing_is_told_where_the_handler_is(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project = make('[functions.told]\nhandler = "code/told.mjs"\n', {"web.mjs": "", "code/told.mjs": ""})
    told = [str(problem) for problem in load(project, environ={}).problems]
    assert told == [
        "triggerhub.toml:2:11: warning[no-program]: functions.told needs node, which is not installed here",
        "handlers/web.mjs: warning[no-program]: functions.web needs node, which is not installed here",
    ]


def test_code_that_is_larger_than_lambda_takes_is_told(make: Make) -> None:
    project = make("", {"ml/main.py": "def handler(event, context): ...\n", "ml/model.bin": ""})
    os.truncate(project / "handlers" / "ml" / "model.bin", 250 * MB)
    (told,) = map(str, load(project, environ={}).problems)
    assert (
        "handlers/ml/main.py: warning[heavy-code]: functions.ml has 250 MB of code, which are copied for each" in told
    )
    assert told.endswith('and show that: sandbox = { read = ["FOLDER"] }')

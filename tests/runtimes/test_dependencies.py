"""What a function depends on is built once, away from it, and is all that it sees beside its code."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from triggerhub.config.interpreters import PROGRAMS
from triggerhub.config.load import load
from triggerhub.errors import ConfigError, StartFailed
from triggerhub.runtimes.dependencies import Environments, collect
from triggerhub.settings import Function

from .conftest import Bench, invocation

needs_npm = pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
UV = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
needs_uv = pytest.mark.skipif(UV is None, reason="uv is not installed")


def wheel(folder: Path, name: str, version: str = "1.0") -> Path:
    """Make a package that says its version, with a program of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def project(root: Path, handlers: Mapping[str, str], toml: str = "") -> dict[str, Function]:
    for name, text in handlers.items():
        path = root / "handlers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "triggerhub.toml").write_text(toml)
    loaded = load(root, environ=os.environ, versions=Path("versions"))
    assert loaded.project is not None, loaded.problems
    return dict(loaded.project.functions)


def script(*packages: str, code: str = "") -> str:
    listed = ", ".join(json.dumps(package) for package in packages)
    return f"# /// script\n# dependencies = [{listed}]\n# ///\n{code}"


CODE = """
import os, shutil, sys, mylib
def handler(event, context):
    try:
        import anyio
        seen = True
    except ImportError:
        seen = False
    return [mylib.VERSION, seen, bool(shutil.which("mylib")), [n for n in os.environ if n.startswith("_TRIGGER")]]
"""


def at(level: str, *read: Path) -> str:
    """Return a configuration of that level, in which builds and handlers see the folders *read*."""
    shown = f", read = {json.dumps([str(path) for path in read])}" if read else ""
    return f'[defaults]\nsandbox = {{ level = "{level}"{shown} }}\n'


def environments(bench: Bench, environ: Mapping[str, str] | None = None) -> Environments:
    return Environments(bench.runtime().enclosed, environ)


async def built(bench: Bench, function: Function) -> Function:
    ready = environments(bench)
    assert not ready.ready(function)
    await ready.build(function)
    assert ready.ready(function)
    return function


async def call(bench: Bench, function: Function) -> Any:
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        return json.loads(outcome.payload)


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_a_handlers_own_packages_are_all_that_it_sees(bench: Bench, level: str) -> None:
    package = wheel(bench.root / "wheels", "mylib")
    shown = [package.parent] if level == "isolated" else []
    function = project(bench.root, {"f.py": script(f"mylib @ {package.as_uri()}", code=CODE)}, at(level, *shown))["f"]
    with pytest.raises(StartFailed, match="the packages that it depends on are not there yet") as caught:
        await call(bench, function)
    assert caught.value.type == "Runtime.DependenciesNotReady"
    await built(bench, function)
    assert await call(bench, function) == ["1.0", False, True, []]
    folder = function.needs.folder
    assert folder.parent == bench.root / "var" / "environments"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes == {0o444, 0o555}
    assert list(folder.parent.iterdir()) == [folder]


async def test_a_requirements_file_in_a_functions_folder(bench: Bench) -> None:
    wheel(bench.root / "handlers/f/wheels", "mylib", "2.0")
    files = {"f/main.py": CODE, "f/requirements.txt": "# one of ours\n./wheels/mylib-2.0-py3-none-any.whl\n"}
    function = await built(bench, project(bench.root, files)["f"])
    assert (await call(bench, function))[0] == "2.0"


def test_what_needs_nothing(bench: Bench) -> None:
    files = {
        "a.py": script(),
        "b/main.py": "",
        "b/requirements.txt": "# nothing\n\n",
        "c/main.py": "",
        "c/requirements.txt": "requests\n",
        "c/requests-2.0.dist-info/METADATA": "",
        "d/index.mjs": "",
        "d/package.json": '{"type": "module", "dependencies": {}}',
        "e/index.mjs": "",
        "e/package.json": '{"dependencies": {"x": "1"}}',
        "e/node_modules/x/index.js": "",
    }
    assert {name: function.needs for name, function in project(bench.root, files).items()} == dict.fromkeys("abcde")


def test_the_name_of_an_environment_is_all_that_decides_what_is_in_it(bench: Bench) -> None:
    def name(files: Mapping[str, str]) -> str:
        shutil.rmtree(bench.root / "handlers", ignore_errors=True)
        function = project(bench.root, files)["f"]
        assert function.needs is not None
        return function.needs.folder.name

    one = name({"f.py": script("a")})
    assert name({"f.py": script("a", code="changed = 1")}) == one
    assert name({"f.py": script("a>=2")}) != one
    assert name({"f/main.py": "", "f/requirements.txt": "a"}) != one
    plain = {"f/main.py": "", "f/requirements.txt": "a\n"}
    assert name(plain) == name({**plain, "f/main.py": "x = 1"})
    leading = {"f/main.py": "", "f/requirements.txt": "-r more.txt\n", "f/more.txt": "a\n"}
    assert name(leading) != name({**leading, "f/more.txt": "b\n"})
    node = {"f/index.mjs": "", "f/package.json": '{"dependencies": {"a": "1"}}'}
    assert name(node) == name({**node, "f/package.json": '{"name": "x", "dependencies": {"a": "1"}}'})
    assert name(node) != name({**node, "f/package-lock.json": "{}"})


def test_code_that_has_a_hand_in_its_installation_shares_no_environment(bench: Bench) -> None:
    """Otherwise one function would decide what packages another gets that asks for the same ones."""

    def name(files: Mapping[str, str]) -> str:
        shutil.rmtree(bench.root / "handlers", ignore_errors=True)
        needs = project(bench.root, files)["f"].needs
        assert needs is not None
        return needs.folder.name

    def package(**more: object) -> dict[str, str]:
        return {"f/index.mjs": "", "f/package.json": json.dumps({"dependencies": {"a": "1"}, **more})}

    python = {"f/main.py": "", "f/requirements.txt": "a\n"}
    plain = {name(python), name(package())}
    assert name(package(name="mine", type="module", scripts={"test": "node --test"})) in plain
    for files in (
        {**python, "f/uv.toml": "index-url = 'https://evil.example'"},
        {**python, "f/pyproject.toml": "[tool.uv]\nindex-url = 'https://evil.example'"},
        package(scripts={"postinstall": "node evil.js"}),
        package(overrides={"a": "npm:evil"}),
        package(peerDependencies={"evil": "1"}),
        package(workspaces=["evil"]),
        {**package(), "f/binding.gyp": "{}"},
        {**package(), "f/npm-shrinkwrap.json": "{}"},
    ):
        assert name(files) not in plain, files
    scripted = package(scripts={"postinstall": "node evil.js"})
    assert name({**scripted, "f/evil.js": "1"}) != name({**scripted, "f/evil.js": "2"})


async def test_a_wheel_beside_the_code_is_nobody_elses(bench: Bench) -> None:
    """Two functions ask for a file of the same name, of which each has another; then one of them changes."""
    files: dict[str, str] = {}
    for name, version in (("evil", "1.666"), ("victim", "1.0")):
        files[f"{name}/main.py"] = CODE
        files[f"{name}/requirements.txt"] = "mylib-1.0-py3-none-any.whl\n"
        packed(bench, name, version)
    functions = project(bench.root, files)
    said = [(await call(bench, await built(bench, functions[name])))[0] for name in ("evil", "victim")]
    assert said == ["1.666", "1.0"]
    packed(bench, "victim", "1.1")
    changed = project(bench.root, files)
    assert changed["evil"] == functions["evil"]
    assert (await call(bench, await built(bench, changed["victim"])))[0] == "1.1"


def packed(bench: Bench, name: str, version: str) -> None:
    """Put a package that says this version beside a function's code, by a name that says 1.0."""
    path = wheel(bench.root / "handlers" / name, "mylib", "1.0")
    with zipfile.ZipFile(path) as archive:
        files = {one: archive.read(one).decode() for one in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for one, text in {**files, "mylib.py": f"VERSION = {version!r}\n"}.items():
            archive.writestr(one, text)


@needs_npm
async def test_a_tarball_beside_the_code_is_nobody_elses(bench: Bench) -> None:
    files: dict[str, str] = {}
    for name in ("evil", "victim"):
        files[f"{name}/index.js"] = "exports.handler = async () => require('foo');\n"
        files[f"{name}/package.json"] = '{"dependencies": {"foo": "foo-1.0.0.tgz"}}'
        (bench.root / "handlers" / name).mkdir(parents=True)
        with tarfile.open(bench.root / "handlers" / name / "foo-1.0.0.tgz", "w:gz") as archive:
            content = {"package.json": '{"name": "foo", "version": "1.0.0"}', "index.js": f"module.exports = '{name}';"}
            for path, text in content.items():
                entry = tarfile.TarInfo(f"package/{path}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
    functions = project(bench.root, files)
    for name in ("evil", "victim"):
        assert await call(bench, await built(bench, functions[name])) == name


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_the_build_of_an_environment_that_is_shared_sees_what_it_is_named_by(bench: Bench, level: str) -> None:
    """Whatever else lies in the code, an installer or a package's script could be led to."""
    tools = bench.root / "tools"
    tools.mkdir()
    for tool, made in (("uv", "../made/"), ("npm", "node_modules/")):
        looks = f"mkdir -p {made}; (cd /var/task 2>/dev/null && find . -type f; find . -type f; cat *.*) > {made}told"
        (tools / tool).write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{looks}\n")
        (tools / tool).chmod(0o755)
    files = {
        "p/main.py": "evil",
        "p/requirements.txt": "mylib @ https://host.example/mylib.whl\n",
        "p/mylib @ https:/host.example/mylib.whl/setup.py": "evil",
        "n/index.mjs": "evil",
        "n/package.json": '{"name": "mine", "dependencies": {"a": "1"}, "scripts": {"test": "mine"}}',
        "n/.npmrc": "audit=false\n",
        "n/evil.js": "evil",
    }
    seen = {"p": {"./requirements.txt", "./requirements.triggerhub.txt"}, "n": {"./package.json", "./.npmrc"}}
    functions = project(bench.root, files, at(level, *([tools] if level == "isolated" else [])))
    for name, function in functions.items():
        await environments(bench, {"PATH": f"{tools}:/usr/bin:/bin"}).build(function)
        text = (function.needs.folder / ("node_modules/told" if name == "n" else "told")).read_text()
        assert {line for line in text.splitlines() if line.startswith("./")} - {"./node_modules/told"} == seen[name]
        assert "evil" not in text
        assert "mine" not in text
    other = project(bench.root, files, at("isolated" if level == "trusted" else "trusted"))
    assert not {one.needs.folder for one in other.values()} & {one.needs.folder for one in functions.values()}


@pytest.mark.parametrize(
    ("packages", "says"),
    [
        (("mylib @ file:///no/such/mylib-1.0-py3-none-any.whl",), "pip failed with status 1: .*no/such"),
        (("not a requirement ===",), "pip failed with status 1: .*[Ii]nvalid requirement"),
    ],
)
async def test_a_build_that_fails_says_why_and_leaves_nothing(
    bench: Bench, packages: tuple[str, ...], says: str
) -> None:
    function = project(bench.root, {"f.py": script(*packages)})["f"]
    with pytest.raises(ConfigError, match=f"(?s){says}"):
        await environments(bench).build(function)
    assert list((bench.root / "var/environments").iterdir()) == []


async def test_without_an_installer_it_says_what_to_install(bench: Bench) -> None:
    function = project(bench.root, {"f/index.mjs": "", "f/package.json": '{"dependencies": {"a": "1"}}'})["f"]
    with pytest.raises(ConfigError, match="npm is not installed here") as caught:
        await environments(bench, {"PATH": "/nowhere"}).build(function)
    assert caught.value.hint == "install it, or put node_modules into the folder"


@needs_npm
@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_a_package_json_in_a_functions_folder(bench: Bench, level: str) -> None:
    files = {
        "f/index.mjs": 'import { version } from "mylib";\nexport const handler = async () => version;\n',
        "f/package.json": '{"type": "module", "dependencies": {"mylib": "file:./vendor/mylib"}}',
        "f/vendor/mylib/package.json": '{"name": "mylib", "version": "3.0.0", "main": "index.js"}',
        "f/vendor/mylib/index.js": 'exports.version = "3.0";\n',
    }
    function = await built(bench, project(bench.root, files, at(level))["f"])
    assert await call(bench, function) == "3.0"
    assert project(bench.root, files, at(level))["f"] == function
    (bench.root / "var").rename(bench.root / "elsewhere")
    assert (
        project(bench.root, files, at(level))["f"].code.joinpath("node_modules").readlink()
        == function.needs.folder / "node_modules"
    )


BOOTSTRAP = """#!/bin/sh
exec python3 -c '
import http.client, json, mylib, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = api.getresponse()
    answer.read()
    request = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", json.dumps(mylib.VERSION))
    api.getresponse().read()
'
"""


@pytest.mark.skipif(not shutil.which("python3", path=PROGRAMS), reason="there is no python3 for a handler to find")
async def test_a_bootstraps_requirements_are_for_the_python_that_it_finds(bench: Bench) -> None:
    wheel(bench.root / "handlers/f/wheels", "mylib", "4.0")
    requirements = "./wheels/mylib-4.0-py3-none-any.whl\n"
    (bench.root / "handlers/f/bootstrap").write_text(BOOTSTRAP)
    (bench.root / "handlers/f/bootstrap").chmod(0o755)
    function = await built(bench, project(bench.root, {"f/requirements.txt": requirements})["f"])
    assert function.needs.program == shutil.which("python3", path=PROGRAMS)
    assert await call(bench, function) == "4.0"


def test_a_bootstrap_has_one_kind_of_needs(bench: Bench) -> None:
    folder = bench.root / "handlers/f"
    folder.mkdir(parents=True)
    for name, text in {
        "bootstrap": "#!/bin/sh\n", "requirements.txt": "a\n", "package.json": '{"dependencies": {"b": "1"}}'
    }.items():  # fmt: skip
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (bench.root / "triggerhub.toml").write_text("")
    loaded = load(bench.root, environ={})
    (problem,) = loaded.problems
    assert (problem.code, problem.severity) == ("bad-dependencies", "warning")
    assert "it has both a requirements.txt and a package.json" in problem.message
    assert loaded.project is not None
    assert problem.message in loaded.project.functions["f"].faulty
    (folder / "requirements.txt").unlink()
    needs = project(bench.root, {})["f"].needs
    assert needs is not None
    assert needs.kind == "node"


@needs_uv
@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_uv_builds_where_it_is_installed(bench: Bench, level: str) -> None:
    package = wheel(bench.root / "wheels", "mylib")
    shown = [package.parent] if level == "isolated" else []
    function = project(bench.root, {"f.py": script("mylib", code=CODE)}, at(level, *shown))["f"]
    places = f"{os.path.dirname(UV or '')}:/usr/bin:/bin"
    said: list[str] = []
    settings = {"PATH": places, "UV_OFFLINE": "1", "UV_FIND_LINKS": str(package.parent), "UV_NO_INDEX": "1"}
    await environments(bench, settings).build(function, said.append)
    assert await call(bench, function) == ["1.0", False, True, []]
    assert [line for line in said if "mylib==1.0" in line], said


async def test_uv_is_found_beside_the_hubs_own_python(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "bin"
    own.mkdir(parents=True)
    for name in ("python", "uv"):
        (own / name).write_text(f"#!/bin/sh\necho this is {name} beside it >&2\nexit 1\n")
        (own / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(own / "python"))
    function = project(bench.root, {"f.py": script("a")}, at("trusted"))["f"]
    with pytest.raises(ConfigError, match="this is uv beside it"):
        await environments(bench, {"PATH": "/nowhere"}).build(function)


async def test_what_nothing_needs_any_more_is_collected(bench: Bench, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text("#!/bin/sh\n")
    (tools / "uv").chmod(0o755)
    functions = project(bench.root, {"f.py": script("a"), "g.py": script("b")})
    for function in functions.values():
        await environments(bench, {"PATH": str(tools)}).build(function)
    keep = functions["f"].needs.folder
    (keep.parent / ".1.left").mkdir()
    collect(keep.parent, {keep})
    assert list(keep.parent.iterdir()) == [keep]

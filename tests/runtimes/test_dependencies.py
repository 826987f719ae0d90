"""What a function depends on is built once, away from it, and is all that it sees beside its code."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from triggerhub.config.interpreters import PROGRAMS
from triggerhub.config.load import load
from triggerhub.errors import ConfigError, StartFailed
from triggerhub.runtimes import installer
from triggerhub.runtimes.dependencies import Environments, collect
from triggerhub.settings import MB, Function

from .attacks.world import named
from .conftest import Bench, invocation, until

needs_npm = pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")


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


def installing(bench: Bench, text: str, level: str) -> tuple[Function, dict[str, str]]:
    """Return a function whose installer is this script, and the environment in which it is."""
    tools = bench.root / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "uv").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
    (tools / "uv").chmod(0o755)
    return project(bench.root, {"f.py": script("a")}, at(level))["f"], {"PATH": str(tools)}


def lasting(mark: str) -> str:
    """Return a script that starts a process of that mark and waits."""
    return f"/bin/sleep 300.{mark} &\nwait"


def marked(mark: str) -> list[str]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"300.{mark}" in said(path)]


def said(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_a_build_that_is_cancelled_leaves_nothing(bench: Bench, level: str) -> None:
    mark = str(secrets.randbelow(10**9))
    function, environ = installing(bench, lasting(mark), level)
    build = asyncio.create_task(environments(bench, environ).build(function))
    async with asyncio.timeout(30):
        while not marked(mark):
            await asyncio.sleep(0.01)
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    assert not marked(mark)
    assert list((bench.root / "var/environments").iterdir()) == []


@pytest.mark.parametrize("level", ["isolated", "trusted"])
def test_a_build_ends_with_a_hub_that_is_killed(bench: Bench, level: str) -> None:
    mark = str(secrets.randbelow(10**9))
    function, environ = installing(bench, lasting(mark), level)
    code = f"""
        import asyncio
        from pathlib import Path, PosixPath
        from tests.runtimes.conftest import Lines
        from triggerhub.runtimes.dependencies import Environments
        from triggerhub.runtimes.process import ProcessRuntime
        from triggerhub.settings import Function, Needs
        function = Function(name="f", runtime="python", code={function.code!r}, needs={function.needs!r}, level={level!r})

        async def build():
            runtime = ProcessRuntime(Lines(), Path({str(bench.scratch)!r}))
            await Environments(runtime.enclosed, {environ!r}).build(function)

        asyncio.run(build())
    """
    hub = subprocess.Popen([sys.executable, "-c", dedent(code)], cwd=Path(__file__).parents[2])
    try:
        until(lambda: marked(mark), "the installer is at work")
    finally:
        hub.kill()
        hub.wait()
    until(lambda: not marked(mark), "the end of what the installer started")
    collect(function.needs.folder.parent, ())
    assert list(function.needs.folder.parent.iterdir()) == []


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_the_installer_gets_its_own_settings_and_none_of_the_hubs(bench: Bench, level: str) -> None:
    function, more = installing(bench, 'env > ../made/told\necho "$@" >> ../made/told', level)
    environ = {"UV_INDEX_URL": "x", "SECRET": "y", "AWS_SECRET_ACCESS_KEY": "z", "PIP_TARGET": "t", **more}
    await environments(bench, environ).build(function)
    lines = (function.needs.folder / "told").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines[:-1]}
    assert {"PATH", "UV_INDEX_URL"} <= names
    assert not {"SECRET", "AWS_SECRET_ACCESS_KEY", "PIP_TARGET"} & names
    assert f"--python {sys.executable}" in lines[-1]


@pytest.fixture
def private() -> Iterator[None]:
    """Make files as the hub does: for nobody else."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private")
async def test_a_build_in_a_sandbox_finds_the_registries_of_the_hubs_user(bench: Bench) -> None:
    wheels, home = wheel(bench.root / "wheels", "mylib").parent, bench.root / "home"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(f"[global]\nno-index = true\nfind-links =\n    {wheels}\n")
    (home / ".config/pip/pip.conf").chmod(0o600)
    for path in (bench.root, wheels, *wheels.iterdir()):
        path.chmod(0o755)
    function = project(bench.root, {"f.py": script("mylib", code=CODE)})["f"]
    heard: list[str] = []
    await environments(bench, {"PATH": "/usr/bin:/bin", "HOME": str(home)}).build(function, heard.append)
    assert (await call(bench, function))[0] == "1.0"
    assert any("mylib" in line for line in heard)


async def test_a_path_that_a_handler_names_is_not_shown_to_its_build(bench: Bench) -> None:
    package = wheel(bench.root / "wheels", "mylib")
    function = project(bench.root, {"f.py": script(f"mylib @ {package.as_uri()}")})["f"]
    with pytest.raises(ConfigError, match="No such file") as caught:
        await environments(bench).build(function)
    assert caught.value.hint is not None
    assert "sandbox = { read = [...] } shows" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "rmdir ../made && ln -s /etc ../made", "something else in the place of its folder made", id="link"
        ),
        pytest.param("mkfifo ../made/x", "the installer left x, which is no file", id="pipe"),
        pytest.param("printf '\\033[2Jgone\\n'; exit 3", "uv failed with status 3: �\\[2Jgone", id="escapes"),
        pytest.param("kill -9 $$", "uv failed with status -9", id="killed"),
    ],
)
async def test_what_an_installer_leaves_is_looked_at(bench: Bench, text: str, says: str) -> None:
    function, environ = installing(bench, text, "isolated")
    before = Path("/etc").stat().st_mode
    with pytest.raises(ConfigError, match=says):
        await environments(bench, environ).build(function)
    assert Path("/etc").stat().st_mode == before
    assert list((bench.root / "var/environments").iterdir()) == []


async def test_links_are_published_as_links_and_never_followed(bench: Bench) -> None:
    (bench.root / "secret").write_text("x")
    text = f"ln -s {bench.root}/secret ../made/a; ln -s {bench.root} ../made/b; mkdir -m 0 ../made/c"
    function, environ = installing(bench, text, "isolated")
    before = (bench.root / "secret").stat().st_mode, bench.root.stat().st_mode
    await environments(bench, environ).build(function)
    assert (function.needs.folder / "a").is_symlink()
    assert (function.needs.folder / "b").is_symlink()
    assert ((bench.root / "secret").stat().st_mode, bench.root.stat().st_mode) == before


@pytest.mark.parametrize(
    ("limit", "text", "says"),
    [
        ("DISK", "head -c 40000000 /dev/zero > ../cache/x; sleep 300", "filled more than 16 MB of the disk"),
        ("FILES", "for i in $(seq 400); do : > ../cache/$i; done; sleep 300", "made more than 16 files"),
        ("LIMIT", "sleep 300", "was still busy after 1 seconds"),
    ],
)
async def test_a_build_that_takes_too_much_is_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limit: str, text: str, says: str
) -> None:
    monkeypatch.setattr(installer, limit, {"DISK": 16 * MB, "FILES": 16, "LIMIT": 1.0}[limit])
    function, environ = installing(bench, text, "isolated")
    with pytest.raises(ConfigError, match=f"uv {says}"):
        await environments(bench, environ).build(function)
    assert list((bench.root / "var/environments").iterdir()) == []


async def test_a_build_that_holds_too_much_memory_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "MEMORY", 128 * MB)
    code = "b = bytearray(900 << 20); b[::4096] = bytes(len(b) // 4096); import time; time.sleep(300)"
    text = f"exec /usr/bin/python3 -c '{code}'"
    function, environ = installing(bench, text, "isolated")
    with pytest.raises(ConfigError, match=r"uv held more than 256 MB of memory|MemoryError"):
        await environments(bench, environ).build(function)


BACKEND = """
import json, os, subprocess, zipfile

def get_requires_for_build_wheel(config_settings=None):
    return []

def attempt(act):
    try:
        return bool(act())
    except Exception:
        return False

def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read()

def build_wheel(folder, config_settings=None, metadata_directory=None):
    facts = json.load(open("facts.json"))
    def written(path):
        with open(path, "w") as file:
            file.write("x")
        return True
    def grandchild():
        code = "import os, time; os.fork() and os._exit(0); os.setsid(); print(flush=True); time.sleep(3600)"
        command = ["/usr/bin/env", "python3", "-c", code, facts["mark"]]
        subprocess.Popen(command, start_new_session=True, stdout=-1, stderr=-3).stdout.readline()
    bit = {
        "read the hub's secret": attempt(lambda: open(facts["secret"]).read()),
        "read another function": attempt(lambda: os.listdir(facts["versions"])),
        "read the configuration": attempt(lambda: open(facts["toml"]).read()),
        "find the hub's variables": attempt(lambda: b"=" in environment(facts["hub"])),
        "signal the hub": attempt(lambda: os.kill(facts["hub"], 0) is None),
    }
    # Whether these bite is seen on the host: the folder that is there for it may be its own, in memory.
    attempt(lambda: written(facts["project"] + "/written"))
    attempt(lambda: written(facts["handler"]))
    grandchild()
    with zipfile.ZipFile(f"{folder}/evil-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("evil.py", f"BIT = {bit!r}")
        archive.writestr("evil-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: evil\\nVersion: 1.0\\n")
        archive.writestr("evil-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("evil-1.0.dist-info/RECORD", "evil.py,,\\n")
    return "evil-1.0-py3-none-any.whl"
"""


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_a_package_that_attacks_while_it_is_built(bench: Bench, level: str) -> None:
    """At ``trusted`` it bites, which shows that it is real."""
    mark = f"evil-{secrets.token_hex(6)}"
    for name in ("var/secrets/TOKEN", "var/versions/other/x/app.py"):
        (bench.root / name).parent.mkdir(parents=True)
        (bench.root / name).write_text("theirs")
    handler = bench.root / "handlers/f/main.py"
    facts = {
        "mark": mark,
        "hub": os.getpid(),
        "secret": str(bench.root / "var/secrets/TOKEN"),
        "versions": str(bench.root / "var/versions/other"),
        "toml": str(bench.root / "triggerhub.toml"),
        "project": str(bench.root),
        "handler": str(handler),
    }
    code = "import evil\ndef handler(event, context):\n    return evil.BIT\n"
    files = {
        "f/main.py": code,
        "f/requirements.txt": "./evil\n",
        "f/evil/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "f/evil/backend.py": BACKEND,
        "f/evil/facts.json": json.dumps(facts),
    }
    function = await built(bench, project(bench.root, files, at(level))["f"])
    bit = await call(bench, function)
    left = named(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert bool(left) == (level == "trusted")
    assert [name for name, did in bit.items() if did != (level == "trusted")] == []
    assert (bench.root / "written").exists() == (level == "trusted")
    assert (handler.read_text() == code) == (level != "trusted")


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
        project(bench.root, files)["f"].code.joinpath("node_modules").readlink()
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
    (problem,) = load(bench.root, environ={}).problems
    assert problem.code == "bad-dependencies"
    assert "it has both a requirements.txt and a package.json" in problem.message
    (folder / "requirements.txt").unlink()
    needs = project(bench.root, {})["f"].needs
    assert needs is not None
    assert needs.kind == "node"


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

"""What an installer may do while it builds what a function depends on, and what becomes of what it leaves."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent

import pytest

from triggerhub.errors import ConfigError
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtimes import installer
from triggerhub.runtimes.dependencies import collect
from triggerhub.runtimes.probe import Findings
from triggerhub.settings import MB, Function

from .attacks.world import named
from .conftest import Bench, until
from .test_dependencies import CODE, at, built, call, environments, project, script, wheel


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


def nested(where: str, depth: int, name: str) -> str:
    """Return a script that makes folders within one another."""
    return f"cd ../{where} && for one in $(seq {depth}); do mkdir {name} && cd -P {name} || exit 1; done"


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


async def test_a_registry_at_a_private_address_is_reached_where_settings_name_it(bench: Bench) -> None:
    folder = wheel(bench.root / "index/mylib", "mylib").parent
    (folder / "index.html").write_text(f'<a href="{next(folder.glob("*.whl")).name}">mylib</a>')
    function = project(bench.root, {"f.py": script("mylib", code=CODE)})["f"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(bench.root / "index")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(bench.root), "PIP_CONFIG_FILE": os.devnull}
        await environments(bench, {**environ, "PIP_INDEX_URL": url, "UV_INDEX_URL": url}).build(function)
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
    assert (await call(bench, function))[0] == "1.0"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *what: object) -> None: ...


async def test_a_host_that_is_refused_is_told_with_what_lists_it(bench: Bench) -> None:
    text = """
        proxy=${HTTPS_PROXY##*/}
        /usr/bin/env python3 - "${proxy%:*}" "${proxy#*:}" <<'END'
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(b"CONNECT 10.1.2.3:443 HTTP/1.1\\r\\nHost: 10.1.2.3:443\\r\\n\\r\\n")
sys.exit("by a proxy: " + client.makefile().readline())
END
    """
    function, environ = installing(bench, dedent(text), "isolated")
    with pytest.raises(ConfigError, match=r"403 10\.1\.2\.3:443 is not in sandbox\.network") as caught:
        await environments(bench, environ).build(function)
    assert caught.value.hint is not None
    assert 'sandbox = { network = ["HOST:PORT"] }' in caught.value.hint
    assert any("refused a connection: 10.1.2.3:443" in line for line in bench.lines.of(None))


async def test_a_path_that_a_handler_names_is_not_shown_to_its_build(bench: Bench) -> None:
    package = wheel(bench.root / "wheels", "mylib")
    function = project(bench.root, {"f.py": script(f"mylib @ {package.as_uri()}")})["f"]
    with pytest.raises(ConfigError, match="No such file") as caught:
        await environments(bench).build(function)
    assert caught.value.hint is not None
    assert "sandbox = { read = [...] } shows" in caught.value.hint


async def test_where_there_are_no_sockets_nothing_is_built(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = dict.fromkeys((Ability.SANDBOX, Ability.GROUPS), Lack(found="left out", remedy="mend it"))
    async with bench.launcher.held(start=True):
        monkeypatch.setattr(bench.launcher, "findings", Findings(lacks=lacks))
        function = project(bench.root, {"f.py": script("a")}, at("confined"))["f"]
        with pytest.raises(ConfigError, match="which has no sockets") as caught:
            await environments(bench).build(function)
    assert caught.value.hint is not None
    assert "bring the packages along" in caught.value.hint
    assert list((bench.root / "var/environments").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "rmdir ../made && ln -s /etc ../made", "something else in the place of its folder made", id="link"
        ),
        pytest.param("mkfifo ../made/x", "the installer left x, which is no file", id="pipe"),
        pytest.param(
            "mkdir ../made/a && mkfifo ../made/a/x && chmod 0 ../made/a", "left x, which is no file", id="hidden pipe"
        ),
        pytest.param(nested("made", 1500, "d"), "left folders within one another, more than 100", id="depth"),
        pytest.param(nested("made", 60, "d" * 200), "left folders within one another", id="length"),
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
import json, os, socket, subprocess, zipfile

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

def connected(port):
    proxy = os.environ["HTTPS_PROXY"].rpartition("/")[2].split(":")
    with socket.create_connection((proxy[0], int(proxy[1])), 5) as client:
        client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n\\r\\n" % (port, port))
        return client.recv(1000)

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
        "reach the hub's port": attempt(lambda: socket.create_connection(("127.0.0.1", facts["port"]), 5)),
        "reach it by a proxy": attempt(lambda: not facts["apart"] or b" 200 " in connected(facts["port"])),
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
    hub = socket.create_server(("127.0.0.1", 0))
    facts |= {"port": hub.getsockname()[1], "apart": level != "trusted"}
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
    hub.close()
    left = named(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert bool(left) == (level == "trusted")
    assert [name for name, did in bit.items() if did != (level == "trusted")] == []
    assert (bench.root / "written").exists() == (level == "trusted")
    assert (handler.read_text() == code) == (level != "trusted")


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_what_a_build_leaves_beside_its_result_is_removed_however_deep(bench: Bench, level: str) -> None:
    hidden = "mkdir -p ../.hidden/a && echo x > ../.hidden/a/x && chmod 0 ../.hidden/a"
    function, environ = installing(bench, f"{hidden}\n{nested('tmp', 1500, 'd')}", level)
    await environments(bench, environ).build(function)
    assert list((bench.root / "var/environments").iterdir()) == [function.needs.folder]


async def test_links_of_packages_that_lead_to_themselves_or_to_all_are_left_as_they_are(bench: Bench) -> None:
    tools = bench.root / "tools"
    tools.mkdir()
    links = (
        "mkdir node_modules && cd node_modules && ln -s round round && ln -s .. all && ln -s ../lib lib && mkdir ../lib"
    )
    (tools / "npm").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{links}\n")
    (tools / "npm").chmod(0o755)
    files = {"f/index.mjs": "", "f/package.json": '{"dependencies": {"a": "1"}}'}
    function = project(bench.root, files, at("trusted"))["f"]
    await environments(bench, {"PATH": str(tools)}).build(function)
    modules = function.needs.folder / "node_modules"
    assert {path.name: path.is_symlink() for path in modules.iterdir()} == {"round": True, "all": True, "lib": False}

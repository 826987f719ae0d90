"""Each of the examples runs as its comments say, by the command that its README shows."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, until

EXAMPLES = Path(__file__).parents[2] / "examples"
RIC = "handlers/aws-lambda-ric/node_modules"
COMPILED = (
    ("handlers/compiled", "cc"),
    ("handlers/rust/bootstrap", "rustc"),
    ("handlers/go/bootstrap", "go"),
    ("handlers/java/bootstrap", "javac"),
)


def wheel(folder: Path) -> None:
    """Stand in for the package that an example depends on: tests ask no registry."""
    about = "humanize-4.99.dist-info"
    files = {
        "humanize.py": "def naturalsize(bytes):\n    return f'{bytes / 1000:.1f} kB'\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: humanize\nVersion: 4.99\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{about}/RECORD"))
    folder.mkdir()
    with zipfile.ZipFile(folder / "humanize-4.99-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def runtime_client(target: Path) -> None:
    """Bring AWS's client along, from this environment, file by file as it was installed."""
    for name in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        for file in importlib.metadata.files(name) or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.suffix != ".pyc" and source.is_file():
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target / file)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    project = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES, project, ignore=shutil.ignore_patterns("var"), dirs_exist_ok=True)
    if not (project / RIC).is_dir():
        # Its client would be asked of a registry, and compiled.
        shutil.rmtree(project / "handlers/aws-lambda-ric")
    for target, tool in COMPILED:
        if shutil.which(tool) and not (project / target).exists():
            subprocess.run(["make", "-s", "-C", str(project), target], check=True, timeout=120)
    runtime_client(project / "handlers/awslambdaric")
    bootstrap = project / "handlers/awslambdaric/bootstrap"
    bootstrap.write_text(bootstrap.read_text().replace("exec python3", f"exec {sys.executable}"))
    wheel(project / "wheels")
    daemon = Daemon(project)
    toml = (EXAMPLES / "triggerhub.toml").read_text()
    daemon.write(toml if (project / RIC).is_dir() else toml.partition("[functions.aws-lambda-ric]")[0])
    try:
        daemon.start(environ={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels"), "UV_OFFLINE": "1"})
        yield daemon
        assert daemon.stop() == 0
    finally:
        if daemon.alive:
            daemon.kill()


def invoke(hub: Daemon, function: str, event: Any) -> Any:
    ran = hub.cli("invoke", function, "-d", json.dumps(event))
    assert ran.returncode == 0, (ran.stdout, ran.stderr, hub.log())
    return json.loads(ran.stdout)


def test_async_python(hub: Daemon) -> None:
    assert invoke(hub, "concurrent", {"names": ["a", "b"]}) == ["Hello, a!", "Hello, b!"]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_a_module_for_node(hub: Daemon) -> None:
    answer = invoke(hub, "module", {"name": "you"})
    assert (answer["hello"], answer["left"], len(answer["code"])) == ("you", True, 12)


def test_a_shell_script(hub: Daemon) -> None:
    assert invoke(hub, "script", {"name": "you"}) == {"NAME": "YOU"}


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler is installed")
def test_a_compiled_program(hub: Daemon) -> None:
    assert invoke(hub, "compiled", [1, 2]) == {"bytes": 6}


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_a_bootstrap_in_shell(hub: Daemon) -> None:
    for name in ("you", "me"):
        assert invoke(hub, "shout", {"name": name}) == {"NAME": name.upper()}


@pytest.mark.skipif(not shutil.which("rustc"), reason="rustc is not installed")
def test_a_bootstrap_in_rust(hub: Daemon) -> None:
    for number in range(2):
        assert invoke(hub, "rust", {"n": number}) == {"n": number}


@pytest.mark.skipif(not shutil.which("go"), reason="Go is not installed")
def test_a_bootstrap_in_go(hub: Daemon) -> None:
    for number in range(2):
        assert invoke(hub, "go", {"n": number}) == {"n": number}


@pytest.mark.skipif(not shutil.which("javac"), reason="no JDK is installed")
def test_a_bootstrap_in_java(hub: Daemon) -> None:
    for number in range(2):
        assert invoke(hub, "java", {"n": number}) == {"n": number}


def test_the_runtime_client_for_python(hub: Daemon) -> None:
    assert invoke(hub, "awslambdaric", {"name": "you"}) == {"hello": "you", "left": True}


@pytest.mark.skipif(not (EXAMPLES / RIC).is_dir(), reason=f"there is no examples/{RIC}: npm install in it")
def test_the_runtime_client_for_node(hub: Daemon) -> None:
    assert invoke(hub, "aws-lambda-ric", {"name": "you"}) == {"hello": "you", "left": True}


def test_packages_of_a_handlers_own(hub: Daemon) -> None:
    until(lambda: not json.loads(hub.cli("status", "--json", check=True).stdout)["preparing"], "the packages are built")
    assert invoke(hub, "dependencies", {"bytes": 1500}) == "1.5 kB"
    assert "dependencies are built" in hub.log()


def test_the_readme_names_each_of_them(hub: Daemon) -> None:
    rows = json.loads(hub.cli("functions", "list", "--json", check=True).stdout)
    readme = (EXAMPLES / "README.md").read_text()
    assert [row["name"] for row in rows if f"[`{row['name']}`]" not in readme] == []

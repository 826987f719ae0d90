"""Layers come to one read-only folder, the later over the earlier, and are on every path that Lambda puts them on."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from triggerhub.errors import ConfigError
from triggerhub.runtimes import layers
from triggerhub.settings import Interpreter

from .conftest import Bench


def zipped(path: Path, files: Mapping[str, str], mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, text)
    return path


def folder(path: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_later_layer_wins(tmp_path: Path) -> None:
    first = zipped(tmp_path / "a.zip", {"bin/tool": "old", "lib/x": "1", "etc": "a file", "data/deep/y": "2"}, 0o755)
    second = folder(tmp_path / "b", {"bin/tool": "new", "etc/conf": "3", "data": "a file now"})
    opt = layers.assemble(tmp_path / "home", [first, second])
    assert content(opt) == {"bin/tool": "new", "lib/x": "1", "etc/conf": "3", "data": "a file now"}
    assert (stat.S_IMODE((opt / "lib/x").stat().st_mode), stat.S_IMODE((opt / "data").stat().st_mode)) == (0o555, 0o444)
    assert stat.S_IMODE((opt / "bin").stat().st_mode) == 0o555
    assert layers.assemble(tmp_path / "home", [first, second]) == opt
    assert content(layers.assemble(tmp_path / "home", [second, first]))["bin/tool"] == "old"
    assert sorted(path.name for path in (tmp_path / "home").iterdir() if path.name.startswith(".")) == []


def test_a_layer_that_changes_is_another(tmp_path: Path) -> None:
    layer = zipped(tmp_path / "a.zip", {"x": "1"})
    opt = layers.assemble(tmp_path / "home", [layer])
    zipped(layer, {"x": "22"})
    assert content(layers.assemble(tmp_path / "home", [layer])) == {"x": "22"}
    assert content(opt) == {"x": "1"}
    layers.collect(tmp_path / "home", {opt})
    assert list((tmp_path / "home").iterdir()) == [opt]


@pytest.mark.parametrize("make", [zipped, folder], ids=["zip", "folder"])
def test_a_layer_that_changes_while_it_is_copied_is_named_by_what_was_copied(tmp_path: Path, make) -> None:
    home, layer = tmp_path / "home", make(tmp_path / "layer", {"x": "1"})
    mixed = layers.assemble(home, [layer], lambda: make(layer, {"x": "2"}) and None)
    assert content(mixed) == {"x": "2"}
    assert layers.assemble(home, [layer]) == mixed
    make(layer, {"x": "1"})
    assert content(layers.assemble(home, [layer])) == {"x": "1"}


@pytest.mark.parametrize("name", ["m.py", "python"])
def test_a_link_that_was_put_there_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files, secret = {"python/m.py": "1"}, folder(tmp_path / "secret", {"m.py": "SECRET", "python/m.py": "SECRET"})
    layer = folder(tmp_path / "layer", files)
    look = layers.snapshot.files_of_folder

    def late(path: Path) -> dict[str, Path]:
        found = look(path)
        (place,) = layer.rglob(name)
        place.rename(tmp_path / "away")
        place.symlink_to(secret / name)
        return found

    def change() -> None:
        monkeypatch.setattr(layers.snapshot, "files_of_folder", late)

    with pytest.raises(ConfigError, match=r"layer cannot be copied: .*/layer/python/m\.py: "):
        layers.assemble(tmp_path / "home", [layer], change)
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("name", ["../slip", "/etc/slip", "a/../../slip"])
def test_what_leads_out_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    layer = zipped(tmp_path / "a.zip", {"fine": "", name: "x"})
    with pytest.raises(ConfigError, match=r"a\.zip cannot be a layer: .*leads out of the archive"):
        layers.assemble(tmp_path / "home", [layer])
    assert list((tmp_path / "home").iterdir()) == []
    with pytest.raises(ConfigError, match="cannot be a layer"):
        layers.check([layer])


def test_all_layers_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers.archive, "UNZIPPED", 1000)
    one, two = zipped(tmp_path / "a.zip", {"x": "1" * 600}), folder(tmp_path / "b", {"y": "2" * 600})
    assert layers.assemble(tmp_path / "home", [one])
    with pytest.raises(ConfigError, match=r"b has too much in it: all layers together may have 1,000 bytes"):
        layers.assemble(tmp_path / "home", [one, two])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, r"there is no .*/layer"),
        (os.mkfifo, "layer is neither a file nor a folder"),
        (lambda path: path.write_text("no zip"), "cannot be a layer: it is no zip archive"),
        (lambda path: path.write_bytes(b"PK\x05\x06" + bytes(10)), "cannot be a layer: it is no zip archive"),
    ],
    ids=["missing", "pipe", "text", "cut short"],
)
def test_what_is_no_layer(tmp_path: Path, make, says: str) -> None:
    make(tmp_path / "layer")
    with pytest.raises(ConfigError, match=says):
        layers.assemble(tmp_path / "home", [tmp_path / "layer"])


FILES = {
    "python/shared.py": "WHERE = 'python'\n",
    "python/queue.py": "raise RuntimeError('never for the interpreter itself')\n",
    "nodejs/node_modules/shared/index.js": "exports.where = 'nodejs'\n",
}


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_python_imports_from_layers(bench: Bench, level: str) -> None:
    bench.level = level
    own = f"python/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/mine.py"
    opt = layers.assemble(bench.root / "home", [folder(bench.root / "l", {**FILES, own: "WHERE = 'own'\n"})])
    seen = opt if level == "trusted" else "/opt"
    function = bench.python(
        """
        import os, shared, mine
        def handler(event, context):
            return [shared.WHERE, mine.WHERE, os.environ["PATH"].split(":")[-1], [n for n in os.environ if "OPT" in n]]
        """,
        opt=opt,
    )
    assert json.loads((await bench.call(function)).payload) == ["python", "own", f"{seen}/bin", []]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
async def test_node_requires_from_layers(bench: Bench) -> None:
    versioned = "nodejs/node20/node_modules/shared/index.js"
    opt = layers.assemble(
        bench.root / "home", [folder(bench.root / "l", {**FILES, versioned: "exports.where = '20'\n"})]
    )
    code = "exports.handler = async () => [require('shared').where]"
    node = str(shutil.which("node"))
    for version, where in (((20,), "20"), ((18,), "nodejs")):
        chosen = Interpreter(runtime="node", program=node, name="n", version=version)
        function = bench.node(code, name="app.cjs", opt=opt, interpreter=chosen)
        assert json.loads((await bench.call(function)).payload) == [where]


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_programs_find_those_of_layers(bench: Bench, level: str) -> None:
    bench.level = level
    layer = zipped(bench.root / "a.zip", {"bin/greet": "#!/bin/sh\necho '\"from a layer\"'\n"}, 0o755)
    opt = layers.assemble(bench.root / "home", [layer])
    function = bench.program("#!/bin/sh\nexec greet\n", opt=opt)
    assert (await bench.call(function)).payload == b'"from a layer"'


def test_the_extensions_of_an_archive_are_found_however_its_names_begin(tmp_path: Path) -> None:
    layer = tmp_path / "layer.zip"
    with zipfile.ZipFile(layer, "w") as made:
        made.writestr("./extensions/watch", "#!/bin/sh\n")
    assert layers.extensions([layer]) == ["watch"]

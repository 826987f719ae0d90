"""What the documents show is right: it loads, compiles and runs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sources import files
from tests.architecture.documents import DOCUMENTS, ROOT, Block, everywhere
from triggerhub.cli import cli
from triggerhub.config.load import load
from triggerhub.policy import password
from triggerhub.testing import START

AROUND = {
    "webhooks.md": 'type = "webhook"\npath = "/x"\nfunction = "echo"\n',
    "filtering.md": 'type = "queue"\nname = "x"\nfunction = "echo"\n',
}
"""By document, what the keys of a trigger are shown without."""


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("block", everywhere("toml"), ids=str)
def test_a_configuration_passes_check(block: Block, tmp_path: Path, pem: str) -> None:
    text = re.sub(r'"(?:/[\w.-]+)+/([\w.-]+\.pem)"', r'"\1"', block.text)
    if not re.search(r"(?m)^\[", text):
        around = AROUND[block.document.name]
        if block.document.name == "webhooks.md" and not re.search(r"(?m)^auth ", text):
            around += 'auth = "none"\n'
        text = f"[triggers.x]\n{around}{text}"
    for name in re.findall(r'file = "([^"]+)"|(?:cert|key) = "([^"]+\.pem)"', text):
        (tmp_path / "".join(name)).write_text(pem)
    for layer in re.findall(r'"(layers/[\w.]+)"', text):
        (tmp_path / layer).mkdir(parents=True)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "triggerhub.toml").write_text(text)
    if 'type     = "tail"' in text:
        (tmp_path / "sources").mkdir()
        source, *_ = (one for one in everywhere("python") if one.document == block.document)
        (tmp_path / "sources" / "tail.py").write_text(source.text)
    named = set(re.findall(r'function = "([\w-]+)"|"function:([\w-]+)"', text))
    for list_ in re.findall(r"functions = \[(.*?)\]", text):
        named |= {(name, "") for name in re.findall(r'"([\w-]+)"', list_)}
    named |= {(name, "") for name in re.findall(r'when +[=] "\w+\(([\w-]+)\)', text)}
    for name in {"".join(one) for one in named} | set(re.findall(r"(?m)^\[functions\.([\w-]+)\]", text)):
        (tmp_path / "handlers" / f"{name}.py").write_text("def handler(event, context): ...\n")
    referred = re.findall(r'\{ ?secret(?: = "|:)(\w+)', text)
    secrets = dict.fromkeys(referred, "a-secret-that-is-long-enough-for-HS512" * 2)
    hashes = {name: password.hashed("x", b"0123456789abcdef") for name in secrets if name.endswith("_HASH")}
    loaded = load(tmp_path, environ=secrets | hashes)
    assert [str(problem) for problem in loaded.problems] == []


@pytest.mark.parametrize("block", [one for one in everywhere("json") if one.info == "json"], ids=str)
def test_json_is_json(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict | list)


@pytest.mark.parametrize("block", everywhere("python"), ids=str)
def test_python_is_python(block: Block) -> None:
    assert ast.parse(block.text).body or block.text.startswith("# /// script\n"), "metadata is comments"


def test_the_first_handler_takes_the_first_triggers_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (one for one in everywhere("python") if one.document == ROOT / "README.md")
    (tmp_path / "a.txt").write_text("hi\n")
    options = files.Options(path=str(tmp_path))
    event = files.wrap(options, "uploads", b"a.txt", START)
    names: dict[str, object] = {}
    exec(compile(block.text, "thumbnail.py", "exec"), names)
    names["handler"](json.loads(files.envelope([event.data])), None)  # type: ignore[operator]
    assert capsys.readouterr().out == "a new file: a.txt\n"


def test_inline_metadata_is_read_as_it_is_shown(tmp_path: Path) -> None:
    (block,) = (one for one in everywhere("python") if one.document.name == "configuration.md")
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "big.py").write_text(block.text + "\ndef handler(event, context): ...\n")
    (tmp_path / "triggerhub.toml").write_text('[functions.big]\nmemory = "512MB"\n')
    loaded = load(tmp_path, environ={})
    assert loaded.problems == ()
    assert loaded.project is not None
    function = loaded.project.functions["big"]
    assert (function.timeout, function.memory) == (120_000, 512 << 20), "its table goes over it"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_links_to_what_exists(document: Path) -> None:
    text = re.sub(r"(?s)```.*?```", "", document.read_text())
    for target, anchor in re.findall(r"\]\(([^)#: ]*)(?:#([^)]*))?\)", text):
        linked = document.parent / target if target else document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), f"{target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """Return the anchors that a forge gives to the headings."""
    headings = re.findall(r"(?m)^#{1,6} (.*)$", document.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_leaves_nothing_to_do(document: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|TBD)\b", document.read_text())


_COMMAND = re.compile(r"(?m)(?:^\$? *|[`#(] *|bin/|; |&& )triggerhub ([^`|\n;#&]+)")


def shown() -> list[tuple[str, str]]:
    """Find the commands that the documents show, with the document."""
    files = [*DOCUMENTS, ROOT / "triggerhub.toml", *sorted((ROOT / "handlers").glob("*.py"))]
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in files}
    return [(name, words.strip()) for name, text in texts.items() for words in _COMMAND.findall(text)]


def test_the_commands_that_are_shown_exist() -> None:
    every = shown()
    assert len(every) > 25
    for document, words in every:
        command: click.Command = cli
        context = click.Context(cli)
        for word in words.replace(",", " ").split():
            if word.startswith("-") and word != "-":
                known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
                assert word.partition("=")[0] in known | {"--help"}, f"{document}: triggerhub {words}: {word}"
            elif isinstance(command, click.Group):
                found = command.get_command(context, word)
                assert found is not None, f"{document}: triggerhub {words}: there is no {word}"
                command = found


def test_the_targets_that_are_shown_exist() -> None:
    known = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for document in DOCUMENTS:
        for block in re.findall(r"`([^`]*)`|(?m:^(make .*)$)", document.read_text()):
            for target in re.findall(r"^make (\w+)", "".join(block)):
                assert target in known, f"{document.name}: make {target}"


def test_the_architecture_names_what_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in re.findall(r"\b((?:\w+/)*\w+\.py)\b", text + (ROOT / "CONTRIBUTING.md").read_text()):
        places = [ROOT / name, ROOT / "triggerhub" / name]
        assert any(place.exists() for place in places) or "NAME" in name, name
    for folder, words in re.findall(r"(?m)^ \d  (hub|config)/ +(.*)$", text):
        for word in words.split():
            assert (ROOT / "triggerhub" / folder / f"{word}.py").exists(), f"{folder}/{word}"
    for name in re.findall(r"`(hub/\w+)`", text):
        assert (ROOT / "triggerhub" / f"{name}.py").exists(), name
    tops = {path.name for path in (ROOT / "triggerhub").iterdir() if not path.name.startswith("__")}
    floors = text.partition("## The floors")[2].partition("## ")[0]
    assert all(name.removesuffix(".py") in floors for name in tops - {"py.typed"}), tops


def test_the_readme_leads_to_every_document() -> None:
    text = (ROOT / "README.md").read_text()
    assert [
        path.name for path in DOCUMENTS if path.name != "README.md" and f"{path.relative_to(ROOT)})" not in text
    ] == []

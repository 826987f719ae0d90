"""What the files source offers besides running: options, check, wrap, samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sources import files
from triggerhub import source, testing
from triggerhub.errors import BadInput

NOW = 1_767_225_600_000


def options(path: Path | str = "inbox", /, context: dict[str, Any] | None = None, **given: Any) -> files.Options:
    return files.Options.model_validate({"path": str(path), **given}, context=context)


def test_it_is_a_source() -> None:
    assert isinstance(files, source.Source)
    assert not hasattr(files, "fire")


def test_the_defaults_are_the_documented_ones() -> None:
    given = options()
    assert (given.include, given.events) == (("**/*",), ("created", "modified"))
    assert (given.settle, given.reconcile, given.existing) == (500, 60_000, "skip")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"path": ""}, "folder to watch"),
        ({"events": []}, "at least 1"),
        ({"events": ["moved"]}, "created"),
        ({"include": []}, "at least 1"),
        ({"include": ["/abs/*"]}, "relative"),
        ({"exclude": ["a**"]}, "segment"),
        ({"settle": 500}, "word with a unit"),
        ({"existing": "maybe"}, "skip"),
        ({"recursive": True}, "Extra inputs"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(given: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        files.Options.model_validate({"path": "inbox"} | given)


def test_a_path_in_the_data_folder_is_refused_and_others_are_placed_in_the_project() -> None:
    context = {"project": "/srv/demo", "data": "/srv/demo/var"}
    assert options("inbox", context=context).path == "/srv/demo/inbox"
    assert options("/srv/in", context=context).path == "/srv/in"
    assert options("variant", context=context).path == "/srv/demo/variant"
    for path in ("var", "./var/blobs", "/srv/demo/var"):
        with pytest.raises(ValidationError, match="data folder"):
            options(path, context=context)


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({}, []),
        ({"settle": "2m"}, ["files-reconcile"]),
        ({"existing": "emit", "events": ["deleted"]}, ["files-existing"]),
        ({"include": [".env", "*.csv"]}, ["files-excluded"]),
        ({"include": [".env"], "exclude": []}, []),
    ],
)
def test_combinations_that_cannot_work_are_found(given: dict[str, Any], codes: list[str]) -> None:
    found = files.check(options(**given), testing.trigger("inbox", "files"))
    assert [finding.code for finding in found] == codes


def test_a_file_in_the_place_of_the_folder_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("")
    (finding,) = files.check(options(str(tmp_path / "inbox")), testing.trigger("inbox", "files"))
    assert (finding.option, finding.code, finding.warning) == ("path", "files-path", True)
    assert list(files.check(options(str(tmp_path / "none")), testing.trigger("inbox", "files"))) == []


@pytest.mark.parametrize("body", [b"sub/a b.txt", b'"sub/a b.txt"', b"./sub/a b.txt\n", b"ABSOLUTE"])
def test_a_path_that_is_sent_becomes_the_event_of_that_file(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.txt").write_text("hello")
    sent = body.replace(b"ABSOLUTE", bytes(tmp_path / "sub" / "a b.txt"))
    event = files.wrap(options(tmp_path), "inbox", sent, NOW)
    record = json.loads(event.data)
    assert record["s3"]["object"]["key"] == "sub/a+b.txt"
    assert record["s3"]["object"]["size"] == 5
    assert record["triggerhub"]["path"] == str(tmp_path / "sub" / "a b.txt")
    assert event.dedup_key is None


def test_a_record_that_is_sent_is_taken_as_it_is(tmp_path: Path) -> None:
    body = b' {"s3": {"object": {"key": "a"}}}'
    assert files.wrap(options(tmp_path), "inbox", body, NOW).data == body


@pytest.mark.parametrize("body", [b"missing", b"../outside", b"", b"sub"])
def test_what_is_no_file_below_the_folder_is_refused(tmp_path: Path, body: bytes) -> None:
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_text("x")
    with pytest.raises(BadInput, match="no file") as caught:
        files.wrap(options(root), "inbox", body, NOW)
    assert caught.value.hint


def test_there_is_a_sample_of_each_kind(tmp_path: Path) -> None:
    samples = files.samples(options(tmp_path), "inbox", NOW)
    told = {name: json.loads(event.data) for name, event in samples.items()}
    assert {name: record["triggerhub"]["change"] for name, record in told.items()} == {
        name: name for name in ("created", "modified", "deleted")
    }
    assert all(record["s3"]["bucket"]["name"] == "inbox" for record in told.values())
    assert "size" not in told["deleted"]["s3"]["object"]
    assert json.loads(files.envelope([samples["created"].data]))["Records"] == [told["created"]]

"""Going back: the unqualified function or an alias, to a version that is named or to the one before."""

from __future__ import annotations

import json

import pytest

from triggerhub.deploy.record import Alias, Deployed, EventConfig, Url, Version, from_json, written
from triggerhub.deploy.rollback import alias_to, latest_as
from triggerhub.errors import Conflict, NotFound, TriggerhubError


def version(code: str, number: str = "$LATEST") -> Version:
    return Version(
        number=number, runtime="python3.11", handler="a.b", role="r", code=code, code_size=1, modified=1, revision=code
    )


def deployed(latest: str, *codes: str, **facts: object) -> Deployed:
    versions = {str(n): version(code, str(n)) for n, code in enumerate(codes, 1)}
    return Deployed(name="f", latest=version(latest), versions=versions, published=len(codes), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("latest", "codes", "to", "code"),
    [
        ("c", ["a", "b"], None, "b"),
        ("b", ["a", "b"], None, "a"),
        ("b", ["a", "b", "c"], None, "a"),
        ("b", ["a", "b", "b"], None, "a"),
        ("c", ["a", "b"], "1", "a"),
        ("a", ["a", "b"], "1", "a"),
    ],
)
def test_what_runs_unqualified_becomes_an_earlier_version(
    latest: str, codes: list[str], to: str | None, code: str
) -> None:
    back = latest_as(deployed(latest, *codes), to, now=9, revision="new")
    assert (back.latest.code, back.latest.number, back.latest.modified, back.latest.revision) == (
        code, "$LATEST", 9, "new",
    )  # fmt: skip
    assert back.versions == deployed(latest, *codes).versions


@pytest.mark.parametrize(("at", "to", "lands"), [("3", None, "2"), ("3", "1", "1"), ("$LATEST", None, "3")])
def test_an_alias_leads_to_one_earlier_version_alone(at: str, to: str | None, lands: str) -> None:
    aliases = {"live": Alias(version=at, weights={"2": 0.5} if at == "3" else {}, revision="r")}
    back = alias_to(deployed("d", "a", "b", "c", aliases=aliases), "live", to, revision="new")
    assert back.aliases["live"] == Alias(version=lands, revision="new")
    assert back.latest == version("d")


@pytest.mark.parametrize(
    ("before", "lands"),
    [("1", "1"), ("", "2"), ("9", "2"), ("$LATEST", "2")],
    ids=["known", "unknown", "gone", "$LATEST"],
)
def test_an_alias_goes_back_to_where_it_was(before: str, lands: str) -> None:
    aliases = {"live": Alias(version="3", before=before, revision="r")}
    back = alias_to(deployed("d", "a", "b", "c", aliases=aliases), "live", None, revision="new")
    assert back.aliases["live"] == Alias(version=lands, revision="new")


@pytest.mark.parametrize(
    ("kind", "says", "go"),
    [
        (Conflict, "no published version that differs", lambda: latest_as(deployed("a"), None, now=1, revision="n")),
        (Conflict, "no published version that differs", lambda: latest_as(deployed("a", "a"), None, now=1, revision="n")),
        (Conflict, "differs from what runs, before 1", lambda: latest_as(deployed("a", "a", "b"), None, now=1, revision="n")),
        (NotFound, "has no version '7'", lambda: latest_as(deployed("a", "b"), "7", now=1, revision="n")),
        (NotFound, "has no alias 'live'", lambda: alias_to(deployed("a", "b"), "live", None, revision="n")),
        (Conflict, "no version before 1", lambda: alias_to(
            deployed("a", "b", aliases={"live": Alias(version="1", revision="r")}), "live", None, revision="n")),
    ],
)  # fmt: skip
def test_there_may_be_no_way_back(kind: type[TriggerhubError], says: str, go: object) -> None:
    with pytest.raises(kind, match=says):
        go()  # type: ignore[operator]


def test_a_record_is_read_as_it_was_written_and_a_strange_one_is_not() -> None:
    whole = deployed(
        "a", "b",
        aliases={"live": Alias(version="1", weights={"2": 0.5}, revision="r")},
        tags={"k": "v"}, reserved=0,
        events={"$LATEST": EventConfig(retries=0, modified=5)},
        policies={"": ({"Sid": "s"},)},
        urls={"live": Url(id="x", auth="NONE", cors={"AllowOrigins": ["*"]}, created=1, modified=2)},
    )  # fmt: skip
    assert from_json(json.loads(written(whole))) == whole
    assert from_json({**json.loads(written(whole)), "policy_revisions": {"": "p"}}) == whole, "of an earlier version"
    with pytest.raises(ValueError, match="unknown members newer"):
        from_json({**json.loads(written(whole)), "newer": 1})

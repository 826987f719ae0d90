"""Where keys and values lie, against tomllib as the judge of what is in a document."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from triggerhub.config.document import parse
from triggerhub.config.locate import MAX_DEPTH, MAX_PARTS, Path, Places, Span, TooDeepError, locate, walk
from triggerhub.config.problem import Report

TEXT = '''# a comment = 1
top = 1
"quoted key" = "a # b"   # after

[triggers.orders]
type  = "sqs"
batch = { size = 10, deep.er = [1, { x = 2 },
   "three"] }
dotted . "k.ey" = """
multi = 1
"""
[[list]]
a = 1
[[list]]
a = 2979-05-27 07:32:00
[list.sub]
b = 'x'
'''


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        pytest.param(("top",), Span(2, 1, 3), Span(2, 7, 1), id="plain"),
        pytest.param(("quoted key",), Span(3, 1, 12), Span(3, 16, 7), id="quoted"),
        pytest.param(("triggers", "orders"), Span(5, 11, 6), Span(5, 11, 6), id="header"),
        pytest.param(("triggers",), Span(5, 2, 8), Span(5, 2, 8), id="implied by a header"),
        pytest.param(("triggers", "orders", "type"), Span(6, 1, 4), Span(6, 9, 5), id="in a table"),
        pytest.param(("triggers", "orders", "batch", "size"), Span(7, 11, 4), Span(7, 18, 2), id="in an inline table"),
        pytest.param(("triggers", "orders", "batch", "deep", "er", 1, "x"), Span(7, 38, 1), Span(7, 42, 1), id="deep"),
        pytest.param(("triggers", "orders", "batch", "deep", "er", 2), Span(8, 4, 7), Span(8, 4, 7), id="next line"),
        pytest.param(("triggers", "orders", "dotted", "k.ey"), Span(9, 10, 6), Span(9, 19, 3), id="dotted"),
        pytest.param(("list", 1, "a"), Span(15, 1, 1), Span(15, 5, 19), id="array of tables"),
        pytest.param(("list", 1, "sub", "b"), Span(17, 1, 1), Span(17, 5, 3), id="below an array of tables"),
    ],
)
def test_a_key_and_its_value_are_found(path: Path, key: Span, value: Span) -> None:
    places = locate(TEXT)
    assert (places.key(path), places.value(path)) == (key, value)


def paths(places: Places) -> set[Path]:
    return set(places.keys) | set(places.values)


def test_the_paths_are_those_that_tomllib_finds() -> None:
    assert paths(locate(TEXT)) == set(walk(tomllib.loads(TEXT)))


BARE = st.text("abAB01_-", min_size=1, max_size=3)
INNER = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\"'\\"), max_size=5)
LITERAL = INNER.map(lambda text: f"'{text}'")
BASIC = st.lists(st.one_of(INNER, st.sampled_from([r"\"", r"\\", r"\n", r"A", r"\U0001F600", "'", "#"])), max_size=4)
PART = st.one_of(BARE, BARE, LITERAL, BASIC.map(lambda parts: f'"{"".join(parts)}"'))
BLANK = st.sampled_from(["", "", " ", "\t "])
GAP = st.sampled_from(["", "", " ", "\n", " # a [comment] = {\n  "])
EDGE = st.sampled_from(["", "\n", "''", " x "])
SCALAR = st.one_of(
    st.sampled_from(["0", "-1_0", "0xfF", "1.5e3", "inf", "true", "1979-05-27", "07:32:00", "1979-05-27 07:32:00.5Z"]),
    LITERAL,
    BASIC.map(lambda parts: f'"{"".join(parts)}"'),
    st.tuples(EDGE, BASIC, st.sampled_from(["", "\n", '"', '""'])).map(lambda t: f'"""{t[0]}{"".join(t[1])}{t[2]}"""'),
    st.tuples(INNER, st.sampled_from(["", "\n[x]\n", "'", "''"])).map(lambda t: f"'''{t[0]}{t[1]}'''"),
)


def key_of(parts: list[tuple[str, str, str]]) -> str:
    return ".".join(f"{before}{part}{after}" for before, part, after in parts)


KEY = st.lists(st.tuples(BLANK, PART, BLANK), min_size=1, max_size=3).map(key_of)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.tuples(st.lists(st.tuples(GAP, inner, GAP), max_size=3), GAP, st.booleans()).map(
        lambda t: "[" + ",".join(a + b + c for a, b, c in t[0]) + ("," if t[2] and t[0] else "") + t[1] + "]"
    )
    pair = st.tuples(KEY, BLANK, inner).map(lambda t: f"{t[0]}={t[1]}{t[2]}")
    tables = st.tuples(st.lists(pair, max_size=3), BLANK).map(lambda t: "{" + t[1] + ", ".join(t[0]) + t[1] + "}")
    return st.one_of(arrays, tables)


VALUE = st.recursive(SCALAR, grown, max_leaves=6)
LINE = st.one_of(
    st.tuples(KEY, BLANK, VALUE).map(lambda t: f"{t[0]}={t[1]}{t[2]}"),
    KEY.map(lambda key: f"[{key}]"),
    KEY.map(lambda key: f"[[{key}]]"),
    st.just("# a comment with [brackets] and = signs"),
    st.just("  "),
)
DOCUMENT = st.tuples(st.lists(st.tuples(LINE, BLANK), max_size=8), st.sampled_from(["", "\n"])).map(
    lambda t: "\n".join(line + blank for line, blank in t[0]) + t[1]
)


@given(DOCUMENT)
def test_any_document_has_the_paths_that_tomllib_finds(text: str) -> None:
    try:
        wanted = set(walk(tomllib.loads(text)))
    except tomllib.TOMLDecodeError:
        locate(text)  # must not fail either
        assume(False)
    places = locate(text)
    assert paths(places) == wanted
    for path, (start, end) in places.values.items():
        if not isinstance(path[-1], int):
            begin, stop = places.keys[path]
            assert tomllib.loads(f"{text[begin:stop]} = 1") == {path[-1]: 1}, "the key's span is the key"
        fragment = tomllib.loads(f"x = {text[start:end]}")
        assert str(fragment["x"]) == str(walk(tomllib.loads(text))[path]), "the value's span is the value"


@given(st.text("[]{}=.\"'#\\\n ab1,", max_size=40))
def test_no_text_makes_it_fail(text: str) -> None:
    assert isinstance(locate(text), Places)


DOTTED = ".".join(["a"] * (MAX_PARTS - 1))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda: ".".join(["a"] * 30_000) + " = 1", "dotted parts", id="one very long key"),
        pytest.param(lambda: "[" + ".".join(["a"] * 30_000) + "]", "dotted parts", id="one very long header"),
        pytest.param(
            lambda: "".join(f"{DOTTED}.b{n} = 1\n" for n in range(14_000)), "dotted keys", id="many long keys"
        ),
        pytest.param(lambda: "".join(f"[{DOTTED}.b{n}]\n" for n in range(14_000)), "dotted keys", id="many headers"),
        pytest.param(lambda: "a = " + "[" * 100_000, f"deeper than {MAX_DEPTH}", id="nested arrays"),
        pytest.param(lambda: "a = " + "{b = " * 50_000, f"deeper than {MAX_DEPTH}", id="nested tables"),
    ],
)
def test_what_would_take_tomllib_too_long_is_refused_unread(make: Callable[[], str], says: str) -> None:
    with pytest.raises(TooDeepError, match=says):
        locate(make())


@given(st.integers(1, MAX_PARTS), st.integers(0, MAX_DEPTH - 1))
def test_what_is_within_the_limits_is_read(parts: int, depth: int) -> None:
    text = ".".join(["a"] * parts) + " = " + "[" * depth + "]" * depth if depth else ".".join(["a"] * parts) + " = 1"
    assert paths(locate(text)) == set(walk(tomllib.loads(text)))


QUOTES = "texts and numbers with units are written in quotes"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = \n", f"t:1:5: error[syntax]: invalid value; {QUOTES}"),
        ("a = [1,\n", "t:1:8: error[syntax]: invalid value, where the file ends"),
        ("a = 1\r\nb 2\r\n", "t:2:3: error[syntax]: expected '=' after a key in a key/value pair"),
        ("[a.b]\n[a.b]\n", "t:2:5: error[syntax]: cannot declare a.b twice"),
        ("x = 2020-02-31\n", "t:1:5: error[syntax]: invalid date or datetime"),
        ("x = 30s\n", f"t:1:7: error[syntax]: expected newline or end of document after a statement; {QUOTES}"),
        (f"x = {'9' * 5000}\n", "t:1:5005: error[syntax]: a number has too many digits"),
    ],
)
def test_a_syntax_error_is_told_with_tomllibs_place(text: str, wanted: str) -> None:
    (problem,) = parse(text, Report("t")).report.problems
    assert str(problem) == wanted

"""Which paths globs select."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.globs import Selection, translate


@pytest.mark.parametrize(
    ("pattern", "takes", "leaves"),
    [
        ("**/*", ["a", "a/b", "a/b/c", "new\nline", ".dot"], []),
        ("*", ["a", ".dot"], ["a/b"]),
        ("*.csv", ["a.csv", ".csv"], ["sub/a.csv", "a.CSV", "a.csv.gz", "acsv"]),
        ("**/*.csv", ["a.csv", "sub/a.csv", "x/y/a.csv"], ["a.csv/b"]),
        ("in/**", ["in/a", "in/a/b"], ["in", "other/in/a", "inn/a"]),
        ("in/**/out", ["in/out", "in/a/out", "in/a/b/out"], ["in", "in/a", "inout"]),
        ("**", ["a", "a/b"], []),
        ("**/**/a", ["a", "x/a", "x/y/a"], ["ab"]),
        ("a?c", ["abc", "a.c"], ["ac", "a/c", "abbc"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x", "Ax"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("[]]", ["]"], ["["]),
        ("[!]]", ["["], ["]"]),
        ("[[]a]", ["[a]"], ["a"]),
        ("[a^]", ["a", "^"], ["b"]),
        ("[&&~~||\\]", ["&", "~", "|", "\\"], ["a"]),
        ("[.-0]", [".", "0"], ["/", "a"]),
        ("a+b(1).{txt}$", ["a+b(1).{txt}$"], ["aab1.txt"]),
        ("日*", ["日本"], ["本"]),
        ("**/.*", [".git", "a/.b"], ["a.b", ".git/a"]),
        ("**/.*/**", [".git/a", "x/.y/z/w"], [".git", "a/b"]),
    ],
)
def test_what_a_glob_takes(pattern: str, takes: list[str], leaves: list[str]) -> None:
    selection = Selection([pattern])
    assert [path for path in takes if not selection.takes(path)] == []
    assert [path for path in leaves if selection.takes(path)] == []


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("", "empty"), ("/srv/*.csv", "slash"), ("a//b", "segment"), ("a/", "segment"), ("../*", "segment"),
        ("./a", "segment"), ("a**", "**"), ("**.csv", "**"), ("[a", "never closes"), ("[z-a]", "cannot be read"),
    ],
)  # fmt: skip
def test_a_glob_that_cannot_be_read_is_refused_in_words(pattern: str, word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        translate(pattern)


@given(st.text("ab*?[]!-/.\\^", max_size=10), st.text("ab/.", max_size=6))
def test_any_text_is_a_glob_or_refused(pattern: str, path: str) -> None:
    try:
        selection = Selection([pattern])
    except ValueError:
        return
    assert selection.takes(path) in (True, False)


def test_exclude_wins_over_include() -> None:
    selection = Selection(["**/*.csv"], ["old/**", "**/*.tmp.csv"])
    assert selection.takes("a.csv")
    assert not selection.takes("old/a.csv")
    assert not selection.takes("x/a.tmp.csv")


def test_a_folder_all_of_which_is_excluded_is_not_entered() -> None:
    selection = Selection(["**/*"], ["**/.*/**", "build/**", "**/*.tmp"])
    assert [
        folder
        for folder in (".git", ".git/objects", "a/.cache", "build", "build/x", "a.tmp", "src", "src/build")
        if selection.enters(folder)
    ] == ["a.tmp", "src", "src/build"]


def test_nothing_included_is_nothing_taken() -> None:
    assert not Selection([]).takes("a")

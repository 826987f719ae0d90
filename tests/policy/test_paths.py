from __future__ import annotations

import pytest

from triggerhub.policy import paths


@pytest.mark.parametrize("path", ["/", "/a", "/hooks/github", "/a/", "/hooks/ü", "/a.b/_c-~"])
def test_a_path_without_parts_is_literal(path):
    assert paths.parse(path) is None


@pytest.mark.parametrize(
    ("path", "segments", "values"),
    [
        ("/h/{id}", ["", "h", "1"], ("1",)),
        ("/h/{id}", ["", "h", "a/b"], ("a/b",)),
        ("/{a}/x/{b}", ["", "1", "x", "2"], ("1", "2")),
        ("/h/{id}", ["", "h"], None),
        ("/h/{id}", ["", "h", "1", ""], None),
        ("/h/{id}", ["", "g", "1"], None),
        ("/h/{id}", ["", "h", ""], None),
        ("/h/{id}", ["", "h", "."], None),
        ("/h/{id}", ["", "h", ".."], None),
        ("/h/{id}", ["", "h", "../../etc/passwd"], None),
        ("/h/{id}", ["", "h", "a/../../b"], None),
        ("/h/{id}", ["", "h", "/etc/passwd"], None),
    ],
)
def test_a_part_is_one_segment_that_names_something(path, segments, values):
    pattern = paths.parse(path)
    assert pattern is not None
    assert pattern.match(segments) == values


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "starts with a slash"),
        ("a", "starts with a slash"),
        ("/a?b", "plain segments"),
        ("/a#b", "plain segments"),
        ("/a b", "plain segments"),
        ("/a\n", "plain segments"),
        ("/a%20b", "plain segments"),
        ("/a/../b", "plain segments"),
        ("/a/./b", "plain segments"),
        ("/x{id}", "one whole segment"),
        ("/{id", "one whole segment"),
        ("/{}", "one whole segment"),
        ("/{1d}", "one whole segment"),
        ("/{a}/{a}", "each part's name once"),
        ("/hooks/*", "no wildcard"),
        ("/{a}/*", "no wildcard"),
        ("/_url/x", "function URLs"),
    ],
)
def test_what_is_no_path_is_refused(path, says):
    with pytest.raises(ValueError, match=says):
        paths.parse(path)

"""The pattern language: every operator, arrays, absence, errors, and the sentences of ``why``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy import selecting
from triggerhub.policy.filtering import PatternError, compile  # noqa: A004 - as in re.compile


def matches(pattern: Any, record: Any) -> bool:
    return compile(pattern).matches(record)


@pytest.mark.parametrize(
    ("tests", "yes", "no"),
    [
        pytest.param(["a"], ["a"], ["b", "A", "", None, 1, True], id="exact"),
        pytest.param(["a", "b"], ["a", "b"], ["c", "ab"], id="or"),
        pytest.param([""], [""], [" ", None, 0], id="empty string"),
        pytest.param([None], [None], ["", 0, False, "null"], id="null"),
        pytest.param([True], [True], [1, "true", False], id="true"),
        pytest.param([False], [False], [0, "", None], id="false"),
        pytest.param([300], [300, 300.0, 3e2], ["300", 301, True], id="number"),
        pytest.param([1], [1], [True, "1"], id="one is not true"),
        pytest.param([0], [0, -0.0], [False, None], id="zero is not false"),
        pytest.param(
            [12345678901234567890123], [12345678901234567890123], [12345678901234567890124], id="large number"
        ),
        pytest.param([{"numeric": ["=", 5]}], [5, 5.0], [6, "5", None, True], id="numeric ="),
        pytest.param([{"numeric": [">", 0]}], [1, 0.1, 1e300], [0, -1, "1", float("nan")], id="numeric >"),
        pytest.param([{"numeric": [">=", 0]}], [0, 1], [-0.1], id="numeric >="),
        pytest.param([{"numeric": ["<", 0]}], [-1], [0, 1], id="numeric <"),
        pytest.param([{"numeric": ["<=", 0]}], [0, -1], [0.1], id="numeric <="),
        pytest.param([{"numeric": [">", 0, "<=", 5]}], [0.5, 5], [0, 5.1], id="numeric range"),
        pytest.param([{"numeric": ["<", 5, ">=", 5e-1]}], [0.5, 4.9], [0.4, 5], id="numeric range, upper first"),
        pytest.param([{"numeric": [">=", 5, "<=", 5]}], [5], [4, 6], id="numeric range of one"),
        pytest.param([{"prefix": "us-"}], ["us-east-1", "us-"], ["US-east", "eu-us-", 1, None], id="prefix"),
        pytest.param([{"prefix": ""}], ["", "x"], [1, None], id="empty prefix: any string"),
        pytest.param([{"prefix": {"equals-ignore-case": "Us-"}}], ["US-x", "us-x"], ["eu-"], id="prefix in any case"),
        pytest.param([{"suffix": ".png"}], ["a.png", ".png"], ["a.PNG", "a.png.gz", 1], id="suffix"),
        pytest.param([{"suffix": {"equals-ignore-case": ".Png"}}], ["a.PNG"], ["a.gif"], id="suffix in any case"),
        pytest.param([{"equals-ignore-case": "ALICE"}], ["alice", "Alice"], ["alic", 1], id="equals-ignore-case"),
        pytest.param([{"equals-ignore-case": ""}], [""], ["x", None], id="equals-ignore-case of nothing"),
        pytest.param(
            [{"wildcard": "dir/*.png"}], ["dir/a.png", "dir/.png"], ["dir/a.gif", "x/dir/a.png"], id="wildcard"
        ),
        pytest.param([{"wildcard": "*"}], ["", "x"], [1, None], id="wildcard: any string"),
        pytest.param([{"wildcard": "*a*b*c*"}], ["abc", "xaxbxcx"], ["acb", "ab"], id="wildcard with many stars"),
        pytest.param([{"wildcard": "ab*ba"}], ["abba", "abxba"], ["aba"], id="wildcard ends do not overlap"),
        pytest.param([{"wildcard": "a*b*b"}], ["abb", "axbxb"], ["ab"], id="wildcard middle before the end"),
        pytest.param([{"wildcard": r"a\*\\b"}], ["a*\\b"], ["axb"], id="wildcard escapes"),
        pytest.param([{"wildcard": "plain"}], ["plain"], ["plain "], id="wildcard without a star"),
        pytest.param([{"anything-but": "a"}], ["b", "", None, 1, False], ["a"], id="anything-but string"),
        pytest.param([{"anything-but": 1}], [2, "1", True, None], [1, 1.0], id="anything-but number"),
        pytest.param([{"anything-but": ["a", "b"]}], ["c", 1], ["a", "b"], id="anything-but strings"),
        pytest.param([{"anything-but": [1, 2]}], [3, "1"], [1, 2], id="anything-but numbers"),
        pytest.param([{"anything-but": {"prefix": "a"}}], ["b", 1, None], ["ab"], id="anything-but prefix"),
        pytest.param([{"anything-but": {"prefix": ["a", "b"]}}], ["c"], ["ax", "bx"], id="anything-but prefixes"),
        pytest.param([{"anything-but": {"suffix": "a"}}], ["b", 1], ["ba"], id="anything-but suffix"),
        pytest.param([{"anything-but": {"suffix": ["a", "b"]}}], ["c"], ["xa", "xb"], id="anything-but suffixes"),
        pytest.param([{"anything-but": {"equals-ignore-case": "A"}}], ["b", 1], ["a", "A"], id="anything-but any case"),
        pytest.param([{"anything-but": {"equals-ignore-case": ["A", "b"]}}], ["c"], ["a", "B"], id="… and a list"),
        pytest.param([{"anything-but": {"wildcard": "*/lib/*"}}], ["a/b", 1], ["a/lib/b"], id="anything-but wildcard"),
        pytest.param([{"anything-but": {"wildcard": ["a*", "*b"]}}], ["x"], ["ax", "xb"], id="anything-but wildcards"),
        pytest.param([{"cidr": "10.0.0.0/24"}], ["10.0.0.1", "10.0.0.255"], ["10.0.1.0", "::1", "x", 1], id="cidr v4"),
        pytest.param([{"cidr": "10.0.0.7/24"}], ["10.0.0.1"], ["10.0.1.0"], id="cidr with host bits"),
        pytest.param([{"cidr": "2001:db8::/32"}], ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"], id="cidr v6"),
        pytest.param([{"exists": True}], ["", None, 0, False, ["x"]], [[], {}, {"a": 1}, [{"a": 1}]], id="exists"),
        pytest.param([{"exists": False}], [[], {}, {"a": 1}, [[]]], ["", None, 0, ["x"]], id="absent"),
        pytest.param([{"exists": False}, "a"], ["a", {}], ["b"], id="absent or a value"),
        pytest.param(
            [{"prefix": "a"}, {"numeric": [">", 5]}, None], ["ab", 6, None], ["b", 5], id="mixed alternatives"
        ),
    ],
)
def test_each_operator(tests: list[Any], yes: list[Any], no: list[Any]) -> None:
    pattern = compile({"field": tests})
    for value in yes:
        assert pattern.matches({"field": value}), value
        assert pattern.why({"field": value}) is None
    for value in no:
        assert not pattern.matches({"field": value}), value
        assert pattern.why({"field": value})


def test_a_named_field_must_exist_unless_it_shall_not() -> None:
    for tests in (["a"], [None], [{"anything-but": "a"}], [{"exists": True}], [{"prefix": ""}]):
        assert not matches({"field": tests}, {"other": 1})
    assert matches({"field": [{"exists": False}]}, {"other": 1})
    assert matches({"a": {"b": [{"exists": False}]}}, {})
    assert matches({"a": {"b": [{"exists": False}]}}, {"a": 5})


def test_all_fields_must_match_and_others_are_ignored() -> None:
    pattern = {"a": ["x"], "b": {"c": [1]}}
    assert matches(pattern, {"a": "x", "b": {"c": 1, "d": 2}, "e": 3})
    assert not matches(pattern, {"a": "x", "b": {"c": 2}})
    assert not matches(pattern, {"a": "x", "b": 1})
    assert not matches(pattern, {"a": "y", "b": {"c": 1}})


@pytest.mark.parametrize(
    ("pattern", "record", "expected"),
    [
        ({"a": ["x"]}, {"a": ["y", "x"]}, True),
        ({"a": ["x", "z"]}, {"a": ["y", "q"]}, False),
        ({"a": ["x"]}, {"a": [["y"], [["x"]]]}, True),
        ({"a": [None]}, {"a": []}, False),
        ({"a": [{"anything-but": "x"}]}, {"a": ["x", "y"]}, True),
        ({"a": [{"anything-but": "x"}]}, {"a": ["x"]}, False),
        ({"a": ["x"]}, {"a": [{"b": 1}, "x"]}, True),
        ({"e": {"first": ["Anna"]}}, {"e": [{"first": "John"}, {"first": "Anna"}]}, True),
        ({"e": {"first": ["Anna"], "last": ["Jones"]}}, {"e": [{"first": "Anna", "last": "Jones"}]}, True),
        (
            {"e": {"first": ["Anna"], "last": ["Jones"]}},
            {"e": [{"first": "Anna", "last": "Smith"}, {"first": "Peter", "last": "Jones"}]},
            False,
        ),
        (
            {"e": {"first": ["Anna"], "last": ["Smith"]}},
            {"e": [[{"first": "John"}, {"first": "Anna", "last": "Smith"}], [{"last": "Jones"}]]},
            True,
        ),
        ({"u": {"t": {"k": ["c"], "v": ["b"]}}}, {"u": [{"t": [{"k": "c"}, {"v": "b"}]}]}, False),
        ({"u": {"t": {"k": ["c"], "v": ["b"]}}}, {"u": [{"t": [{"k": "c", "v": "b"}]}]}, True),
        # A field is absent only if it is in none of the elements …
        ({"e": {"age": [{"exists": False}]}}, {"e": [{"age": 1}, {}]}, False),
        ({"e": {"age": [{"exists": False}]}}, {"e": [{"name": "a"}, {}]}, True),
        ({"e": {"age": [{"exists": False}]}}, {"e": []}, True),
        ({"e": {"age": [{"exists": False}, 5]}}, {"e": [{"age": 1}, {}]}, False),
        ({"e": {"age": [{"exists": False}, 5]}}, {"e": [{"age": 1}, {"age": 5}]}, True),
        # … but beside a field that is there, only in that element.
        ({"e": {"name": ["a"], "age": [{"exists": False}]}}, {"e": [{"age": 1}, {"name": "a"}]}, True),
        ({"e": {"name": ["a"], "age": [{"exists": False}]}}, {"e": [{"name": "a", "age": 1}, {}]}, False),
    ],
)
def test_arrays(pattern: Any, record: Any, expected: bool) -> None:
    assert matches(pattern, record) is expected
    assert (compile(pattern).why(record) is None) is expected


OR = {
    "source": ["aws"],
    "$or": [
        {"metric": ["cpu", "disk"]},
        {"type": ["T"], "space": ["S"], "$or": [{"id": [1]}, {"name": [2]}]},
        {"detail": {"$or": [{"a": [1]}, {"b": [{"exists": False}], "c": [1]}]}},
    ],
}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"source": "aws", "metric": "disk"}, True),
        ({"source": "aws", "type": "T", "space": "S", "name": 2}, True),
        ({"source": "aws", "type": "T", "space": "S"}, False),
        ({"source": "aws", "type": "T", "name": 2}, False),
        ({"source": "aws", "detail": {"a": 1}}, True),
        ({"source": "aws", "detail": {"c": 1}}, True),
        ({"source": "aws", "detail": {"c": 1, "b": 1}}, False),
        ({"source": "x", "metric": "cpu"}, False),
        ({"source": "aws"}, False),
    ],
)
def test_or(record: Any, expected: bool) -> None:
    assert matches(OR, record) is expected


def test_or_of_absences_needs_no_field() -> None:
    assert matches({"$or": [{"a": [{"exists": False}]}, {"b": [1]}]}, {})
    assert not matches({"$or": [{"a": [{"exists": False}]}, {"b": [1]}]}, {"a": 1})


def test_or_inside_an_array_looks_at_one_element() -> None:
    pattern = {"e": {"k": ["x"], "$or": [{"a": [1]}, {"b": [1]}]}}
    assert matches(pattern, {"e": [{"k": "y"}, {"k": "x", "b": 1}]})
    assert not matches(pattern, {"e": [{"k": "x"}, {"k": "y", "b": 1}]})


def test_of_two_equal_keys_the_last_wins() -> None:
    pattern = json.loads('{"a": ["x"], "a": ["y"]}')
    assert matches(pattern, {"a": "y"})
    assert not matches(pattern, {"a": "x"})


def test_a_body_is_seen_parsed_and_one_that_is_text_never_matches_an_object() -> None:
    pattern = compile({"body": {"total": [{"numeric": [">", 0]}]}})
    assert pattern.matches(selecting.view(b'{"body": "{\\"total\\": 3}"}'))
    assert not pattern.matches(selecting.view(b'{"body": "total"}'))
    absent = compile({"body": {"error": [{"exists": False}]}})
    assert absent.matches(selecting.view(b'{"body": "{\\"total\\": 3}"}'))
    assert not absent.matches(selecting.view(b'{"body": "plain text"}'))
    assert absent.why({"body": "plain text"}) == 'body is "plain text"; wanted an object'
    either = compile({"$or": [{"body": {"error": [{"exists": False}]}}, {"id": ["1"]}]})
    assert not either.matches({"body": "plain text"})
    assert compile({"body": ["plain text"]}).matches({"body": "plain text"})
    assert compile({"detail": {"error": [{"exists": False}]}}).matches({"detail": "plain text"})


@pytest.mark.parametrize("record", [None, 1, "text", [], [{"a": "x"}], True, 1.5])
def test_a_record_that_is_no_object_never_matches(record: Any) -> None:
    assert not matches({"a": [{"exists": False}]}, record)
    assert str(compile({"a": ["x"]}).why(record)).startswith("the record is ")


@pytest.mark.parametrize(
    ("pattern", "record", "sentence"),
    [
        ({"body": {"total": [{"numeric": [">", 0]}]}}, {"body": {"total": 0}}, "body.total is 0; wanted numeric > 0"),
        ({"body": {"total": [{"numeric": [">", 0]}]}}, {"body": {}}, "body.total is missing; wanted numeric > 0"),
        ({"body": {"total": [1]}}, {}, "body.total is missing; wanted 1"),
        ({"body": {"total": [1]}}, {"body": 7}, "body is 7; wanted an object"),
        ({"a": ["x", {"prefix": "y"}]}, {"a": "z"}, 'a is "z"; wanted "x" or prefix "y"'),
        ({"a": ["x"]}, {"a": {"b": 1}}, 'a is an object; wanted "x"'),
        ({"a": ["x"]}, {"a": []}, 'a is an empty array; wanted "x"'),
        ({"a": ["x"]}, {"a": [1, [2], {}]}, 'a is [1, […], {…}]; wanted "x"'),
        ({"a": ["x"]}, {"a": list(range(9))}, 'a is [0, 1, 2, 3, 4, …]; wanted "x"'),
        ({"a": [1, 2, 3, 4, 5, 6, 7]}, {"a": 0}, "a is 0; wanted 1 or 2 or 3 or 4 or 5 or 2 others"),
        ({"a": [{"exists": False}]}, {"a": None}, "a is null; wanted no such field"),
        ({"a": [{"exists": True}]}, {}, "a is missing; wanted any value"),
        ({"a": ["x"]}, {"a": "l" * 100}, f'a is "{"l" * 60}…"; wanted "x"'),
        ({"a": ["x"]}, {"a": "\ud800"}, 'a is "?"; wanted "x"'),
        ({"a b": {"c-d": ["x"]}}, {"a b": {"c-d": 1}}, '"a b".c-d is 1; wanted "x"'),
        ({"a": [{"cidr": "10.0.0.0/8"}]}, {"a": "1.1.1.1"}, 'a is "1.1.1.1"; wanted cidr 10.0.0.0/8'),
        ({"a": [{"suffix": {"equals-ignore-case": "X"}}]}, {"a": "y"}, 'a is "y"; wanted suffix "X" in any case'),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "y"}, 'a is "y"; wanted anything but "x" or "y"'),
        (
            {"a": [{"anything-but": {"wildcard": ["x*"]}}]},
            {"a": "xy"},
            'a is "xy"; wanted anything but wildcard "x*"',
        ),
        ({"a": {"b": [1]}}, {"a": [{"b": 2}]}, "a.b is 2; wanted 1"),
        ({"a": {"b": [1]}}, {"a": [2]}, "a.b is missing; wanted 1"),
        (
            {"a": {"b": [1]}},
            {"a": [{"b": 2}, {"b": 3}]},
            "no element of a matches; in one, a.b is 2; wanted 1",
        ),
        (
            {"a": {"b": [{"exists": False}]}},
            {"a": [{}, {"b": 3}]},
            "no element of a matches; in one, a.b is 3; wanted no such field",
        ),
        (
            {"$or": [{"a": [1]}, {"b": [1]}, {"c": [1]}, {"d": [1]}]},
            {"a": 2},
            "no alternative of $or matches: a is 2; wanted 1 | b is missing; wanted 1 | c is missing; wanted 1 | 1 more",
        ),
    ],
)
def test_why_names_the_leaf_that_fails(pattern: Any, record: Any, sentence: str) -> None:
    assert compile(pattern).why(record) == sentence


@pytest.mark.parametrize(
    ("pattern", "record", "sentence"),
    [
        ({"a": {"b": [1]}}, {"a": {"b": "said"}}, "a.b does not match; wanted 1"),
        ({"a": {"b": [1]}}, {}, "a.b does not match; wanted 1"),
        ({"body": {"b": [1]}}, {"body": "said"}, "body does not match; wanted an object"),
        (
            {"a": {"b": [1]}},
            {"a": [{"b": "said"}, {}]},
            "no element of a matches; in one, a.b does not match; wanted 1",
        ),
        (
            {"$or": [{"a": [1]}, {"b": ["x"]}]},
            {"a": "said", "b": "said"},
            'no alternative of $or matches: a does not match; wanted 1 | b does not match; wanted "x"',
        ),
        ({"a": [1]}, "said", "the record is no object"),
    ],
)
def test_the_leaf_that_fails_is_named_without_what_was_found_there(pattern: Any, record: Any, sentence: str) -> None:
    assert compile(pattern).why(record, told=False) == sentence


DEEP: Any = [1]
for _ in range(102):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("pattern", "path", "message"),
    [
        ("x", (), 'expected an object of fields, got "x"'),
        ([], (), "expected an object of fields, got an empty array"),
        ({}, (), "an empty object; name at least one field"),
        ({"a": {}}, ("a",), "an empty object"),
        ({"a": []}, ("a",), "an empty array; name at least one value"),
        ({"a": 5}, ("a",), r"expected an array such as \[5\] or an object of fields, got 5"),
        ({"a": object()}, ("a",), "expected an array of values in quotes"),
        ({"a": [["x"]]}, ("a", 0), "an array inside an array"),
        ({"a": [{}]}, ("a", 0), "expected one operator to an object, got an empty one"),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, ("a", 0), "expected one operator to an object, got prefix, suffix"),
        ({"a": [float("nan")]}, ("a", 0), "expected a string, a number"),
        ({"a": [{"numeric": object()}]}, ("a", 0, "numeric"), "expected"),
        ({"a": [object()]}, ("a", 0), "JSON has no object; put it in quotes"),
        ({"a": ["ok", {"prefx": "x"}]}, ("a", 1, "prefx"), '"prefx" is no operator; did you mean prefix?'),
        ({"a": [{"matches": "x"}]}, ("a", 0, "matches"), "the operators here are prefix, suffix"),
        ({"a": [{"NUMERIC": ["=", 5]}]}, ("a", 0, "NUMERIC"), "is no operator"),
        ({"a": [{"prefix": 5}]}, ("a", 0, "prefix"), "expected a string, got 5"),
        ({"a": [{"prefix": ["x"]}]}, ("a", 0, "prefix"), r'expected a string, got \["x"\]'),
        ({"a": [{"suffix": {"prefix": "x"}}]}, ("a", 0, "suffix"), "expected a string or"),
        (
            {"a": [{"suffix": {"equals-ignore-case": 5}}]},
            ("a", 0, "suffix", "equals-ignore-case"),
            "expected a string, got 5",
        ),
        ({"a": [{"equals-ignore-case": ["x"]}]}, ("a", 0, "equals-ignore-case"), "expected a string"),
        ({"a": [{"wildcard": 5}]}, ("a", 0, "wildcard"), "expected a string, got 5"),
        ({"a": [{"wildcard": "a**"}]}, ("a", 0, "wildcard"), "two stars in a row at character 2"),
        ({"a": [{"wildcard": "a\\b"}]}, ("a", 0, "wildcard"), "a backslash at character 2 escapes neither"),
        ({"a": [{"wildcard": "a\\"}]}, ("a", 0, "wildcard"), "a backslash at character 2 escapes neither"),
        ({"a": [{"numeric": 5}]}, ("a", 0, "numeric"), "expected .* got 5"),
        ({"a": [{"numeric": []}]}, ("a", 0, "numeric"), "got an empty array"),
        ({"a": [{"numeric": [">", 0, "<"]}]}, ("a", 0, "numeric"), "expected"),
        ({"a": [{"numeric": ["=>", 0]}]}, ("a", 0, "numeric", 0), 'expected one of = < <= > >=, got "=>"'),
        ({"a": [{"numeric": [[], 0]}]}, ("a", 0, "numeric", 0), "expected one of"),
        ({"a": [{"numeric": [">", "0"]}]}, ("a", 0, "numeric", 1), 'expected a number, got "0"'),
        ({"a": [{"numeric": [">", 0, "<", True]}]}, ("a", 0, "numeric", 3), "expected a number, got true"),
        ({"a": [{"numeric": [">", 0, ">", 1]}]}, ("a", 0, "numeric"), "one lower bound"),
        ({"a": [{"numeric": ["=", 0, "<", 1]}]}, ("a", 0, "numeric"), "one lower bound"),
        ({"a": [{"numeric": [">", 2, "<", 1]}]}, ("a", 0, "numeric"), "no number is in this range"),
        ({"a": [{"numeric": [">", 1, "<=", 1]}]}, ("a", 0, "numeric"), "no number is in this range"),
        ({"a": [{"cidr": "10.0.0.0"}]}, ("a", 0, "cidr"), "expected a block of addresses like"),
        ({"a": [{"cidr": "10.0.0.0/33"}]}, ("a", 0, "cidr"), "expected a block of addresses like"),
        ({"a": [{"cidr": "bad-/64"}]}, ("a", 0, "cidr"), "expected a block of addresses like"),
        ({"a": [{"cidr": 5}]}, ("a", 0, "cidr"), "expected a string"),
        ({"a": [{"exists": "true"}]}, ("a", 0, "exists"), 'expected true or false, got "true"'),
        ({"a": [{"anything-but": None}]}, ("a", 0, "anything-but"), "expected a string or a number, got null"),
        ({"a": [{"anything-but": []}]}, ("a", 0, "anything-but"), "an empty array"),
        ({"a": [{"anything-but": ["x", None]}]}, ("a", 0, "anything-but", 1), "expected a string or a number"),
        ({"a": [{"anything-but": ["x", 1]}]}, ("a", 0, "anything-but", 1), "strings and numbers together"),
        ({"a": [{"anything-but": [1, "x"]}]}, ("a", 0, "anything-but", 1), "strings and numbers together"),
        ({"a": [{"anything-but": {}}]}, ("a", 0, "anything-but"), "got an empty one"),
        ({"a": [{"anything-but": {"cidr": "::/0"}}]}, ("a", 0, "anything-but", "cidr"), "the operators here are"),
        ({"a": [{"anything-but": {"prefix": ""}}]}, ("a", 0, "anything-but", "prefix"), "an empty prefix"),
        ({"a": [{"anything-but": {"suffix": ["x", ""]}}]}, ("a", 0, "anything-but", "suffix", 1), "an empty suffix"),
        ({"a": [{"anything-but": {"suffix": []}}]}, ("a", 0, "anything-but", "suffix"), "an empty array"),
        ({"a": [{"anything-but": {"wildcard": 1}}]}, ("a", 0, "anything-but", "wildcard"), "expected a string, got 1"),
        (
            {"a": [{"anything-but": {"prefix": {"equals-ignore-case": "x"}}}]},
            ("a", 0, "anything-but", "prefix"),
            "expected a string",
        ),
        ({"$or": {"a": [1]}}, ("$or",), "expected an array of at least two objects"),
        ({"$or": [{"a": [1]}]}, ("$or",), "expected an array of at least two objects"),
        ({"x": {"$or": [{"a": [1]}, 5]}}, ("x", "$or", 1), "expected an object of fields, got 5"),
        ({"$or": [{"a": [1]}, {}]}, ("$or", 1), "an empty object"),
        ({"$or": [{"a": [1]}, {"numeric": [1]}]}, ("$or", 1, "numeric"), '"numeric" is an operator'),
        ({"$or": [{"a": [1]}, {"b": {"prefix": [1]}}]}, ("$or", 1, "b", "prefix"), '"prefix" is an operator'),
        ({"a": ["x" * 4096]}, (), "the pattern has 4106 characters, at most 4096 are allowed"),
        (DEEP, ("a",) * 101, "nested deeper than 100 levels"),
    ],
)
def test_a_bad_pattern_is_refused_at_its_place(pattern: Any, path: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        compile(pattern)
    assert caught.value.path == path


def test_or_combines_in_a_thousand_ways_and_no_more() -> None:
    ten = [{f"f{number}": [1]} for number in range(10)]
    assert compile({"a": {"$or": ten}, "b": {"$or": ten}, "c": {"$or": ten}})
    with pytest.raises(PatternError, match="its \\$or combine in 1100 ways, at most 1000 are allowed"):
        compile({"a": {"$or": ten}, "b": {"$or": ten}, "c": {"$or": [*ten, {"g": [1]}]}})


def test_a_pattern_of_exactly_the_limit_is_taken_and_spaces_do_not_count() -> None:
    assert compile(json.loads('{ "a" : [ "' + "x" * 4086 + '" ] }'))


def test_field_names_are_names_not_paths() -> None:
    assert not matches({"a.b": ["x"]}, {"a": {"b": "x"}})
    assert matches({"a.b": ["x"]}, {"a.b": "x"})


def test_an_event_nested_ten_thousand_deep_is_looked_through() -> None:
    value: Any = "x"
    for _ in range(10_000):
        value = [value]
    assert matches({"a": ["x"]}, {"a": value})
    assert str(compile({"a": ["y"]}).why({"a": value})) == 'a is [[…]]; wanted "y"'


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "A", "ab", "10.0.0.1", "*"])
    | st.text(max_size=5)
)
KEYS = st.sampled_from(["a", "b", "c", "body"])
RECORDS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
TEXT = st.sampled_from(["a", "b", "A", "ab", "x"])
TESTS = st.one_of(
    SCALARS,
    st.builds(lambda text: {"prefix": text}, TEXT),
    st.builds(lambda text: {"suffix": {"equals-ignore-case": text}}, TEXT),
    st.builds(lambda text: {"equals-ignore-case": text}, TEXT),
    st.builds(lambda text: {"wildcard": f"*{text}*"}, TEXT),
    st.builds(lambda value: {"anything-but": value}, TEXT | st.integers(-5, 5) | st.lists(TEXT, min_size=1)),
    st.builds(lambda value: {"anything-but": {"prefix": value}}, TEXT | st.lists(TEXT, min_size=1)),
    st.builds(lambda number: {"numeric": [">", number]}, st.integers(-5, 5)),
    st.builds(lambda value: {"exists": value}, st.booleans()),
    st.just({"cidr": "10.0.0.0/8"}),
)
LEAVES = st.lists(TESTS, min_size=1, max_size=3)
PATTERNS = st.recursive(
    st.dictionaries(KEYS, LEAVES, min_size=1, max_size=3),
    lambda inner: (
        st.dictionaries(KEYS, inner | LEAVES, min_size=1, max_size=3)
        | st.builds(lambda left, right: {"$or": [left, right]}, inner, inner)
    ),
    max_leaves=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "$or", "prefix", "numeric", "anything-but", "exists", "cidr"]), inner)
    ),
    max_leaves=10,
)


@given(pattern=PATTERNS, record=RECORDS)
def test_why_is_silent_exactly_where_the_pattern_matches(pattern: Any, record: Any) -> None:
    compiled = compile(pattern)
    assert (compiled.why(record) is None) is compiled.matches(record)


@given(pattern=JSON, record=JSON)
def test_no_json_whatever_makes_it_raise_anything_but_a_pattern_error(pattern: Any, record: Any) -> None:
    try:
        compiled = compile(pattern)
    except PatternError:
        return
    assert (compiled.why(record) is None) is compiled.matches(record)


@given(record=JSON)
def test_no_record_whatever_makes_a_pattern_raise(record: Any) -> None:
    for pattern in ({"a": ["x"]}, {"a": {"a": [{"exists": False}]}}, OR):
        compiled = compile(pattern)
        assert (compiled.why(record) is None) is compiled.matches(record)


def pattern_of(value: Any) -> Any:
    """The exact pattern of a value: what is not there is wanted absent."""
    if isinstance(value, dict) and value:
        return {key: pattern_of(inner) for key, inner in value.items()}
    if isinstance(value, list) and value:
        return value
    return [{"exists": False}] if isinstance(value, dict | list) else [value]


@given(
    record=st.dictionaries(
        KEYS,
        st.recursive(
            SCALARS | st.lists(SCALARS, max_size=3),
            lambda inner: st.dictionaries(KEYS, inner, max_size=3),
            max_leaves=8,
        ),
        min_size=1,
    )
)
def test_the_exact_pattern_of_any_record_matches_it(record: Any) -> None:
    assert matches(pattern_of(record), record)


@given(value=SCALARS, excluded=st.lists(TEXT, min_size=1) | st.lists(st.integers(-5, 5), min_size=1))
def test_anything_but_is_the_complement_where_the_field_exists(value: Any, excluded: list[Any]) -> None:
    record = {"a": value}
    assert matches({"a": [{"anything-but": excluded}]}, record) is not matches({"a": excluded}, record)


@given(value=SCALARS, operator=st.sampled_from(["prefix", "suffix", "equals-ignore-case", "wildcard"]), text=TEXT)
def test_anything_but_an_operator_is_its_complement(value: Any, operator: str, text: str) -> None:
    record = {"a": value}
    inverse = matches({"a": [{"anything-but": {operator: text}}]}, record)
    assert inverse is not matches({"a": [{operator: text}]}, record)


@given(left=PATTERNS, right=PATTERNS, record=RECORDS)
def test_or_at_the_top_is_the_or_of_its_patterns(left: Any, right: Any, record: Any) -> None:
    either = matches(left, record) or matches(right, record)
    assert matches({"$or": [left, right]}, record) is either


@given(text=st.text("ab*", max_size=12), pattern=st.text("ab*", max_size=8))
def test_a_wildcard_matches_as_its_regular_expression_does(text: str, pattern: str) -> None:
    import re

    if "**" in pattern:
        return
    regex = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    assert matches({"a": [{"wildcard": pattern}]}, {"a": text}) is (re.fullmatch(regex, text, re.DOTALL) is not None)


def test_a_wildcard_with_many_stars_takes_one_pass() -> None:
    pattern = compile({"a": [{"wildcard": "*a" * 500 + "*b"}]})
    assert not pattern.matches({"a": "a" * 100_000})


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"total": 0, "kind": "q", "who": {"name": "x"}}, [
            "total is 0; wanted numeric > 0", 'kind is "q"; wanted "a"', 'who.name is "x"; wanted "y"', "who.age is missing; wanted 7",
        ]),
        ({"total": 1, "kind": "a"}, ['who.name is missing; wanted "y"', "who.age is missing; wanted 7"]),
        ({"total": 1, "kind": "a", "who": 3}, ["who is 3; wanted an object"]),
        ({"total": 1, "kind": "a", "who": {"name": "y", "age": 7}}, []),
        ([], ["the record is an empty array; wanted an object"]),
    ],
)  # fmt: skip
def test_every_leaf_that_does_not_match_is_named_where_it_is_asked_for(record: Any, expected: list[str]) -> None:
    who = {"name": ["y"], "age": [7]}
    pattern = compile({"total": [{"numeric": [">", 0]}], "kind": ["a"], "who": who})
    assert pattern.failing(record) == expected
    assert (pattern.why(record) or "").startswith(expected[0] if expected else "")

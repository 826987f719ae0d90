"""Keys are read as promised, and nothing a sender wrote makes that raise."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.errors import BadInput
from triggerhub.policy.selecting import KeyTooLong, Selector, compile, limit, view  # noqa: A004 - as in re.compile

RECORD = {
    "a": {"b": [{"c": "x", "d e": 1}, {"c": "y"}]},
    "text": "as it is",
    "number": 12,
    "float": 1.50,
    "yes": True,
    "null": None,
    "empty": "",
    "nothing": {},
    "object": {"z": [1, "ü"], "a": {"c": None}},
    "ключ": "Unicode",
    "headers": {"x-github-delivery": "42", "X-Mixed": "mixed", "x-count": 7},
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$.text", "as it is"),
        ("$['text']", "as it is"),
        ('$["text"]', "as it is"),
        ("$.a.b[0]['c']", "x"),
        ("$.a.b[-1].c", "y"),
        ("$.a.b[2].c", None),
        ("$.a.b[-3].c", None),
        ("$.a[0]", None),
        ("$.a.b.c", None),
        ("$.text.length", None),
        ("$.a.b[0]['d e']", "1"),
        ("$.number", "12"),
        ("$.float", "1.5"),
        ("$.yes", "true"),
        ("$.null", None),
        ("$.empty", None),
        ("$.missing", None),
        ("$.nothing", "{}"),
        ("$.object", '{"a":{"c":null},"z":[1,"ü"]}'),
        ("$.ключ", "Unicode"),
        ("$.a.b[*].c", "x"),
        ("$..c", "x"),
        ("$.a.b[?@.c == 'y'].c", "y"),
        ("$.a.b[1:].c", "y"),
        ("$['a', 'text']", '{"b":[{"c":"x","d e":1},{"c":"y"}]}'),
        ("$['\\u0074ext']", "as it is"),
        ("header:X-GitHub-Delivery", "42"),
        ("header:x-mixed", "mixed"),
        ("header:X-MIXED", "mixed"),
        ("header:x-count", "7"),
        ("header:X-Missing", None),
    ],
)
def test_select(expression: str, expected: str | None) -> None:
    assert compile(expression).select(RECORD) == expected


@pytest.mark.parametrize("record", [None, 1, "text", [], [RECORD], {"headers": None}, {"headers": ["x"]}])
def test_a_record_of_another_shape_has_no_key(record: object) -> None:
    assert compile("header:x-mixed").select(record) is None
    assert compile("$.text").select(record) is None
    assert compile("$.a.b[?@.c].c").select(record) is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", r'is not a key: expected "\$" or "header:" at character 1'),
        ("orderId", r'is not a key: expected "\$" or "header:" at character 1'),
        ("header:", "names no header: expected a header's name at character 8"),
        ("header:X Y", "names no header: expected a header's name at character 9"),
        ("$.a[", "is not a JSONPath: .* at character 5"),
        ("$.a b", "is not a JSONPath: .* at character 5"),
        ("$[01]", "is not a JSONPath: .* at character 3"),
        ("$.a.", "is not a JSONPath: .* at character"),
        ("$.a[?@.b ==]", "is not a JSONPath: "),
        ("$[9007199254740992]", "is not a JSONPath: "),
    ],
)
def test_a_bad_expression_says_what_is_wrong_and_where(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile(expression)


def test_a_key_of_exactly_a_kilobyte_passes_and_one_byte_more_is_refused() -> None:
    selector = compile("$.k")
    assert selector.select({"k": "x" * 1024}) == "x" * 1024
    assert selector.select({"k": "ü" * 512}) == "ü" * 512
    with pytest.raises(KeyTooLong, match="the key has 1025 bytes, at most 1024 are allowed"):
        selector.select({"k": "x" * 1025})
    with pytest.raises(KeyTooLong):
        selector.select({"k": "ü" * 512 + "x"})
    with pytest.raises(KeyTooLong):
        selector.select({"k": list(range(1000))})
    assert issubclass(KeyTooLong, BadInput)
    assert limit("short") == "short"


def test_a_key_that_is_nested_too_deep_to_write_is_too_long() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(KeyTooLong, match=r"(more than 1024|has 10001) bytes"):
        compile("$.k").select({"k": value})


def test_half_a_surrogate_pair_becomes_a_key_that_can_be_stored() -> None:
    assert compile("$.k").select(json.loads('{"k": "\\ud800"}')) == '"\\ud800"'
    assert compile("$.k").select(json.loads('{"k": ["\\ud800"]}')) == '["\\ud800"]'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"body": "{\\"total\\": 3}"}', {"body": {"total": 3}}),
        (b'{"body": "[1]"}', {"body": [1]}),
        (b'{"body": "17"}', {"body": 17}),
        (b'{"body": "true"}', {"body": True}),
        (b'{"body": "hello"}', {"body": "hello"}),
        (b'{"body": ""}', {"body": ""}),
        (b'{"body": "NaN"}', {"body": "NaN"}),
        (b'{"body": "{\\"a\\":"}', {"body": '{"a":'}),
        (b'{"body": "1234", "isBase64Encoded": true}', {"body": "1234", "isBase64Encoded": True}),
        (b'{"body": "1234", "isBase64Encoded": false}', {"body": 1234, "isBase64Encoded": False}),
        (b'{"body": {"already": "an object"}}', {"body": {"already": "an object"}}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'["body"]', ["body"]),
        (b"1", 1),
        (b"", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b"1" * 5000, None),
    ],
)
def test_view(data: bytes, expected: object) -> None:
    assert view(data) == expected


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"7", 7),
        (b"hello", "hello"),
        (b"\xff\xfe", None),
        (b"", ""),
    ],
)
def test_what_a_record_of_kinesis_carries_is_seen_decoded(carried: bytes, expected: object) -> None:
    kinesis = {"partitionKey": "k", "data": base64.b64encode(carried).decode()}
    record = {"eventSource": "aws:kinesis", "kinesis": kinesis}
    assert view(json.dumps(record).encode()) == {**record, "data": expected}


@pytest.mark.parametrize("kinesis", [None, 1, {}, {"data": 7}, {"data": "no base64!"}])
def test_a_record_that_only_says_it_is_of_kinesis_carries_nothing(kinesis: object) -> None:
    assert view(json.dumps({"eventSource": "aws:kinesis", "kinesis": kinesis}).encode())["data"] is None


def test_nesting_of_ten_thousand_is_survived() -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    assert view(deep) is None
    assert view(b'{"a":' * 10_000 + b"1" + b"}" * 10_000) is None
    record = json.dumps({"id": "1", "body": deep.decode()}).encode()
    assert view(record) == {"id": "1", "body": deep.decode()}


def test_a_descent_into_a_record_that_is_too_deep_finds_nothing() -> None:
    value: object = "bottom"
    for _ in range(5000):
        value = {"a": value}
    assert compile("$..missing").select(value) is None


def test_a_plain_path_never_loads_the_jsonpath_library() -> None:
    program = (
        "import sys; from triggerhub.policy import selecting;"
        "assert selecting.compile(\"$.a['b'][0]\").select({'a': {'b': ['x']}}) == 'x';"
        "sys.exit('jsonpath_rfc9535' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_selector_is_compiled_once() -> None:
    assert compile("$.a.b") is compile("$.a.b")
    assert isinstance(compile("$.a.b"), Selector)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "body"]), inner),
    max_leaves=10,
)


@given(data=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_record_whatever_raises(data: bytes) -> None:
    seen = view(data)
    for expression in ("$", "$.a", "$.a[0].b", "header:a", "$..b", "$[?@.a > 1]"):
        key = compile(expression).select(seen)
        assert key is None or key.encode()


@given(record=JSON, path=st.lists(st.sampled_from(["a", "b"]) | st.integers(-3, 3), min_size=1, max_size=4))
def test_a_plain_path_reads_what_the_library_reads(record: object, path: list[str | int]) -> None:
    import jsonpath_rfc9535

    expression = "$" + "".join(f"[{step!r}]" for step in path)
    node = jsonpath_rfc9535.compile(expression).find_one(record)
    ours = compile(expression)._find(record)
    theirs = None if node is None else node.value
    assert ours is theirs or json.dumps(ours) == json.dumps(theirs)

"""A long answer is read in steps, and comes to what a short one of the same words does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triggerhub.aws import apigateway
from triggerhub.aws.apigateway import Malformed, Parts
from triggerhub.policy import stepwise

WHITE = st.sampled_from(["", "", "", " ", "\n\t", "\r", "\u00a0"])
SCALARS = st.one_of(
    st.integers().map(str),
    st.floats().map(json.dumps),
    st.text().map(json.dumps),
    st.text(st.characters(exclude_categories=("Cs",))).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from([
        "null", "true", "false", "NaN", "-Infinity", "01", "1.", "-", "-0", "1E+5", "1e", "tru", "", "'a'", "9" * 700,
        "9" * 4300, "9" * 4301, "0." + "1" * 5000, "1e999", '"\t"', '"\x7f"', '"\\x"', '"\\u12"', '"\\ud800"', '"\\/"',
        '"\\ud83d\\ude00"', '"\\ud83d\\uzzzz"', '"\\u0000"', '"', '"' + "a" * 999 + '"', "\u0661",
        "200", '"200"', '"a=1"', '"YQ=="',
    ]),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(["statusCode", "headers", "body", "isBase64Encoded", "cookies"]).map(json.dumps),
    st.sampled_from(['"\\u0073tatusCode"', '"\\u0062ody"', '"a"', '"A"', '"content-type"', "a", "1", ""]),
    st.text(max_size=4).map(json.dumps),
)


def _within(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def joined(opens: str, parts: list[tuple[str, str, str]], closes: str) -> str:
        return opens + ",".join("".join(part) for part in parts) + closes

    ends = st.sampled_from(["]"] * 20 + ["}", "", ",]"])
    lists = st.builds(joined, st.just("["), st.lists(st.tuples(WHITE, values, WHITE), max_size=30), ends)
    members = st.tuples(NAMES, st.sampled_from([":"] * 20 + [" : ", "", "::"]), values).map("".join)
    ends = st.sampled_from(["}"] * 20 + ["]", "", ",}"])
    objects = st.builds(joined, st.just("{"), st.lists(st.tuples(WHITE, members, WHITE), max_size=30), ends)
    return lists | objects


VALUES = st.recursive(SCALARS, _within, max_leaves=40)
HEADERS = st.dictionaries(
    st.sampled_from(["a", "B", "content-type"]), st.none() | st.text("az", max_size=3) | st.integers()
)
NESTED = st.sampled_from(["[]", "{}", "[[0]]", '[{"a":1},"x"]', '{"b":[1,2]}', "[" * 30 + "]" * 30])
"""What is wrong as a header, a cookie, a status or a body, whatever is in it."""
PARTS = st.one_of(
    st.tuples(st.sampled_from(["statusCode", "body", "isBase64Encoded", "headers", "cookies"]), NESTED),
    st.tuples(
        st.just("cookies"),
        st.lists(st.sampled_from(['"a=1"', '"b=2"', ' "c" ', "null", "1"]) | NESTED, max_size=4).map(
            lambda one: f"[ {','.join(one)}]"
        ),
    ),
    st.tuples(
        st.just("headers"),
        st.lists(st.sampled_from(['"a":"b"', '"c" : null', '"d":1', '"a":null']) | NESTED.map('"a":'.__add__)).map(
            lambda one: f"{{{','.join(one)}}}"
        ),
    ),
    st.tuples(st.just("body"), st.just('"b"')),
)
ANSWERS = st.lists(PARTS.map(lambda part: f',"{part[0]}":{part[1]}'), max_size=4).map(
    lambda parts: f'{{"statusCode":200{"".join(parts)}}}'
)
GOOD = st.fixed_dictionaries(
    {"statusCode": st.sampled_from([200, "404", 99, None])},
    optional={
        "headers": HEADERS,
        "cookies": st.lists(st.text("a=", max_size=3)),
        "body": st.text(),
        "isBase64Encoded": st.booleans(),
        "more": st.recursive(
            st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
        ),
    },
)
INDENTED = st.sampled_from([None, 1, "\t"])
DOCUMENTS = (
    st.builds(lambda value, indent: json.dumps(value, indent=indent), GOOD, INDENTED)
    | ANSWERS
    | VALUES
    | st.tuples(WHITE, _within(VALUES), WHITE).map("".join)
    | st.tuples(
        st.just('{"statusCode":200,"more":'), VALUES, st.just(',"body":"b","headers":'), VALUES, st.just("}")
    ).map("".join)
)
ENCODINGS = st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32-be"])


def in_steps(payload: bytes) -> Parts:
    steps = apigateway.response_in_steps(payload)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            parts: Parts = end.value
            return parts


def steps_of(payload: bytes) -> int:
    steps = 0
    with contextlib.suppress(Malformed):
        for _ in apigateway.response_in_steps(payload):
            steps += 1
    return steps


def come_to(read: Callable[[bytes], Parts], payload: bytes) -> Parts | str:
    try:
        return read(payload)
    except Malformed:
        return "malformed"


@given(st.builds(lambda text, encoding: text.encode(encoding, "surrogatepass"), DOCUMENTS, ENCODINGS))
@example(b'{"statusCode":200,"statusCode":404,"headers":{"a":"b","a":null,"c":[],"c":"d"}}')
@example(b'{"statusCode":200,"headers":{"a":null,"b":"1","a":"2"}}')
@example(b'{"statusCode":200,"body":"\xed\xa0\xbd\xed\xb8\x80"}')
@example(b'{"statusCode":200,"isBase64Encoded":[[],[]],"body":"\\u0000"}')
@example(b'{"statusCode":200,"cookies":[%b]}' % b",".join([b'"a=1"'] * 99))
@example(b'{"statusCode":200,"cookies":[%b]}' % b",".join([b'"a=1"'] * 101))
@example(b'{"statusCode":200,"cookies":["%b"]}' % (b"," * 60_000))
@example(b'{"statusCode":200,"cookies":[%b]}' % (b"[]," * 70_000 + b"[]"))
@example(b'{"statusCode":200,"headers":{%b}}' % b",".join(b'"%d":null' % number for number in range(30_000)))
@example(b'{"statusCode":200,"headers":{%b}}' % b",".join(b'"%d":1' % number for number in range(101)))
@example(b'{"statusCode":200,"headers":{"a":[%b]}}' % (b"1," * 30_000 + b"1"))
@example(b'{"statusCode":[%b]}' % (b"1," * 30_000 + b"1"))
@example(b'{"statusCode":200,"body":"YQ==","isBase64Encoded":%b}' % (b"[" * 300 + b"]" * 300))
@example(b'{"statusCode":200,"cookies":[%b,[]]}' % b",".join([b'"a=1"'] * 90))
@example(b'{"statusCode":200,"cookies":[ "a=1" , "b=2" ] }')
@example(b'{"statusCode":200,"cookies":[ ]}')
@example(b'{"statusCode":200,"headers":{"a":"b"},"headers":null}')
@example(b'{"statusCode":200,"headers":null,"headers":{"a":"b"}}')
@example(b'\xef\xbb\xbf\xef\xbb\xbf{"statusCode":200}')
@example(b"1\0")
@example(b"\0")
@example(b"")
@example(b"[" * 800 + b"]" * 800)
@example(b"[" * 100_000)
@example(b'{"a":' * 800 + b"1" + b"}" * 800)
@example(b'{"a":' * 100_000)
@example(b"[" * 300 + b"0," * 900 + b"0" + b"]" * 300)
@example(b"[" + b'{"a":[{"b":[0,{"c":"%b"}]}]},' % (b"x" * 900) * 30 + b"1]")
@example(b"[" + b'{"a":[{"b":[0,{"c":"%b"}]}},' % (b"x" * 900) * 30 + b"1]")
@example(b"{} {}")
@example(b" \n")
@example(b"\xff")
@example(b"[" + b'{"a":[1,[2,[]]],"b":{"c":"d"}},' * 5000 + b"1]")
@example(b"[" + b"%b," % (b'"%b"' % (b"\\u00e9" * 60)) * 500 + b"1]")
@example(b"[" + b"1," * 5000 + b"]")
@example(b"{" + b'"a":1,' * 5000 + b"}")
def test_steps_come_to_what_reading_at_once_does(payload: bytes) -> None:
    assert come_to(in_steps, payload) == come_to(apigateway.response, payload)


@pytest.mark.parametrize(
    "values",
    [b"0," * 500_000, b"{}," * 300_000, b"[[[]]]," * 100_000, b'{"id":1,"name":"n"},' * 50_000, b'{"a":{"b":[1]}},' * 50_000],
)  # fmt: skip
@pytest.mark.parametrize("around", [(b"[", b"0]"), (b'{"statusCode":200,"a":[', b"0]}")])
def test_the_longer_an_answer_the_more_steps_and_none_is_long(values: bytes, around: tuple[bytes, bytes]) -> None:
    payload = values.join(around)
    steps = sum(1 for _ in apigateway.response_in_steps(payload))
    # A run of plain values may go beyond a step, by less than so much.
    assert steps > len(payload) / (8 * stepwise.STEP)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"statusCode":200,"headers":{%b}}' % b",".join(b'"%d":null' % number for number in range(100_000)),
        b"{%b}" % b",".join(b'"%d":0' % number for number in range(100_000)),
    ],
    ids=["headers", "members"],
)
def test_members_are_found_in_steps(payload: bytes) -> None:
    assert sum(1 for _ in apigateway.response_in_steps(payload)) > len(payload) / (2 * stepwise.STEP)


DEEP = b"[" * 149 + b"]" * 149
FAR = b"[" * 800 + b"]" * 800


@pytest.mark.parametrize(
    "payload",
    [
        b'{"statusCode":200,"headers":{%b}}' % b",".join(b'"h%d":[%b]' % (n, b",".join([FAR] * 20)) for n in range(9)),
        b'{"statusCode":200,"cookies":[%b]}' % b",".join([DEEP] * 2000),
        b'{"statusCode":200,"cookies":[%b,"a"]}' % b",".join([b'"a=1"'] * 100_000),
        b'{"statusCode":[%b]}' % b",".join([FAR] * 20),
        b'{"statusCode":200,"body":{"a":%b}}' % FAR,
        b"[%b]" % b",".join([DEEP] * 2000),
    ],
    ids=["headers", "nested cookies", "cookies", "status", "body", "a value"],
)
def test_no_step_makes_more_values_than_a_text_that_is_read_at_once_may_have(
    payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, steps = 0, [0]
    scan, parse = stepwise._scan, apigateway._parse

    def scanned(text: str, at: int) -> tuple[object, int]:
        nonlocal made
        value, ends = scan(text, at)
        made += values(text[at:ends])
        return value, ends

    def parsed(text: str) -> object:
        nonlocal made
        made += values(text)
        return parse(text)

    for module in (stepwise, apigateway):
        monkeypatch.setattr(module, "_scan", scanned)
    monkeypatch.setattr(apigateway, "_parse", parsed)
    reading = apigateway.response_in_steps(payload)
    with pytest.raises(Malformed) if payload.startswith(b"{") else contextlib.nullcontext():
        while True:
            try:
                next(reading)
            except StopIteration:
                break
            finally:
                steps.append(made)
                made = 0
    assert max(steps) <= 2 * stepwise.STEP


def values(text: str) -> int:
    return 1 + sum(map(text.count, ",[{"))


@pytest.mark.parametrize(
    "around",
    [(b'{"a":[', b"0]}"), (b"[", b"0]"), (b'{"statusCode":200,"headers":{"a":"b"},"cookies":["c"],"more":[', b"0]}")],
    ids=["an object", "a list", "a response"],
)
def test_it_is_seldom_tried_in_vain_whether_what_is_deep_is_short(
    around: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    vain = 0
    short = stepwise._short

    def tried(text: str, at: int) -> int | None:
        nonlocal vain
        ends = short(text, at)
        vain += ends is None
        return ends

    monkeypatch.setattr(stepwise, "_short", tried)
    long = b'{"a":["%b",["%b"]]},' % (b"x" * 700, b"y" * 1200)
    payload = (long * 500).join(around)
    assert in_steps(payload).status == 200
    assert vain < 50


def test_what_is_short_is_looked_at_as_one_again_behind_what_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    short = stepwise._short
    monkeypatch.setattr(stepwise, "_short", lambda text, at: tried.append(at) or short(text, at))
    payload = b"[%b%b0]" % (b'["%b"],' % (b"x" * 2000) * 500, b"[[[0]]]," * 10_000)
    assert in_steps(payload).status == 200
    assert len(tried) > 10_000 - stepwise.SELDOM / 8


@pytest.mark.parametrize("payload", [b"[" + b"0," * 300_000 + b"]", b"[0" + b",[0]" * 300_000])
def test_what_is_no_json_is_read_once(payload: bytes) -> None:
    assert steps_of(payload) <= len(payload) / stepwise.STEP + 1


def test_headers_are_passed_over_once() -> None:
    payload = b'{"statusCode":200,"headers":{%b}}' % (b'"a":[[0,[1]],[2,[3]],[4]],' * 10_000 + b'"a":null')
    assert come_to(in_steps, payload) == come_to(apigateway.response, payload) != "malformed"
    assert steps_of(payload) <= len(payload) / stepwise.STEP + 1


@pytest.mark.parametrize(("depth", "parts"), [(900, True), (901, False), (960, False)])
@pytest.mark.parametrize(
    ("begins", "opens", "within", "closes", "ends", "around"),
    [
        (b"", b"[", b"", b"]", b"", 0),
        (b"", b'{"a":', b"0", b"}", b"", 0),
        (b'{"statusCode":200,"more":', b"[", b"", b"]", b"}", 1),
        (b'{"statusCode":200,"headers":{"a":', b"[", b"", b"]", b',"a":null}}', 2),
    ],
    ids=["lists", "objects", "beside a response", "in headers"],
)
def test_a_long_answer_may_be_900_deep(
    begins: bytes, opens: bytes, within: bytes, closes: bytes, ends: bytes, around: int, depth: int, parts: bool
) -> None:
    payload = begins + opens * (depth - around) + within + closes * (depth - around) + ends
    assert (come_to(in_steps, payload) != "malformed") is parts


@pytest.mark.parametrize(
    ("body", "long"),
    [
        (b"0," * 32_768, False),
        (b"0," * 32_769, True),
        (b"0," * 200_000, True),
        (b"x" * 1_000_000 + b"0," * 30_000, False),
        (b"x" * 1_000_000 + b"0," * 30_001, True),
        (DEEP * 300, True),
        (b'{"a":' * 30_001, True),
        (b"x" * 1_000_000 + b'[{"a":1},' * 10_000, False),
        (b"x" * 1_000_000 + b'[{"a":1},' * 10_001, True),
        (b'{"id":12345,"name":"some name of it","price":1.5,"tags":["a","b"]}, ' * 3500, False),
    ],
)
def test_long_is_what_has_many_bytes_and_many_values(body: bytes, long: bool) -> None:
    assert stepwise.is_long(body) is long

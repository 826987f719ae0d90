"""A key's policy allows what it says and denies what it says; what denies wins, and what nobody allows is not allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.iam import document
from triggerhub.policy.iam.decision import Request, Verdict, allows_some, decide
from triggerhub.policy.iam.document import Place

PLACE = Place(("arn", "aws", "lambda", "us-east-1", "000000000000"))
ORDERS = "arn:aws:lambda:us-east-1:000000000000:function:orders"
WHO = "arn:aws:iam::000000000000:user/deploy"
KNOWN = {"aws:username": ("deploy",), "aws:sourceip": ("127.0.0.1",)}


def read(*statements: Any, version: str = "2012-10-17") -> Any:
    return document.identity({"Version": version, "Statement": list(statements)}, lambda text: "nope" not in text.lower(), PLACE)  # fmt: skip


def allow(action: Any = "lambda:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "lambda:*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def asked(action: str = "lambda:InvokeFunction", resource: str = ORDERS) -> Request:
    return Request(action=action, resource=resource, who=WHO, known=KNOWN)


@pytest.mark.parametrize(
    ("statements", "verdict"),
    [
        ([], Verdict.NOT_ALLOWED),
        ([allow()], Verdict.ALLOWED),
        ([allow("*")], Verdict.ALLOWED),
        ([allow("lambda:invokefunction", ORDERS)], Verdict.ALLOWED),
        ([allow("lambda:Get*")], Verdict.NOT_ALLOWED),
        ([allow(["lambda:Get*", "lambda:Invoke?unction"])], Verdict.ALLOWED),
        ([allow(resource=f"{ORDERS}:*")], Verdict.NOT_ALLOWED),
        ([allow(resource=[f"{ORDERS}:*", ORDERS])], Verdict.ALLOWED),
        ([allow(resource="arn:aws:lambda:*:*:function:ord*")], Verdict.ALLOWED),
        ([allow(resource="arn:aws:lambda:us-east-1:000000000000:function:Orders")], Verdict.NOT_ALLOWED),
        ([allow(), deny("lambda:InvokeFunction")], Verdict.DENIED_BY_IDENTITY),
        ([deny("lambda:InvokeFunction"), allow()], Verdict.DENIED_BY_IDENTITY),
        ([allow(), deny("lambda:Delete*")], Verdict.ALLOWED),
        ([deny("lambda:Delete*")], Verdict.NOT_ALLOWED),
        ([{"Effect": "Allow", "NotAction": "lambda:Delete*", "Resource": "*"}], Verdict.ALLOWED),
        ([{"Effect": "Allow", "NotAction": ["lambda:Invoke*"], "Resource": "*"}], Verdict.NOT_ALLOWED),
        ([{"Effect": "Allow", "Action": "lambda:*", "NotResource": f"{ORDERS}*"}], Verdict.NOT_ALLOWED),
        ([allow(), {"Effect": "Deny", "Action": "lambda:*", "NotResource": f"{ORDERS}*"}], Verdict.ALLOWED),
        ([allow(Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})], Verdict.ALLOWED),
        ([allow(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], Verdict.NOT_ALLOWED),
        ([allow(), deny(Condition={"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], Verdict.DENIED_BY_IDENTITY),
        ([allow(resource="arn:aws:lambda:us-east-1:000000000000:function:${aws:username}")], Verdict.NOT_ALLOWED),
        ([allow(resource="arn:aws:lambda:us-east-1:000000000000:function:${aws:userid, 'orders'}")], Verdict.ALLOWED),
    ],
)  # fmt: skip
def test_what_a_key_is_told(statements: list[Any], verdict: Verdict) -> None:
    identity = read(*statements) if statements else ()
    assert decide(identity, (), asked()) is verdict


def test_a_user_has_the_functions_of_its_name() -> None:
    own = read(allow(resource="arn:aws:lambda:us-east-1:000000000000:function:${aws:username}-*"))
    base = ORDERS.removesuffix("orders")
    assert decide(own, (), asked(resource=f"{base}deploy-a")) is Verdict.ALLOWED
    assert decide(own, (), asked(resource=f"{base}other-a")) is Verdict.NOT_ALLOWED
    old = read(allow(resource="arn:aws:lambda:us-east-1:000000000000:function:${aws:username}-*"), version="2008-10-17")
    assert decide(old, (), asked(resource=f"{base}deploy-a")) is Verdict.NOT_ALLOWED


def test_what_either_policy_allows_is_allowed_and_what_either_denies_is_not() -> None:
    theirs = {"Effect": "Allow", "Principal": {"AWS": WHO}, "Action": "lambda:InvokeFunction", "Resource": ORDERS}
    resource = document.kept([theirs])
    assert decide((), resource, asked()) is Verdict.ALLOWED
    assert decide(read(deny()), resource, asked()) is Verdict.DENIED_BY_IDENTITY
    assert decide(read(allow()), document.kept([{**theirs, "Effect": "Deny"}]), asked()) is Verdict.DENIED_BY_RESOURCE


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"Version": "2012-10-17", "Statement": [allow(Principal="*")]}, r"Statement\[0\]: Principal: a key's policy has none"),
        ({"Version": "2012-10-17", "Statement": [allow(), allow(Sids="a")]}, r"Statement\[1\]: 'Sids' is not in this version"),
        ({"Version": "2012-10-17", "Statement": [{"Action": "*", "Resource": "*"}]}, "a statement has no Effect"),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*"}]}, "expected Action or NotAction"),
        ({"Version": "2012-10-17", "Statement": [allow(NotAction="*")]}, "expected Action or NotAction, and not both"),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*"}]}, "expected Resource or NotResource"),
        ({"Version": "2012-10-17", "Statement": [allow("s3:GetObject")]}, "Action: expected actions like .* got 's3:GetObject'"),
        ({"Version": "2012-10-17", "Statement": [allow("lambda:Nope")]}, "Lambda has no action like 'lambda:Nope'"),
        ({"Version": "2012-10-17", "Statement": [allow(resource="orders")]}, "Resource: 'orders' is nothing of this hub's"),
        ({"Version": "2012-10-17", "Statement": [allow(resource="arn")]}, "Resource: expected an ARN"),
        ({"Version": "2012-10-17", "Statement": [allow(resource="arn:aws:lambda:eu-west-1:123456789012:function:a")]}, "nothing of this hub's: its ARNs begin with arn:aws:lambda:us-east-1:000000000000:"),
        ({"Version": "2012-10-17", "Statement": [allow(resource="arn:aws:s3:::bucket/*")]}, "nothing of this hub's"),
        ({"Version": "2012-10-17", "Statement": [allow(resource="arn:aws:lambda:us-east-1:*:function:${aws:PrincipalTag/team}")]}, "there is no policy variable"),
        ({"Version": "2012-10-17", "Statement": [allow(Condition={"StringIs": {}})]}, "no operator 'StringIs'"),
        ({"Version": "2012-10-17", "Statement": [allow(resource=[ORDERS] * 200)]}, "the most are 6,144"),
        ({"Version": "2020-01-01", "Statement": [allow()]}, "Version: expected 2012-10-17"),
    ],
)  # fmt: skip
def test_what_is_no_policy_of_a_key_is_said_where_it_is(policy: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        document.identity(policy, lambda text: "nope" not in text.lower(), PLACE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"Version": "2012-10-17",\n "Statement" []}', "line 2, column 14: Expecting ':' delimiter"),
        ('{"Effect": "Deny", "Effect": "Allow"}', "'Effect' is there twice in one object"),
        ("[" * 100_000, "it is nested too deep"),
    ],
)
def test_a_text_that_is_no_json_is_said_where_it_is(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        document.loads(text)


def test_a_pattern_with_many_wildcards_is_decided_at_once() -> None:
    hostile = read(allow(resource=f"arn:aws:lambda:us-east-1:000000000000:function:{'*a' * 60}b"))
    assert decide(hostile, (), asked(resource=f"{ORDERS}{'a' * 200}")) is Verdict.NOT_ALLOWED


ACTIONS = ("lambda:InvokeFunction", "lambda:GetFunction", "lambda:DeleteFunction")
NAMES = ("orders", "orders:7", "web")
RESOURCES = tuple(ORDERS.replace("orders", name) for name in NAMES)
CONDITIONS = st.sampled_from([
    {}, {"StringEquals": {"aws:username": "deploy"}}, {"StringEquals": {"aws:username": "other"}},
    {"StringNotEqualsIfExists": {"aws:SourceAccount": "1"}}, {"Null": {"aws:SourceIp": "true"}},
    {"ForAnyValue:StringLike": {"aws:TagKeys": "*"}}, {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
])  # fmt: skip
BOTH = st.sampled_from(["Allow", "Deny"])


@st.composite
def statement(draw: st.DrawFn, effects: st.SearchStrategy[str] = BOTH, *, principal: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": draw(effects), "Condition": draw(CONDITIONS)}
    negated = () if principal else ("Action", "Resource")
    for name, values in (("Action", (*ACTIONS, "lambda:*", "lambda:Get*")), ("Resource", (*RESOURCES, "*", f"{ORDERS}*"))):  # fmt: skip
        word = draw(st.sampled_from((name, f"Not{name}"))) if name in negated else name
        made[word] = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
    if principal:
        made["Principal"] = draw(st.sampled_from(("*", {"AWS": WHO}, {"AWS": "000000000000"})))
    return made


REQUESTS = st.builds(
    lambda action, resource, known: Request(action=action, resource=resource, who=WHO, known=known),
    st.sampled_from(ACTIONS), st.sampled_from(RESOURCES), st.sampled_from([KNOWN, {}, {**KNOWN, "aws:tagkeys": ("a", "b")}]),
)  # fmt: skip
POLICIES = st.lists(statement(), min_size=1, max_size=4)
OTHERS = st.lists(statement(principal=True), max_size=3)


@given(POLICIES, OTHERS, statement(st.just("Deny")), st.integers(0, 4), REQUESTS)
def test_another_deny_never_allows_more(own: Any, others: Any, more: Any, place: int, request: Request) -> None:
    after = decide(read(*own[:place], more, *own[place:]), document.kept(others), request)
    if after is Verdict.ALLOWED:
        assert decide(read(*own), document.kept(others), request) is Verdict.ALLOWED


@given(POLICIES, OTHERS, statement(st.just("Allow")), st.integers(0, 4), REQUESTS)
def test_another_allow_never_denies(own: Any, others: Any, more: Any, place: int, request: Request) -> None:
    before = decide(read(*own), document.kept(others), request)
    after = decide(read(*own[:place], more, *own[place:]), document.kept(others), request)
    assert after is before or (before, after) == (Verdict.NOT_ALLOWED, Verdict.ALLOWED)


@given(POLICIES, OTHERS, REQUESTS, st.randoms())
def test_the_order_of_statements_says_nothing(own: Any, others: Any, request: Request, random: Any) -> None:
    before = decide(read(*own), document.kept(others), request)
    shuffled = [random.sample(each, len(each)) for each in (own, others)]
    assert decide(read(*shuffled[0]), document.kept(shuffled[1]), request) is before


@given(POLICIES)
def test_what_is_kept_as_text_says_the_same(own: Any) -> None:
    policy = {"Version": "2012-10-17", "Statement": own}
    assert read(*document.loads(json.dumps(policy))["Statement"]) == read(*own)


@pytest.mark.parametrize(
    ("statements", "some"),
    [
        ([allow()], True),
        ([allow("lambda:Create*", ORDERS)], True),
        ([allow("lambda:CreateFunction", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], True),
        ([{"Effect": "Allow", "NotAction": "lambda:Delete*", "Resource": "*"}], True),
        ([{"Effect": "Allow", "NotAction": "lambda:Create*", "Resource": "*"}], False),
        ([allow("lambda:Get*")], False),
        ([deny()], False),
        ([allow(), deny("lambda:CreateFunction")], False),
        ([deny("lambda:Create*", [ORDERS, "*"]), allow()], False),
        ([allow(), {"Effect": "Deny", "NotAction": "lambda:Get*", "Resource": "*"}], False),
        ([allow(), deny("lambda:DeleteFunction")], True),
        ([allow(), deny("lambda:CreateFunction", ORDERS)], True),
        ([allow(), {"Effect": "Deny", "Action": "lambda:*", "NotResource": "*"}], True),
        ([allow(), deny(Condition={"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], True),
    ],
)
def test_whether_an_action_is_allowed_of_anything(statements: list[Any], some: bool) -> None:
    assert allows_some(read(*statements), "lambda:CreateFunction") is some


@given(POLICIES, REQUESTS)
def test_what_is_allowed_of_something_is_allowed_of_anything(own: Any, request: Request) -> None:
    if decide(read(*own), (), request) is Verdict.ALLOWED:
        assert allows_some(read(*own), request.action)

"""A resource's policy grants what its statements say, to everybody where they say so, and nothing that it does not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.iam import document
from triggerhub.policy.iam.decision import Request, Verdict, decide

ACTION, ARN = "lambda:InvokeFunctionUrl", "arn:aws:lambda:us-east-1:000000000000:function:web"
CONTEXT = {"lambda:functionurlauthtype": ("NONE",), "lambda:invokedviafunctionurl": ("true",), "aws:sourceip": ("127.0.0.1",)}  # fmt: skip
OPEN: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": ACTION, "Resource": ARN}
ME, YOU = "arn:aws:iam::000000000000:user/me", "arn:aws:iam::000000000000:user/you"


def one(**given: Any) -> dict[str, Any]:
    return {**OPEN, **given}


def taken(*statements: Any, version: str = "2012-10-17") -> Any:
    return document.resource({"Version": version, "Statement": list(statements)}, meant, ARN)


def meant(pattern: str) -> bool:
    return "nope" not in pattern.lower()


def verdict(statements: Any, who: str | None = None, action: str = ACTION) -> Verdict:
    asked = Request(action=action, resource=ARN, who=who, known=CONTEXT)
    return decide((), document.kept(statements), asked)


def grants(statements: Any, who: str | None = None) -> bool:
    return verdict(statements, who) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("statement", "granted"),
    [
        (one(), True),
        (one(Resource=[ARN]), True),
        (one(Principal={"AWS": "*"}), True),
        (one(Principal={"AWS": ["arn:aws:iam::1:root", "*"]}), True),
        (one(Principal={"Service": "*"}), False),
        (one(Principal={"AWS": "arn:aws:iam::000000000000:root"}), False),
        (one(Action="*"), True),
        (one(Action=["lambda:GetFunction", "lambda:invoke*"]), True),
        (one(Action="lambda:InvokeFunction"), False),
        (one(Action="lambda:InvokeFunctionUr?"), True),
        (one(Condition={}), True),
        (one(Condition={"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}), True),
        (one(Condition={"StringEquals": {"lambda:functionurlauthtype": ["AWS_IAM", "NONE"]}}), True),
        (one(Condition={"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}), False),
        (one(Condition={"StringEquals": {"lambda:FunctionUrlAuthType": "N*"}}), False),
        (one(Condition={"StringLike": {"lambda:FunctionUrlAuthType": "N*"}}), True),
        (one(Condition={"StringLike": {"lambda:FunctionUrlAuthType": "[N]ONE"}}), False),
        (one(Condition={"Bool": {"lambda:InvokedViaFunctionUrl": True}}), True),
        (one(Condition={"Bool": {"lambda:InvokedViaFunctionUrl": "false"}}), False),
        (one(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}), False),
        (one(Condition={"StringNotEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}), True),
        (one(Condition={"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}), True),
        (one(Condition={"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}), False),
    ],
)
def test_what_a_statement_grants_everybody(statement: dict[str, Any], granted: bool) -> None:
    assert taken(statement) == (statement,)
    assert grants([statement]) is granted
    assert grants([one(Action="lambda:GetFunction"), statement]) is granted
    assert not grants([])


@pytest.mark.parametrize(
    ("principal", "granted"),
    [
        ("*", True),
        ({"AWS": ME}, True),
        ({"AWS": [YOU, ME]}, True),
        ({"AWS": YOU}, False),
        ({"AWS": "arn:aws:iam::000000000000:user/m*"}, False),
        ({"AWS": "arn:aws:iam::000000000000:root"}, False),
        ({"Service": ME}, False),
    ],
)
def test_whom_a_statement_grants_it(principal: Any, granted: bool) -> None:
    assert grants([one(Principal=principal)], ME) is granted


@pytest.mark.parametrize(
    ("principal", "who", "denied"),
    [
        ("*", None, True),
        ("*", ME, True),
        ({"AWS": ME}, ME, True),
        ({"AWS": ME}, YOU, False),
        ({"AWS": ME}, None, False),
        ({"AWS": "000000000000"}, ME, True),
        ({"AWS": "arn:aws:iam::000000000000:root"}, ME, True),
        ({"AWS": "arn:aws:iam::000000000000:root"}, None, False),
    ],
)
def test_whom_a_statement_denies_it(principal: Any, who: str | None, denied: bool) -> None:
    """Whatever else allows it; and a whole account is all of its users."""
    statements = taken(one(), one(Effect="Deny", Principal=principal))
    assert verdict(statements, who) is (Verdict.DENIED_BY_RESOURCE if denied else Verdict.ALLOWED)


@pytest.mark.parametrize(
    ("document_", "says"),
    [
        ([], "a policy is an object"),
        ({"Version": "2012-10-17", "Statement": [OPEN], "More": 1}, "there is no 'More'"),
        ({"Statement": [OPEN]}, "Version: expected 2012-10-17"),
        ({"Version": "2012-10-17"}, "Statement: there is none"),
        ({"Version": "2012-10-17", "Statement": [5]}, r"Statement\[0\]: expected an object"),
        ({"Version": "2012-10-17", "Statement": [one(NotAction="x")]}, r"Statement\[0\]: 'NotAction' is not in this"),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}, "a statement has no Principal"),
        ({"Version": "2012-10-17", "Statement": [one(Effect="Perhaps")]}, "Effect: expected Allow or Deny"),
        ({"Version": "2012-10-17", "Statement": [one(Effect="Deny", Principal={"Service": "s3.amazonaws.com"})]}, "only keys are denied"),
        ({"Version": "2012-10-17", "Statement": [one(Action=[])]}, "Action: expected a text"),
        ({"Version": "2012-10-17", "Statement": [one(Action="s3:GetObject")]}, "Action: expected actions like"),
        ({"Version": "2012-10-17", "Statement": [one(Action="lambda:[a]")]}, "Action: expected actions like"),
        ({"Version": "2012-10-17", "Statement": [OPEN, one(Action="lambda:Nope")]}, r"Statement\[1\]: Action: Lambda has no action like 'lambda:Nope'"),
        ({"Version": "2012-10-17", "Statement": [one(Resource=7)]}, "Resource: expected a text"),
        ({"Version": "2012-10-17", "Statement": [one(Resource="*")]}, f"Resource: expected {ARN}"),
        ({"Version": "2012-10-17", "Statement": [one(Principal="me")]}, "Principal: expected"),
        ({"Version": "2012-10-17", "Statement": [one(Principal={"aws": "*"})]}, "Principal: 'aws' is not in this version; the kinds are AWS and Service"),
        ({"Version": "2012-10-17", "Statement": [one(Principal={"AWS": "*", "Nonsense": "y"})]}, "Principal: 'Nonsense' is not"),
        ({"Version": "2012-10-17", "Statement": [one(Principal={"AWS": [5]})]}, "AWS: expected a text"),
        ({"Version": "2012-10-17", "Statement": [one(Condition={"Bool": "x"})]}, "Condition.Bool: expected"),
        ({"Version": "2012-10-17", "Statement": [one(Sid="a"), one(Sid="a")]}, r"Statement\[1\]: Sid: 'a' is no text, or there twice"),
        ({"Version": "2008-10-17", "Statement": [one(Condition={"StringLike": {"aws:username": "${aws:userid}"}})]}, "2008-10-17 has no policy variables"),
    ],
)  # fmt: skip
def test_what_is_no_policy_here_is_said(document_: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        document.resource(document_, meant, ARN)


def test_what_was_taken_in_before_and_is_not_now_grants_nothing() -> None:
    odd = one(Condition={"BinaryEquals": {"aws:whatever": "x"}})
    assert not grants([odd])
    assert grants([odd, one()])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    JSON | st.fixed_dictionaries({
        "Version": st.just("2012-10-17"),
        "Statement": st.lists(st.fixed_dictionaries(
            {"Effect": st.sampled_from(["Allow", "Deny"]), "Principal": JSON, "Action": JSON | st.just("*"), "Resource": JSON | st.just(ARN)},
            optional={"Condition": JSON, "Sid": JSON},
        ), max_size=2),
    })
)  # fmt: skip
def test_whatever_is_taken_in_can_be_asked(given_: Any) -> None:
    try:
        statements = document.resource(given_, meant, ARN)
    except ValueError:
        return
    assert grants(statements) in (True, False)

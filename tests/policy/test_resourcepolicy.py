"""A policy grants what its statements say, to everybody where they say so, and nothing that it does not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.resourcepolicy import grants, statements

ACTION = "lambda:InvokeFunctionUrl"
CONTEXT = {"lambda:FunctionUrlAuthType": "NONE", "lambda:InvokedViaFunctionUrl": "true"}
OPEN: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": ACTION, "Resource": "arn"}


def one(**given: Any) -> dict[str, Any]:
    return {**OPEN, **given}


@pytest.mark.parametrize(
    ("statement", "granted"),
    [
        (one(), True),
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
        (one(Condition={"StringNotEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}), False),
        (one(Condition={"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}), False),
    ],
)
def test_what_a_statement_grants_everybody(statement: dict[str, Any], granted: bool) -> None:
    assert list(statements({"Version": "2012-10-17", "Statement": statement})) == [statement]
    assert grants([statement], ACTION, CONTEXT) is granted
    assert grants([one(Action="lambda:GetFunction"), statement], ACTION, CONTEXT) is granted
    assert not grants([], ACTION, CONTEXT)


@pytest.mark.parametrize(
    ("principal", "granted"),
    [
        ("*", True),
        ({"AWS": "arn:aws:iam::000000000000:user/me"}, True),
        ({"AWS": ["arn:aws:iam::000000000000:user/you", "arn:aws:iam::000000000000:user/me"]}, True),
        ({"AWS": "arn:aws:iam::000000000000:user/you"}, False),
        ({"AWS": "arn:aws:iam::000000000000:user/m*"}, False),
        ({"AWS": "arn:aws:iam::000000000000:root"}, False),
        ({"Service": "arn:aws:iam::000000000000:user/me"}, False),
    ],
)
def test_whom_a_statement_grants_it(principal: Any, granted: bool) -> None:
    assert grants([one(Principal=principal)], ACTION, CONTEXT, "arn:aws:iam::000000000000:user/me") is granted


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "a policy is an object"),
        ({"Version": "2012-10-17", "Statement": [OPEN], "More": 1}, "a policy is an object"),
        ({"Statement": [OPEN]}, "Version: expected 2012-10-17"),
        ({"Version": "2012-10-17"}, "Statement: there is none"),
        ({"Version": "2012-10-17", "Statement": [5]}, "Statement: expected objects"),
        ({"Version": "2012-10-17", "Statement": [one(NotAction="x")]}, "'NotAction' is not in this version"),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}, "a statement has no Principal"),
        ({"Version": "2012-10-17", "Statement": [one(Effect="Deny")]}, "Effect: only Allow"),
        ({"Version": "2012-10-17", "Statement": [one(Action=[])]}, "Action: expected a text"),
        ({"Version": "2012-10-17", "Statement": [one(Action="s3:GetObject")]}, "Action: expected actions like"),
        ({"Version": "2012-10-17", "Statement": [one(Action="lambda:[a]")]}, "Action: expected actions like"),
        ({"Version": "2012-10-17", "Statement": [one(Resource=7)]}, "Resource: expected a text"),
        ({"Version": "2012-10-17", "Statement": [one(Principal="me")]}, "Principal: expected"),
        ({"Version": "2012-10-17", "Statement": [one(Principal={"AWS": [5]})]}, "Principal: expected"),
        ({"Version": "2012-10-17", "Statement": [one(Condition={"Bool": "x"})]}, "Condition: expected"),
        ({"Version": "2012-10-17", "Statement": [one(Sid="a"), one(Sid="a")]}, "Sid: 'a' is no text, or there twice"),
    ],
)
def test_what_is_no_policy_here_is_said(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        list(statements(document))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    JSON | st.fixed_dictionaries({
        "Version": st.just("2012-10-17"),
        "Statement": st.lists(st.fixed_dictionaries(
            {"Effect": st.just("Allow"), "Principal": JSON, "Action": JSON | st.just("*"), "Resource": JSON},
            optional={"Condition": JSON, "Sid": JSON},
        ), max_size=2),
    })
)  # fmt: skip
def test_whatever_is_taken_in_can_be_asked(document: Any) -> None:
    try:
        taken = list(statements(document))
    except ValueError:
        return
    assert grants(taken, ACTION, CONTEXT) in (True, False)

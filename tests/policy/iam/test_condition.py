"""Conditions hold as IAM's user guide says, also where a request does not have their key, or has many values of it."""

from __future__ import annotations

from typing import Any

import pytest

from triggerhub.policy.iam.condition import conditions

KNOWN = {
    "aws:username": ("deploy",),
    "aws:sourceip": ("10.1.2.3",),
    "aws:securetransport": ("false",),
    "aws:currenttime": ("2026-11-27T20:00:00Z",),
    "aws:epochtime": ("1795809600",),
    "aws:principalarn": ("arn:aws:iam::000000000000:user/deploy",),
    "aws:tagkeys": ("team", "stage"),
    "aws:requesttag/team": ("blue",),
    "lambda:functionarn": ("arn:aws:lambda:us-east-1:000000000000:function:orders:7",),
}
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function"


def holds(operator: str, key: str, value: Any, known: Any = KNOWN) -> bool:
    return all(one.holds(known) for one in conditions({operator: {key: value}}, str))


@pytest.mark.parametrize(
    ("operator", "key", "value", "expected"),
    [
        ("StringEquals", "aws:username", "deploy", True),
        ("StringEquals", "AWS:UserName", ["other", "deploy"], True),
        ("StringEquals", "aws:username", "Deploy", False),
        ("StringEquals", "aws:username", "dep*", False),
        ("StringNotEquals", "aws:username", "other", True),
        ("StringNotEquals", "aws:username", ["other", "deploy"], False),
        ("StringEqualsIgnoreCase", "aws:username", "DEPLOY", True),
        ("StringNotEqualsIgnoreCase", "aws:username", "DEPLOY", False),
        ("StringLike", "aws:username", "d?plo*", True),
        ("StringLike", "aws:username", "[d]eploy", False),
        ("StringNotLike", "aws:username", "d*", False),
        ("StringEquals", "aws:PrincipalArn", "arn:aws:iam::000000000000:user/${aws:username}", True),
        ("StringLike", "aws:PrincipalArn", "*/${aws:username}", True),
        ("StringLike", "aws:username", "${*}", False),
        ("StringEquals", "aws:username", "${aws:userid, 'deploy'}", True),
        ("StringEquals", "aws:username", "${aws:userid}", False),
        ("StringNotEquals", "aws:username", "${aws:userid}", True),
        ("ArnLike", "lambda:FunctionArn", f"{FUNCTION}:orders:*", True),
        ("ArnEquals", "lambda:FunctionArn", f"{FUNCTION}:orders", False),
        ("ArnEquals", "lambda:FunctionArn", "arn:aws:lambda:*:*:function:orders:?", True),
        ("ArnLike", "lambda:FunctionArn", "arn:*:function:orders:7:::", False),
        ("ArnNotLike", "lambda:FunctionArn", f"{FUNCTION}:*", False),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::000000000000:user/${aws:username}", True),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", True),
        ("IpAddress", "aws:SourceIp", ["192.0.2.0/24", "10.1.2.3"], True),
        ("IpAddress", "aws:SourceIp", "2001:db8::/32", False),
        ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", False),
        ("NotIpAddress", "aws:SourceIp", "192.0.2.0/24", True),
        ("IpAddress", "aws:username", "10.0.0.0/8", False),
        ("Bool", "aws:SecureTransport", False, True),
        ("Bool", "aws:SecureTransport", "true", False),
        ("DateGreaterThan", "aws:CurrentTime", "2026-11-27T19:59:59Z", True),
        ("DateLessThan", "aws:CurrentTime", "2026-11-27", False),
        ("DateLessThanEquals", "aws:CurrentTime", "2026-11-27T21:00:00+01:00", True),
        ("DateEquals", "aws:EpochTime", "2026-11-27T20:00:00Z", True),
        ("DateNotEquals", "aws:EpochTime", 1795809600, False),
        ("DateGreaterThanEquals", "aws:username", "2026-11-27", False),
        ("NumericLessThan", "aws:EpochTime", 1795809601, True),
        ("NumericGreaterThanEquals", "aws:EpochTime", "1795809601", False),
        ("NumericEquals", "aws:EpochTime", "1795809600.0", True),
        ("NumericNotEquals", "aws:username", 5, True),
        ("Null", "aws:username", "false", True),
        ("Null", "aws:username", True, False),
        ("Null", "aws:SourceArn", "true", True),
        # of a key that the request does not have
        ("StringEquals", "aws:SourceAccount", "1", False),
        ("StringNotEquals", "aws:SourceAccount", "1", True),
        ("StringEqualsIfExists", "aws:SourceAccount", "1", True),
        ("StringEqualsIfExists", "aws:username", "1", False),
        ("BoolIfExists", "aws:MultiFactorAuthPresent", "false", True),
        ("Bool", "aws:MultiFactorAuthPresent", "false", False),
        ("ForAllValues:StringEquals", "aws:SourceAccount", "1", True),
        ("ForAnyValue:StringEquals", "aws:SourceAccount", "1", False),
        ("ForAnyValue:StringNotEquals", "aws:SourceAccount", "1", False),
        # of a key with many values
        ("ForAllValues:StringEquals", "aws:TagKeys", ["team", "stage", "cost"], True),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["team"], False),
        ("ForAllValues:StringNotEquals", "aws:TagKeys", ["cost"], True),
        ("ForAllValues:StringNotEquals", "aws:TagKeys", ["team"], False),
        ("ForAnyValue:StringLike", "aws:TagKeys", ["st*"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["cost"], False),
        ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["team"], True),
        ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["team", "stage"], False),
        ("StringEquals", "aws:RequestTag/Team", "blue", True),
        ("StringEquals", "aws:ResourceTag/team", "blue", False),
    ],
)
def test_what_a_condition_says_of_a_request(operator: str, key: str, value: Any, expected: bool) -> None:
    assert holds(operator, key, value) is expected


def test_all_keys_of_all_operators_must_hold() -> None:
    both = {"StringEquals": {"aws:username": "deploy", "aws:RequestTag/team": "blue"}, "Bool": {"aws:SecureTransport": "false"}}  # fmt: skip
    assert all(one.holds(KNOWN) for one in conditions(both, str))
    both["Bool"]["aws:SecureTransport"] = "true"
    assert not all(one.holds(KNOWN) for one in conditions(both, str))


def test_a_mapped_address_is_the_one_that_it_maps() -> None:
    assert holds("IpAddress", "aws:SourceIp", "10.0.0.0/8", {"aws:sourceip": ("::ffff:10.1.2.3",)})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "Condition: expected an object"),
        ({"StringEquals": {}}, "Condition.StringEquals: expected an object of keys"),
        ({"StringIs": {"aws:username": "x"}}, "there is no operator 'StringIs' here; there are StringEquals"),
        ({"BinaryEquals": {"aws:username": "x"}}, "there is no operator 'BinaryEquals'"),
        ({"NullIfExists": {"aws:username": "true"}}, "there is no operator 'NullIfExists'"),
        ({"ForSome:StringEquals": {"aws:username": "x"}}, "stands ForAnyValue or ForAllValues"),
        ({"StringEquals": {"aws:PrincipalTag/team": "x"}}, "Condition.StringEquals: there is no condition key 'aws:PrincipalTag/team'"),
        ({"StringEquals": {"s3:prefix": "x"}}, "there is no condition key 's3:prefix'"),
        ({"StringEquals": {"aws:RequestTag/": "x"}}, "there is no condition key"),
        ({"StringEquals": {"aws:username": []}}, r"Condition.StringEquals.aws:username: expected a value"),
        ({"StringEquals": {"aws:username": {"a": 1}}}, "expected texts, numbers"),
        ({"StringEquals": {"aws:username": "${saml:sub}"}}, r"there is no policy variable \$\{saml:sub\}"),
        ({"StringEquals": {"aws:username": "${aws:username"}}, "opens a policy variable"),
        ({"StringEquals": {"aws:username": "${aws:username, x}"}}, "a default is written like"),
        ({"ArnLike": {"aws:SourceArn": "orders"}}, "is no ARN"),
        ({"Bool": {"aws:SecureTransport": "yes"}}, "expected true or false"),
        ({"NumericEquals": {"aws:EpochTime": "soon"}}, "aws:EpochTime: could not convert"),
        ({"NumericEquals": {"aws:EpochTime": "nan"}}, "expected a number"),
        ({"DateLessThan": {"aws:CurrentTime": "tomorrow"}}, "expected a date like"),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}, "aws:SourceIp: .*10.0.0.0/33"),
    ],
)  # fmt: skip
def test_what_is_no_condition_here_is_said_where_it_is(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        list(conditions(given, str))

"""Know the condition keys that a policy may name here: IAM's global ones, and Lambda's own. Pure."""

from __future__ import annotations

TOLD = (
    "aws:username", "aws:userid", "aws:PrincipalArn", "aws:PrincipalAccount", "aws:PrincipalType", "aws:SourceIp",
    "aws:SecureTransport", "aws:CurrentTime", "aws:EpochTime", "aws:RequestedRegion", "aws:ResourceAccount",
    "aws:UserAgent", "aws:Referer", "aws:TagKeys", "aws:ViaAWSService", "aws:PrincipalIsAWSService",
    "lambda:FunctionArn", "lambda:FunctionUrlAuthType", "lambda:InvokedViaFunctionUrl", "lambda:Layer",
    "lambda:Principal",
)  # fmt: skip
"""What is known of requests, each where AWS tells it too."""
TAGS = ("aws:RequestTag/", "aws:ResourceTag/")
"""What stands before the key of a tag."""
ABSENT = (
    "aws:SourceArn", "aws:SourceAccount", "aws:SourceOrgID", "aws:PrincipalOrgID", "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceName", "aws:CalledVia", "aws:MultiFactorAuthPresent", "aws:MultiFactorAuthAge",
    "aws:TokenIssueTime", "aws:FederatedProvider", "aws:SourceIdentity", "aws:SourceVpc", "aws:SourceVpce",
    "aws:VpcSourceIp", "lambda:EventSourceToken", "lambda:SourceFunctionArn", "lambda:CodeSigningConfigArn",
    "lambda:VpcIds", "lambda:SubnetIds", "lambda:SecurityGroupIds",
)  # fmt: skip
"""What no request here has, as none has at AWS that an access key of a user's has signed from outside of a VPC.

Services, organizations, second factors, temporary credentials and roles are what would have it.
"""
_KNOWN = frozenset(map(str.lower, (*TOLD, *ABSENT)))
_PREFIXES = tuple(map(str.lower, TAGS))


def unknown(key: str) -> str | None:
    """Return why *key* is no condition key here, None where it is one. Capitals are as small letters."""
    if key.lower() in _KNOWN or any(key.lower().startswith(one) and len(key) > len(one) for one in _PREFIXES):
        return None
    return (
        f"there is no condition key {key[:60]!r} here; there are {', '.join((*TOLD, *(f'{one}KEY' for one in TAGS)))}"
    )

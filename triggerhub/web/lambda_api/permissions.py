"""Keep the resource policies of functions: who else may call them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from triggerhub.aws import arn
from triggerhub.aws.reference import LATEST
from triggerhub.aws.restjson import ApiError
from triggerhub.deploy.record import Deployed
from triggerhub.deploy.registry import Registry
from triggerhub.model import Json
from triggerhub.policy.iam import document
from triggerhub.policy.iam.decision import Request, Verdict, decide
from triggerhub.policy.iam.pattern import Known
from triggerhub.settings import KB
from triggerhub.web.lambda_api.actions import BY_URL, meant
from triggerhub.web.lambda_api.asked import Asked, Perform
from triggerhub.web.lambda_api.functions import Functions, there
from triggerhub.web.lambda_api.stamp import revision
from triggerhub.web.lambda_api.target import absent, named

log = structlog.get_logger("lambda")

POLICY = 20 * KB
"""The most bytes of a policy."""
NO_POLICY = "The resource you requested does not exist."
NOT_ANY = "No policy is associated with the given resource."
REVISION = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetPolicy API to retrieve the latest Revision Id"
)
_CONDITIONS = (
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("InvokedViaFunctionUrl", "Bool", "lambda:InvokedViaFunctionUrl"),
)
INVALID = "The provided principal was invalid. Please check the principal and try again."
_OF_ACCOUNT = re.compile(rf"arn:aws:iam::{arn.ACCOUNT}:(root|user/[A-Za-z0-9_.@-]{{1,64}})")
"""Whom a statement can name here: the account, and its keys."""
_RESOURCE = re.compile(
    r"arn:aws:lambda:us-east-1:000000000000:function:(?P<name>[A-Za-z0-9-_]+)(:(?P<qualifier>[A-Za-z0-9-_]+))?"
)


class Permissions:
    """The operations on resource policies."""

    def __init__(self, functions: Functions, registry: Registry) -> None:
        self._functions = functions
        self._registry = registry

    def operations(self) -> Mapping[str, Perform]:
        return {
            "AddPermission": self._add,
            "RemovePermission": self._remove,
            "GetPolicy": self._get,
            "GetResourcePolicy": self._get_whole,
            "PutResourcePolicy": self._put_whole,
            "DeleteResourcePolicy": self._delete_whole,
        }

    async def _add(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        name, qualifier = self._place(asked)
        if not meant(given["Action"]):
            raise ApiError("InvalidParameterValueException", f"Action: Lambda has no action {given['Action']}.")
        made = statement(given, arn.function(name, qualifier or None))
        _check_effect(given, made)

        def add(before: Deployed | None) -> Deployed:
            current = self._at(before, name, qualifier, given)
            held = current.policies.get(qualifier, ())
            if any(one.get("Sid") == made["Sid"] for one in held):
                text = f"The statement id ({made['Sid']}) provided already exists. Please provide a new statement id, "
                raise ApiError("ResourceConflictException", f"{text}or remove the existing statement.")
            return _with(current, qualifier, (*held, made))

        await self._registry.change(name, add)
        return {"Statement": json.dumps(made)}

    async def _remove(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        found = named(given["FunctionName"])
        if not self._functions.has(found.name):
            raise ApiError("ResourceNotFoundException", f"No policy found for: {arn.function(found.name)}")
        name, qualifier = self._place(asked)

        def remove(before: Deployed | None) -> Deployed:
            current = self._at(before, name, qualifier, given)
            held = current.policies.get(qualifier, ())
            if not held:
                raise ApiError("ResourceNotFoundException", NOT_ANY)
            kept = tuple(one for one in held if one.get("Sid") != given["StatementId"])
            if len(kept) == len(held):
                text = f"Statement {given['StatementId']} is not found in resource policy."
                raise ApiError("ResourceNotFoundException", text)
            return _with(current, qualifier, kept)

        await self._registry.change(name, remove)
        return {}

    async def _get(self, asked: Asked) -> Mapping[str, Json]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        return self._shown(found.name, found.qualifier or "")

    def _shown(self, name: str, qualifier: str) -> dict[str, Json]:
        self._functions.shown(name, None)
        deployed = self._functions.deployed(name)
        if deployed is None or not deployed.policies.get(qualifier):
            raise ApiError("ResourceNotFoundException", NO_POLICY)
        return {"Policy": written(deployed.policies[qualifier]), "RevisionId": deployed.revision(qualifier)}

    # the whole policy at once

    async def _get_whole(self, asked: Asked) -> Mapping[str, Json]:
        return self._shown(*_resource(asked))

    async def _put_whole(self, asked: Asked) -> Mapping[str, Json]:
        given = asked.given
        name, qualifier = _resource(asked)
        self._functions.changeable(name)
        try:
            wanted = document.resource(document.loads(given["Policy"]), meant, arn.function(name, qualifier or None))
        except ValueError as error:
            raise ApiError("InvalidParameterValueException", f"Policy: {error}.") from error
        for one in document.kept(wanted):
            for text in one.principals:
                _check_principal(text)

        def put(before: Deployed | None) -> Deployed:
            return _with(self._at(before, name, qualifier, given), qualifier, wanted)

        await self._registry.change(name, put)
        return self._shown(name, qualifier)

    async def _delete_whole(self, asked: Asked) -> Mapping[str, Json]:
        name, qualifier = _resource(asked)
        self._functions.changeable(name)

        def delete(before: Deployed | None) -> Deployed:
            current = self._at(before, name, qualifier, asked.given)
            if not current.policies.get(qualifier):
                raise ApiError("ResourceNotFoundException", NO_POLICY)
            return _with(current, qualifier, ())

        await self._registry.change(name, delete)
        return {}

    def _place(self, asked: Asked) -> tuple[str, str]:
        found = named(asked.given["FunctionName"], asked.given.get("Qualifier"))
        if found.qualifier == LATEST:
            text = "We currently do not support adding policies for $LATEST."
            raise ApiError("InvalidParameterValueException", text)
        self._functions.changeable(found.name)
        return found.name, found.qualifier or ""

    def _at(self, before: Deployed | None, name: str, qualifier: str, given: Mapping[str, Json]) -> Deployed:
        current = there(before, name)
        if qualifier and qualifier not in current.versions and qualifier not in current.aliases:
            raise absent(name, qualifier)
        if given.get("RevisionId") not in (None, current.revision(qualifier)):
            raise ApiError("PreconditionFailedException", REVISION)
        return current


def _resource(asked: Asked) -> tuple[str, str]:
    """Return function and qualifier of a ResourceArn. Raises ApiError."""
    found = place_of(asked.given["ResourceArn"])
    if found is None:
        raise ApiError("ResourceNotFoundException", NO_POLICY)
    return found


def place_of(text: str) -> tuple[str, str] | None:
    """Return the function and the qualifier that an ARN names; None where it names none."""
    found = _RESOURCE.fullmatch(text)
    return None if found is None else (found["name"], found["qualifier"] or "")


def written(statements: Sequence[Json]) -> str:
    """Return a policy as it is shown."""
    policy = {"Version": "2012-10-17", "Id": "default", "Statement": statements}
    return json.dumps(policy, separators=(",", ":"), ensure_ascii=False)


def check_size(statements: Sequence[Json]) -> None:
    """Raise ApiError for more statements than a policy has room for."""
    if (size := len(written(statements).encode())) > POLICY:
        text = f"The final policy size ({size}) is bigger than the limit ({POLICY})."
        raise ApiError("PolicyLengthExceededException", text)


def statement(given: Mapping[str, Json], resource: str) -> dict[str, Json]:
    """Return the statement that AddPermission's members make."""
    made: dict[str, Json] = {
        "Sid": given["StatementId"],
        "Effect": "Allow",
        "Principal": principal(given["Principal"]),
        "Action": given["Action"],
        "Resource": resource,
    }
    conditions: dict[str, dict[str, Json]] = {}
    for member, operator, key in _CONDITIONS:
        if member in given:
            value = given[member]
            conditions.setdefault(operator, {})[key] = str(value).lower() if isinstance(value, bool) else value
    if conditions:
        made["Condition"] = conditions
    return made


def opens(policy: tuple[Json, ...], resource: str, known: Known) -> bool:
    """Whether a policy lets everybody call a function by its URL without a signature; *known* is known of the call."""
    told = {**known, "lambda:functionurlauthtype": ("NONE",), "lambda:invokedviafunctionurl": ("true",)}
    try:
        kept = document.kept(policy)
    except ValueError as error:
        log.error("a policy cannot be read, so nothing is allowed", resource=resource, why=str(error))
        return False
    asked = (Request(action=f"lambda:{one}", resource=resource, who=None, known=told) for one in BY_URL)
    return all(decide((), kept, one) is Verdict.ALLOWED for one in asked)


def principal(text: str) -> Json:
    """Return the principal of a statement as policies write it."""
    if text == "*":
        return text
    if re.fullmatch(r"\d{12}", text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    return {"Service" if text.endswith((".amazonaws.com", ".amazon.com")) else "AWS": text}


_ONLY = {"FunctionUrlAuthType": "lambda:InvokeFunctionUrl", "InvokedViaFunctionUrl": "lambda:InvokeFunction"}
"""Conditions that AWS takes with one action alone."""


def _check_effect(given: Mapping[str, Json], made: Mapping[str, Json]) -> None:
    """Raise ApiError for a statement that nobody here could ever be meant by."""
    named = made["Principal"]
    for member, does in _ONLY.items():
        if member in given and made["Action"].lower() != does.lower():
            raise ApiError("InvalidParameterValueException", f"{member} is only supported for {does} action")
    if "AWS" in named:
        _check_principal(named["AWS"])
    if "Service" in named and made["Action"].lower() not in ("lambda:invokefunction", "lambda:*"):
        text = f"Action: {named['Service']} is a service, which calls functions: expected lambda:InvokeFunction."
        raise ApiError("InvalidParameterValueException", text)


def _check_principal(text: str) -> None:
    if text not in ("*", arn.ACCOUNT) and not _OF_ACCOUNT.fullmatch(text):
        raise ApiError("InvalidParameterValueException", INVALID)


def _with(deployed: Deployed, qualifier: str, policy: tuple[Json, ...]) -> Deployed:
    check_size(policy)
    policies = {key: one for key, one in deployed.policies.items() if key != qualifier}
    if policy:
        policies[qualifier] = policy
    return replace(deployed, policies=policies).revised(qualifier, revision())

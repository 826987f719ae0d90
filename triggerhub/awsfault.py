"""Understand what goes wrong with AWS, and keep a source going through it."""

from __future__ import annotations

import importlib
import random
from typing import Any
from urllib.parse import urlsplit

import anyio

from triggerhub import source
from triggerhub.aws import faults
from triggerhub.errors import TriggerhubError
from triggerhub.policy.retry import backoff
from triggerhub.settings import SECOND, RetryPolicy

RESTS = RetryPolicy(initial=SECOND, max=20 * SECOND)
"""How long a connection in trouble rests between tries: 1 s, doubled up to 20 s, with jitter, for ever."""
PATIENT = 5.0
"""Seconds that a passing trouble may last before the trigger is shown as degraded."""
TOLD = 60.0
"""At most one other reason in so many seconds is told of a trigger that is degraded already."""
_PREFIX = {"dynamodbstreams": "dynamodb"}
"""Services whose permissions have another prefix than their client."""
_NETWORK = ("aiohttp.", "botocore.parsers")
"""Whose own errors tell of an answer that did not come, or not whole."""


class AwsFault(TriggerhubError):
    """A request came to nothing; ``kind`` says of what nature it is. All of them are tried again."""

    def __init__(self, kind: faults.Kind, message: str, *, hint: str | None = None, code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.code = code


class Trouble:
    """Keeps a source in trouble going: shows it as degraded, rests longer each time, and says when it is well again."""

    def __init__(self, ctx: source.Context) -> None:
        self._ctx = ctx
        self._failures = 0
        self._since = 0.0
        self._told: tuple[str, float] | None = None

    async def rest(self, fault: AwsFault) -> None:
        """Rest after a failure. What passes by itself is shown once it lasts; anything else at once."""
        now = anyio.current_time()
        if not self._failures:
            self._since = now
        self._failures += 1
        passing = fault.kind in ("throttled", "unreachable")
        if not passing or now - self._since >= PATIENT or self._failures > 3:
            self._tell(fault, now)
        await anyio.sleep(backoff(self._failures, RESTS, draw=0.5 + random.random() / 2) / 1000)

    def well(self) -> None:
        """Take it that requests are answered again."""
        self._failures = 0
        if self._told is not None:
            self._told = None
            self._ctx.degraded(None)

    def _tell(self, fault: AwsFault, now: float) -> None:
        why = f"{fault.message}; {fault.hint}" if fault.hint else fault.message
        if self._told is not None and (self._told[0] == why or now - self._told[1] < TOLD):
            return
        self._told = (why, now)
        self._ctx.degraded(why)


def understood(error: Exception, service: str, operation: str) -> AwsFault:
    """Turn what aiobotocore raises into an AwsFault; what it does not raise by itself is raised again."""
    if isinstance(error, AwsFault):
        return error
    names = importlib.import_module("botocore.exceptions")
    called = "".join(part.title() for part in operation.split("_"))
    where = f"{_PREFIX.get(service, service)}:{called}"
    if isinstance(error, names.ClientError):
        told = error.response.get("Error", {})
        answer = faults.Answer(
            service=_PREFIX.get(service, service),
            operation=error.operation_name,
            code=str(told.get("Code", "")),
            status=error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
            message=str(told.get("Message", "")),
        )
        message, hint = faults.told(answer)
        return AwsFault(faults.kind_of(answer), message, hint=hint, code=answer.code)
    if isinstance(error, names.NoCredentialsError):
        return no_credentials()
    if isinstance(error, names.NoRegionError):
        return AwsFault("refused", f"{where}: no region is said", hint='Write region = "eu-central-1" or the like.')
    if isinstance(error, names.ProfileNotFound):
        return AwsFault("credentials", str(error), hint="Mend profile, or add it with: aws configure --profile NAME")
    if isinstance(error, _credential_errors(names)):
        return AwsFault("credentials", f"the credentials cannot be had: {error}", hint="They are tried again.")
    if isinstance(error, names.ParamValidationError):
        return AwsFault("refused", f"{where}: {error}")
    if isinstance(error, names.BotoCoreError | OSError | TimeoutError) or type(error).__module__.startswith(_NETWORK):
        why = f"{where}: no answer{_asked(error)} ({type(error).__name__})"
        return AwsFault("unreachable", why, hint="Is the endpoint there?")
    raise error


def _asked(error: Exception) -> str:
    """Say which address did not answer, where that is known: without path and query, which differ by request."""
    asked = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url") or ""))
    return f" from {asked.scheme}://{asked.netloc.rpartition('@')[2]}" if asked.netloc else ""


def no_credentials() -> AwsFault:
    """Return what is wrong where there are none."""
    return AwsFault(
        "credentials",
        "there are no AWS credentials",
        hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile or a role.",
    )


def _credential_errors(names: Any) -> tuple[type[Exception], ...]:
    return tuple(
        getattr(names, name)
        for name in (
            "PartialCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError", "TokenRetrievalError",
            "SSOError", "InvalidConfigError", "ConfigParseError", "RefreshWithMFAUnsupportedError", "LoginError",
        )
        if hasattr(names, name)
    )  # fmt: skip

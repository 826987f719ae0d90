"""Talk to AWS, or to whatever speaks its protocol, for the sources that take events from there.

Credentials are found as AWS's own tools find them. aiobotocore is loaded when the first connection is made, in a
thread: a hub without an AWS trigger does not pay for it.
"""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
from pydantic import AfterValidator, Field

from triggerhub import __version__, source
from triggerhub.aws import faults
from triggerhub.awsdirect import Direct
from triggerhub.errors import TriggerhubError
from triggerhub.model import Millis
from triggerhub.policy.retry import backoff
from triggerhub.settings import SECOND, RetryPolicy

REGION = "us-east-1"
"""The region of an endpoint that is not AWS's, where none is said: such a one mostly has no regions."""
RESTS = RetryPolicy(initial=SECOND, max=20 * SECOND)
"""How long a connection in trouble rests between tries: 1 s, doubled up to 20 s, with jitter, for ever."""
PATIENT = 5.0
"""Seconds that a passing trouble may last before the trigger is shown as degraded."""
TOLD = 60.0
"""At most one other reason in so many seconds is told of a trigger that is degraded already."""
CONNECT, ANSWER = 3.0, 10.0
"""Seconds for a connection, and for an answer beyond what the request itself may wait."""


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'expected an address like "http://127.0.0.1:4566", got {value!r}')
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address of an endpoint has no user, query or fragment")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


def like(pattern: str, expected: str) -> AfterValidator:
    """Refuse a text that does not match the pattern as a whole, in words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, got {value[:200]!r}")
        return value

    return AfterValidator(check)


Region = Annotated[str, like(r"[a-z]{2,}(-[a-z]+)+-\d+", 'a region like "eu-central-1"')]
Role = Annotated[
    str, like(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", "a role's ARN like arn:aws:iam::123456789012:role/hub")
]


class Options(source.Options):
    """What every AWS source takes."""

    endpoint_url: Address | None = None
    """Where the service is, if not at AWS: an emulator, a proxy, a VPC endpoint."""
    region: Region | None = None
    """Like ``eu-central-1``; the profile's or the environment's where it is absent."""
    profile: Annotated[str, Field(min_length=1)] | None = None
    """A profile of ``~/.aws/config`` or ``~/.aws/credentials``."""
    role: Role | None = None
    """ARN of a role to assume; its credentials are renewed before they end."""


class AwsFault(TriggerhubError):
    """A request came to nothing; ``kind`` says of what nature it is. All of them are tried again."""

    def __init__(self, kind: faults.Kind, message: str, *, hint: str | None = None, code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the credentials are, and where they came from."""

    found: str
    arn: str

    def __str__(self) -> str:
        return f"{self.arn}, by {self.found}"


@dataclass(slots=True)
class _Client:
    stack: AsyncExitStack
    client: Any
    direct: Direct | None
    users: int = 0
    retired: bool = False

    async def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = None if self.direct is None else await self.direct.call(operation, parameters)
        if answer is None:
            answer = await getattr(self.client, operation)(**parameters)
            if self.direct is not None:
                self.direct.answered(operation)
        return answer


class Connection:
    """One service's client; a new one is made when the credentials of this one are not accepted any more."""

    def __init__(self, service: str, options: Options, *, wait: Millis, connections: int) -> None:
        self.region = ""
        self._service = service
        self._options = options
        self._wait = wait
        self._connections = connections
        self._making = anyio.Lock()
        self._current: _Client | None = None
        self._clients: list[_Client] = []

    async def call(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Make one request (``receive_message``) and return its answer. Raises AwsFault and nothing else.

        Cancelled: the request may have been carried out.
        """
        try:
            made = self._current or await self._client()
        except Exception as error:
            raise understood(error, self._service, operation) from error
        made.users += 1
        try:
            answer = await made.call(operation, parameters)
        except Exception as error:
            fault = understood(error, self._service, operation)
            if fault.kind == "credentials":
                made.retired = True
                self._current = None if self._current is made else self._current
            raise fault from error
        finally:
            made.users -= 1
            if made.retired and not made.users:
                await self._close(made)
        return answer

    async def identity(self) -> Identity:
        """Ask who the credentials are. Raises AwsFault."""
        try:
            session = await _session(self._options)
            credentials = await session.get_credentials()
            if credentials is None:
                raise _no_credentials()
            endpoint = _sts_endpoint(self._options)
            region = _region(session, self._options)
            async with session.create_client("sts", region_name=region, endpoint_url=endpoint, config=_config()) as sts:
                answer = await sts.get_caller_identity()
        except Exception as error:
            raise understood(error, "sts", "get_caller_identity") from error
        return Identity(found=_FOUND.get(credentials.method, credentials.method), arn=answer["Arn"])

    async def asker(self) -> str:
        """Say who asks. Raises AwsFault for credentials that are none; an endpoint need not have an STS."""
        try:
            return str(await self.identity())
        except AwsFault as fault:
            if fault.kind == "credentials":
                raise
            return f"somebody unknown ({fault.message})"

    async def close(self) -> None:
        for made in list(self._clients):
            await self._close(made)

    async def _client(self) -> _Client:
        async with self._making:
            if self._current is None:
                session = await _session(self._options)
                region = _region(session, self._options)
                async with AsyncExitStack() as stack:
                    client = await stack.enter_async_context(
                        session.create_client(
                            self._service,
                            region_name=region,
                            endpoint_url=self._options.endpoint_url,
                            config=_config(self._wait, self._connections, **_own(self._service, self._options)),
                        )
                    )
                    direct = Direct(client, await session.get_credentials()) if self._service == "sqs" else None
                    self._current = _Client(stack.pop_all(), client, direct)
                self.region = client.meta.region_name
                self._clients.append(self._current)
            return self._current

    async def _close(self, made: _Client) -> None:
        if made in self._clients:
            self._clients.remove(made)
            if made.direct is not None:
                made.direct.close()
            with anyio.CancelScope(shield=True):
                await made.stack.aclose()


@asynccontextmanager
async def connected(
    service: str, options: Options, *, wait: Millis = 0, connections: int = 10
) -> AsyncGenerator[Connection]:
    """Lend a connection to a service; nothing is sent before its first call.

    *wait* is how long a request may ask the service to wait, *connections* how many requests run side by side.
    """
    connection = Connection(service, options, wait=wait, connections=connections)
    try:
        yield connection
    finally:
        await connection.close()


def who(options: Options) -> Identity:
    """Ask who the credentials are, in a loop of its own. Raises AwsFault, after 15 s at the latest."""

    async def ask() -> Identity:
        with anyio.fail_after(15):
            return await Connection("sts", options, wait=0, connections=1).identity()

    try:
        return anyio.run(ask)
    except TimeoutError:
        raise AwsFault("unreachable", "no answer within 15 s", hint="Is there a way to AWS?") from None


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
        return _no_credentials()
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


_NETWORK = ("aiohttp.", "botocore.parsers")
"""Whose own errors tell of an answer that did not come, or not whole."""


def _no_credentials() -> AwsFault:
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


_PREFIX = {"dynamodbstreams": "dynamodb"}
"""Services whose permissions have another prefix than their client."""
_FOUND = {
    "explicit": "the hub itself",
    "env": "environment variables",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "assume-role": "a role that was assumed",
    "assume-role-with-web-identity": "a role by web identity",
    "sso": "IAM Identity Center (aws sso login)",
    "login": "aws login",
    "custom-process": "a credential process",
    "container-role": "the container's role",
    "iam-role": "the instance's role",
    "boto-config": "a boto configuration file",
}
"""botocore's words for where credentials were found."""


def _load() -> tuple[Any, ...]:
    return tuple(importlib.import_module(f"aiobotocore.{name}") for name in ("session", "config", "credentials"))


@cache
def _loader() -> Any:
    """Return the one reader of service descriptions: each session would parse them anew."""
    return importlib.import_module("botocore.loaders").create_loader()


async def _session(options: Options) -> Any:
    sessions, _, credentials = await anyio.to_thread.run_sync(_load)

    def fresh(profile: str | None = options.profile) -> Any:
        made = sessions.AioSession(profile=profile)
        made.register_component("data_loader", _loader())
        return made

    session = fresh()
    if options.role is None:
        return session
    found = await session.get_credentials()
    if found is None:
        raise _no_credentials()
    region, endpoint = _region(session, options), _sts_endpoint(options)
    fetcher = credentials.AioAssumeRoleCredentialFetcher(
        client_creator=lambda *names, **more: session.create_client(
            *names, **{"region_name": region, "endpoint_url": endpoint, "config": _config(), **more}
        ),
        source_credentials=found,
        role_arn=options.role,
        extra_args={"RoleSessionName": "triggerhub"},
    )
    assumed = fresh()
    assumed._credentials = credentials.AioDeferredRefreshableCredentials(  # noqa: SLF001 - botocore has no other way
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    return assumed


def _region(session: Any, options: Options) -> str | None:
    found: str | None = options.region or session.get_config_variable("region")
    return found or (REGION if options.endpoint_url else None)


def _sts_endpoint(options: Options) -> str | None:
    """An emulator has all services at one address; AWS's own endpoints have one each."""
    host = urlsplit(options.endpoint_url or "").hostname or ""
    return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else options.endpoint_url


def _own(service: str, options: Options) -> dict[str, Any]:
    """Ask an emulator for buckets by path: it has no name of its own for each of them."""
    return {"s3": {"addressing_style": "path"}} if service == "s3" and _sts_endpoint(options) else {}


def _config(wait: Millis = 0, connections: int = 10, **more: Any) -> Any:
    _, config, _ = _load()
    return config.AioConfig(
        connect_timeout=CONNECT,
        read_timeout=wait / 1000 + ANSWER,
        max_pool_connections=connections + 4,
        retries={"mode": "standard", "max_attempts": 2},
        tcp_keepalive=True,
        parameter_validation=False,  # what is sent is made by the sources, and the service looks at it, too
        user_agent=f"triggerhub/{__version__}",  # botocore's own is put together twice for every request
        **more,
    )

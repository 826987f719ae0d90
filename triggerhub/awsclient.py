"""Talk to AWS, or to whatever speaks its protocol, for the sources that take events from there.

Credentials are found as AWS's own tools find them. aiobotocore is loaded when the first connection is made, in a
thread: a hub without an AWS trigger does not pay for it.
"""

from __future__ import annotations

import importlib
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
from triggerhub.awsdirect import Direct
from triggerhub.awsfault import AwsFault, no_credentials, understood
from triggerhub.model import Millis

REGION = "us-east-1"
"""The region of an endpoint that is not AWS's, where none is said: such a one mostly has no regions."""
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
                raise no_credentials()
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
                await anyio.to_thread.run_sync(_read, self._service)
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


def _read(service: str) -> None:
    """Read the descriptions that a client needs: it does so by itself, but on the loop, which stands meanwhile."""
    for kind in ("service-2", "endpoint-rule-set-1"):
        _loader().load_service_model(service, kind)
    _loader().load_data("endpoints")


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
        raise no_credentials()
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

"""Say what a value in triggerhub.toml may be, and read it.

What is wrong with one is a ValueError in words, to which whoever reads a table adds the place.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from triggerhub.aws.destination import place
from triggerhub.config.complain import shown
from triggerhub.errors import TriggerhubError
from triggerhub.policy import alarm, allowlist, password, units, variables
from triggerhub.settings import Condition, Destination, Secret
from triggerhub.source import Duration, SecretResolver, SecretValue, Size

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What functions, triggers and topics may be called: Lambda's rule for functions."""

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")


def within(low: int, high: int | None, show: Callable[[int], str]) -> AfterValidator:
    """Refuse a number that is too little or too much, and *show* it and its bound."""

    def check(value: int) -> int:
        if value < low:
            raise ValueError(f"{show(value)} is too little: at least {show(low)}")
        if high is not None and value > high:
            raise ValueError(f"{show(value)} is too much: at most {show(high)}")
        return value

    return AfterValidator(check)


def _address(value: Any) -> tuple[str, int]:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'expected an address and a port like "127.0.0.1:8700", got {shown(value)}')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'an IPv6 address is written in brackets: "[{host}]:{port}"')
    return host, int(port)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'{value!r} is neither an address nor a network like "10.0.0.0/8"') from None
    return value


def _reach(text: str) -> str:
    return str(allowlist.parse(text))


def _place(path: str) -> str:
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for a user that there is not
    if expanded.startswith("~"):
        raise ValueError(f"there is no home folder {path.partition('/')[0]!r}; write the whole path")
    return expanded


_SECRET = re.compile(r"\{secret:([^{}]*)\}")


def _destination(value: Any, info: ValidationInfo) -> Destination:
    kind, colon, target = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind in ("http", "https"):
        # It may hold a password.
        raise ValueError('expected function:NAME, queue:NAME, webhook:URL or file:PATH; write "webhook:" before a URL')
    if kind == "arn":
        place(value)
        return Destination(kind="arn", target=target)
    if kind not in ("function", "queue", "webhook", "file") or not colon or not target:
        known = "function:NAME, queue:NAME, webhook:URL, file:PATH, or the ARN of a queue of SQS or a topic of SNS"
        raise ValueError(
            f"expected {known}, got {value!r}"
            if isinstance(value, str)
            else f"expected a destination in quotes: {known}"
        )
    named = dict.fromkeys(_SECRET.findall(target)) if kind == "webhook" else {}
    secrets = tuple((name, _resolved({"secret": name}, info)) for name in named)
    return Destination(kind=kind, target=target, secrets=secrets)  # type: ignore[arg-type]


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("that cannot be the name of an environment variable")
    if variables.reserved(name):
        raise ValueError("the hub sets it for each worker, as Lambda does; take it out, or choose another name")
    return name


def _host_name(value: str) -> str:
    if len(value) > 253 or not all(map(_LABEL.fullmatch, value.split("."))):
        raise ValueError(f"{value!r} is not the name of a host; write it without scheme and port")
    return value.lower()


def _sentence(value: Any) -> Condition:
    if not isinstance(value, str):
        raise ValueError(f"expected a sentence in quotes like {alarm.EXAMPLE!r}")
    return alarm.parse(value)


def _login(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,64}", value):
        raise ValueError("a user's name has letters, digits, '_', '-', '.' and '@', at most 64")
    return value


def _text_or_secret(value: Any, info: ValidationInfo) -> str | Secret:
    if not isinstance(value, str | Mapping):
        raise ValueError('expected a text in quotes or a reference like { secret = "NAME" }')
    content = value if isinstance(value, str) else _resolved(value, info)
    text = content if isinstance(content, str) else content.reveal()
    if len(os.fsencode(text)) > variables.LONGEST:
        most = units.show_size(variables.LONGEST)
        raise ValueError(f"that is more than {most}, with which no program can be started; let it read a file")
    return content


def _resolved(reference: Mapping[str, Any], info: ValidationInfo) -> Secret:
    resolver: SecretResolver = (info.context or {})["secrets"]
    try:
        return resolver.resolve(reference)
    except TriggerhubError as error:
        raise ValueError(f"{error.message}{f'; {error.hint}' if error.hint else ''}") from error


def _hash(value: Secret) -> Secret:
    password.checked(value.reveal())
    return value


Moment = Annotated[Duration, within(1, None, units.show_duration)]
Amount = Annotated[Size, within(1, None, units.show_size)]
Count = Annotated[int, within(1, None, str)]
Address = Annotated[tuple[str, int], BeforeValidator(_address, json_schema_input_type=str)]
Network = Annotated[str, AfterValidator(_network)]
Reach = Annotated[str, AfterValidator(_reach)]
To = Annotated[Destination, BeforeValidator(_destination, json_schema_input_type=str)]
Variable = Annotated[str, AfterValidator(_variable)]
Content = Annotated[str | Secret, BeforeValidator(_text_or_secret, json_schema_input_type=str | dict[str, str])]
HostName = Annotated[str, AfterValidator(_host_name)]
Login = Annotated[str, AfterValidator(_login)]
Text = Annotated[str, Field(min_length=1)]
Sentence = Annotated[Condition, BeforeValidator(_sentence, json_schema_input_type=str)]
Place = Annotated[Text, AfterValidator(_place)]
Hash = Annotated[SecretValue, AfterValidator(_hash)]

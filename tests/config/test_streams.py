"""What the sources of streams take, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Check = Callable[..., list[str]]
TABLE = '[triggers.t]\nfunction = "echo"\ntype = "dynamodb"\n'
STREAM = '[triggers.t]\nfunction = "echo"\ntype = "kinesis"\nstream = "clicks"\n'
ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


@pytest.mark.parametrize(
    "toml",
    [
        TABLE + 'table = "orders"\n',
        TABLE + f'stream = "{ARN}"\nparallel = 10\nbisect = true\nmax_age = "7d"\n',
        TABLE + 'table = "orders"\nstart = "TRIM_HORIZON"\nack = "stored"\norder = "$.eventName"\n',
        TABLE + 'table = "orders"\ntumbling = "15m"\nbatch = { window = "5s" }\n',
        STREAM + "start = 2026-01-31T12:00:00+01:00\n",
        STREAM + 'start = "2026-01-31T12:00:00Z"\n',
        '[triggers.t]\nfunction = "echo"\ntype = "kinesis"\nstream = "arn:aws:kinesis:us-east-1:123456789012:stream/s"\n',
    ],
)
def test_taken(check: Check, toml: str) -> None:
    assert check(toml) == []


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (TABLE, "write either table or stream"),
        (TABLE + f'table = "orders"\nstream = "{ARN}"\n', "write either table or stream"),
        (
            TABLE + 'stream = "arn:aws:kinesis:us-east-1:123456789012:stream/s"\n',
            "expected the ARN of a table's stream, like arn:aws:dynamodb:",
        ),
        (TABLE + 'table = "a table"\n', "expected a table's name"),
        (TABLE + 'table = "orders"\nstart = 2026-01-31T12:00:00Z\n', 'expected "latest" or "trim_horizon", got 2026'),
        (TABLE + 'table = "orders"\nparallel = 11\n', "expected at most 10, got 11"),
        (TABLE + 'table = "orders"\nmax_age = "59s"\n', "59s is out of range: from 1m to 7d"),
        (TABLE + 'table = "orders"\ntumbling = "16m"\n', "16m is out of range: whole seconds from 1s to 15m"),
        (TABLE + 'table = "orders"\ntumbling = "1500ms"\n', "whole seconds"),
        (TABLE + 'table = "orders"\ntumbling = "1m"\nparallel = 2\n', "error[bad-tumbling]: triggers.t.parallel: "),
        (TABLE + 'table = "orders"\ntumbling = "1m"\ninput = 1\n', "error[bad-tumbling]: triggers.t.input: "),
        (TABLE + 'table = "orders"\nack = "stored"\nparallel = 2\n', "error[bad-ack]: triggers.t.parallel: "),
        (TABLE + 'table = "orders"\nack = "stored"\nbisect = false\n', "error[bad-ack]: triggers.t.bisect: "),
        (TABLE + 'table = "orders"\norder = "$.eventName"\n', "error[bad-ack]: triggers.t.order: "),
        (TABLE + 'table = "orders"\nkey = "header:X-Id"\n', "error[no-headers]: triggers.t.key: "),
        (TABLE + f'stream = "{ARN}"\nregion = "us-east-1"\n', "region: the stream is in eu-central-1"),
        (STREAM + "start = 2026-01-31T12:00:00\n", "has no offset; end it in Z"),
        (STREAM + 'start = "2026-13-31"\n', "is not a moment"),
        (STREAM + 'start = "oldest"\n', 'expected "latest" or "trim_horizon" or a moment like'),
        (STREAM.replace("clicks", ARN), "expected a stream's name or an ARN like"),
    ],
)
def test_refused(check: Check, toml: str, told: str) -> None:
    (line,) = check(toml)
    assert told in line

"""The shape of a scheduled event."""

from __future__ import annotations

import json

from triggerhub.aws import arn, eventbridge

TIME = 1_551_403_425_678
"""2019-03-01T01:23:45.678Z"""


def test_a_scheduled_event_has_the_shape_of_the_documentation() -> None:
    data = eventbridge.scheduled(event_id="cdc73f9d", time=TIME, rule_arn=arn.rule("nightly", region="eu-west-1"))
    assert json.loads(data) == {
        "version": "0",
        "id": "cdc73f9d",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": "2019-03-01T01:23:45Z",
        "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:000000000000:rule/nightly"],
        "detail": {},
    }


def test_the_keys_come_in_the_order_of_the_documentation() -> None:
    data = eventbridge.scheduled(event_id="x", time=TIME, rule_arn=arn.rule("nightly"))
    assert list(json.loads(data)) == [
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
    ]  # fmt: skip
    assert data.isascii()


def test_a_time_is_written_to_the_second() -> None:
    assert eventbridge.stamp(0) == "1970-01-01T00:00:00Z"
    assert eventbridge.stamp(999) == "1970-01-01T00:00:00Z"

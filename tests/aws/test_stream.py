"""The shapes of records, windows and failures of streams, against AWS's documented samples."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from triggerhub.aws import dynamodb, kinesis, stream

ARN = "arn:aws:dynamodb:us-west-2:111122223333:table/TestTable/stream/2015-05-11T21:21:33.291"
KINESIS = "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"
GIVEN = {
    "eventID": "c4ca4238a0b923820dcc509a6f75849b",
    "eventName": "INSERT",
    "eventVersion": "1.1",
    "eventSource": "aws:dynamodb",
    "awsRegion": "us-west-2",
    "dynamodb": {
        "ApproximateCreationDateTime": datetime(2015, 5, 11, 21, 21, 33, tzinfo=UTC),
        "Keys": {"Id": {"N": "101"}},
        "NewImage": {
            "Message": {"S": "New item! ü"},
            "Blob": {"B": b"\x00\xff"},
            "Blobs": {"BS": [b"a", b"b"]},
            "Deep": {"M": {"L": {"L": [{"B": b"c"}, {"NULL": True}]}}},
        },
        "SequenceNumber": "4421584500000000017450439091",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    },
}


def test_a_change_of_a_table() -> None:
    shaped = json.loads(dynamodb.record(GIVEN, stream_arn=ARN, region="us-west-2"))
    assert shaped == {
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-west-2",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": 1431379293,
            "Keys": {"Id": {"N": "101"}},
            "NewImage": {
                "Message": {"S": "New item! ü"},
                "Blob": {"B": "AP8="},
                "Blobs": {"BS": ["YQ==", "Yg=="]},
                "Deep": {"M": {"L": {"L": [{"B": "Yw=="}, {"NULL": True}]}}},
            },
            "SequenceNumber": "4421584500000000017450439091",
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
    assert dynamodb.key(GIVEN) == '{"Id":{"N":"101"}}'
    assert dynamodb.arrived(GIVEN) == 1_431_379_293_000
    assert "ApproximateCreationDateTime" in GIVEN["dynamodb"]  # what botocore gave is left as it was


def test_an_item_that_outlived_its_time_says_who_deleted_it() -> None:
    given = {**GIVEN, "userIdentity": {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}}
    shaped = json.loads(dynamodb.record(given, stream_arn=ARN, region="us-west-2"))
    assert shaped["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


def test_the_key_of_an_item_does_not_hang_on_the_order_of_its_parts() -> None:
    one = {"dynamodb": {"Keys": {"a": {"B": b"1"}, "b": {"S": "2"}}}}
    other = {"dynamodb": {"Keys": {"b": {"S": "2"}, "a": {"B": b"1"}}}}
    assert dynamodb.key(one) == dynamodb.key(other)


def test_a_record_of_kinesis() -> None:
    given = {
        "SequenceNumber": "49590338271490256608559692538361571095921575989136588898",
        "ApproximateArrivalTimestamp": datetime(2018, 12, 17, 22, 10, 50, 987000, tzinfo=UTC),
        "Data": b"Hello, this is a test.",
        "PartitionKey": "1",
    }
    role = "arn:aws:iam::123456789012:role/lambda-role"
    shard = "shardId-000000000006"
    shaped = kinesis.record(given, shard=shard, stream_arn=KINESIS, region="us-east-2", identity=role)
    assert json.loads(shaped) == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": role,
        "awsRegion": "us-east-2",
        "eventSourceARN": KINESIS,
    }


def test_the_event_of_a_window() -> None:
    event = stream.windowed(
        [b'{"a":1}', b'{"b":2}'],
        start=1_596_128_400_000,
        end=1_596_128_700_000,
        state='{"1":"state1"}',
        shard="shard123456789",
        stream_arn=ARN,
        final=False,
        early=True,
    )
    assert json.loads(event) == {
        "Records": [{"a": 1}, {"b": 2}],
        "window": {"start": "2020-07-30T17:00:00Z", "end": "2020-07-30T17:05:00Z"},
        "state": {"1": "state1"},
        "shardId": "shard123456789",
        "eventSourceARN": ARN,
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": True,
    }


BATCH = stream.Batch(
    stream_arn=ARN,
    shard="shardId-00000001573689847184-864758bb",
    first="800000000003126276362",
    last="800000000003126276363",
    first_arrived=1_573_691_874_000,
    last_arrived=1_573_691_875_990,
    size=2,
)


def failure(**changes: object) -> dict[str, object]:
    given = {
        "service": "dynamodb",
        "request_id": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
        "function_arn": "arn:aws:lambda:us-west-2:123456789012:function:myfunction",
        "condition": "RetryAttemptsExhausted",
        "count": 2,
        "error": "Unhandled",
        "responded": True,
        "timestamp": 1_573_691_893_090,
    } | changes
    told: dict[str, object] = json.loads(stream.failure(BATCH, **given))  # type: ignore[arg-type]
    return told


def test_a_failure_of_a_stream_of_a_table() -> None:
    assert failure() == {
        "requestContext": {
            "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
            "functionArn": "arn:aws:lambda:us-west-2:123456789012:function:myfunction",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2019-11-14T00:38:13.090Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-00000001573689847184-864758bb",
            "startSequenceNumber": "800000000003126276362",
            "endSequenceNumber": "800000000003126276363",
            "approximateArrivalOfFirstRecord": "2019-11-14T00:37:54Z",
            "approximateArrivalOfLastRecord": "2019-11-14T00:37:55Z",
            "batchSize": 2,
            "streamArn": ARN,
        },
    }


def test_a_failure_that_the_answer_named_has_no_error() -> None:
    assert failure(error=None)["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": None,
    }


def test_an_age_that_was_exceeded_has_no_response() -> None:
    told = failure(condition="RecordAgeExceeded", responded=False)
    assert "responseContext" not in told


def test_a_failure_of_kinesis_has_milliseconds() -> None:
    info = failure(service="kinesis")["KinesisBatchInfo"]
    assert isinstance(info, dict)
    assert info["approximateArrivalOfLastRecord"] == "2019-11-14T00:37:55.990Z"

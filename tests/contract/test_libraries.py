"""Libraries that are written for AWS Lambda run here as they are."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mangum
import pytest

from tests.contract.conftest import client
from tests.contract.package import called
from tests.e2e.daemon import Daemon, daemon
from tests.e2e.toml import webhook

SITE = f"import sys\nsys.path.append({str(Path(mangum.__file__).parents[1])!r})\n"
POWERTOOLS = """
import json
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent
from aws_lambda_powertools.utilities.idempotency.persistence.base import BasePersistenceLayer
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser

logger, metrics = Logger(service="shop"), Metrics(namespace="Shop", service="shop")
tracer = Tracer(service="shop")
processor = BatchProcessor(event_type=EventType.SQS)
runs = 0


class Order(BaseModel):
    id: str
    amount: float


class Memory(BasePersistenceLayer):
    def __init__(self):
        super().__init__()
        self.items = {}

    def _get_record(self, idempotency_key):
        if idempotency_key not in self.items:
            raise IdempotencyItemNotFoundError
        return self.items[idempotency_key]

    def _put_record(self, data_record):
        if data_record.idempotency_key in self.items:
            raise IdempotencyItemAlreadyExistsError
        self.items[data_record.idempotency_key] = data_record

    def _update_record(self, data_record):
        self.items[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record):
        self.items.pop(data_record.idempotency_key)


memory = Memory()


@idempotent(persistence_store=memory, config=IdempotencyConfig(event_key_jmespath="id"))
def once(event, context):
    global runs
    runs += 1
    return {"run": runs}


@event_parser(model=Order)
def parsed(event: Order, context):
    return event.amount * 2


def one(record):
    if record.body == "bad":
        raise ValueError("bad")


@tracer.capture_method
def traced(event):
    tracer.put_annotation("order", event["order"])
    tracer.put_metadata("event", event)
    current = tracer.provider.current_subsegment()
    return {"name": current.name, "annotations": current.annotations, "trace": current.trace_id}


@tracer.capture_method
def failing(event):
    raise KeyError(event["order"])


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event, context):
    logger.info("hello")
    metrics.add_metric(name="calls", unit=MetricUnit.Count, value=1)
    event = json.loads(event["body"]) if "body" in event else event
    match event["do"]:
        case "once":
            return [once(event, context), once(event, context)]
        case "trace":
            return traced(event)
        case "fail":
            return failing(event)
        case "parse":
            return parsed(event["order"], context)
        case "batch":
            return process_partial_response(event=event, record_handler=one, processor=processor, context=context)
"""
MANGUM = """
from mangum import Mangum
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def greet(request):
    return JSONResponse({"hello": request.path_params["name"], "q": request.query_params.get("q")}, 202)


handler = Mangum(Starlette(routes=[Route("/web/{name}", greet)]), lifespan="off")
"""
ROOT = "1-5759e988-bd862e3fe1be46a994272793"
TOML = """
[defaults]
timeout = "60s"
sandbox = { level = "trusted" }

[triggers.web]
type = "webhook"
path = "/web/{name}"
methods = ["GET"]
auth = "none"
respond = "result"
function = "web"
""" + webhook("tools", "tools", answers=True)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    handlers = {"tools.py": SITE + POWERTOOLS, "web.py": SITE + MANGUM}
    with daemon(tmp_path_factory.mktemp("libraries"), TOML, handlers) as running:
        yield running


def test_powertools(hub: Daemon) -> None:
    lambdas = client(hub)

    def do(what: str, **event: Any) -> Any:
        return called(lambdas, "tools", Payload=json.dumps({"do": what, **event}).encode())

    found = do("once", id="a")
    assert found == [{"run": 1}, {"run": 1}], found
    assert do("once", id="b") == [{"run": 2}, {"run": 2}]
    assert do("parse", order={"id": "1", "amount": 2.5}) == 5.0
    failed = do("parse", order={"id": "1"})
    assert failed["errorType"] == "ValidationError"
    assert do("trace", order="7")["annotations"] == {}, "no sampled trace, and nothing that is kept of it"
    found = by_webhook(
        hub, {"X-Amzn-Trace-Id": f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"}, do="trace", order="7"
    )
    assert found["name"].endswith("traced")
    assert (found["annotations"], found["trace"]) == ({"order": "7"}, ROOT)
    assert do("fail", order="7")["errorType"] == "KeyError"
    records = [{"messageId": name, "body": name, "eventSource": "aws:sqs"} for name in ("good", "bad")]
    assert do("batch", Records=records) == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    lines = [json.loads(row["text"]) for row in told(hub, "tools") if row["text"].startswith("{")]
    logged = [line for line in lines if line.get("message") == "hello"]
    assert {(line["service"], line["function_name"], line["cold_start"]) for line in logged} >= {
        ("shop", "tools", True)
    }
    assert any(line.get("calls") == [1.0] and line["_aws"]["CloudWatchMetrics"] for line in lines)


def by_webhook(hub: Daemon, headers: dict[str, str], **event: Any) -> Any:
    status, answer = hub.post("/tools", json.dumps(event).encode(), headers)
    assert status == 200, answer
    return json.loads(answer)


def told(hub: Daemon, function: str) -> list[dict[str, Any]]:
    status, text = hub.api("GET", f"/api/v1/output?function={function}", raw=True)
    assert status == 200
    return [json.loads(line) for line in text.splitlines()[:-1]]


def test_mangum_with_a_starlette_application(hub: Daemon) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{hub.listen}/web/you?q=1", timeout=120) as answer:
        assert (answer.status, json.load(answer)) == (202, {"hello": "you", "q": "1"})

"""One trace from a request through the queue, each attempt and a destination, as a collector receives it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.contract.conftest import client
from tests.contract.package import answering, called, create
from tests.contract.test_functions import refused
from tests.e2e.daemon import daemon, until
from tests.e2e.toml import webhook

TOML = (
    """

[triggers.many]
type = "webhook"
path = "/many"
auth = "none"
function = "ship"
batch = { size = 3, window = "1m" }

[functions.ship]
env = { TOKEN = { secret = "SHIP_TOKEN" } }
on_success = ["webhook:{URL}/told"]
retry = { attempts = 2, initial = "1ms" }
"""
    + webhook("orders", "ship")
    + webhook("ask", "ship", answers=True)
)
SHIP = """
import os

def handler(event, context):
    print("trace", os.environ.get("_X_AMZN_TRACE_ID"))
    if os.environ.setdefault("SEEN", "") == "" and event["rawPath"] == "/orders":
        os.environ["SEEN"] = "yes"
        raise ValueError("the first time it fails with " + os.environ["TOKEN"])
    return {"ok": True}
"""
SECRETS = {"SHIP_TOKEN": "s3cret-of-the-shop"}
TRACE = "5759e988bd862e3fe1be46a994272793"
CALLER = "53995c3f42cd8ad8"


class Collector:
    """Takes spans, and what a destination posts."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.told: list[dict[str, str]] = []
        self.answer = 200

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/told":
                collector.told.append({name.lower(): value for name, value in self.headers.items()})
            else:
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    facts = {one.key: one.value.string_value for one in resource.resource.attributes}
                    collector.resources.append(facts)
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
            self.send_response(collector.answer if self.path != "/told" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def facts(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_trace_leads_from_the_request_to_the_destination(tmp_path: Path) -> None:
    with collecting() as (collector, url):
        environ = {**SECRETS, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with daemon(tmp_path, TOML.replace("{URL}", url), {"ship.py": SHIP}, start=False) as hub:
            hub.start(environ=environ)
            assert hub.post("/orders", b"{}", {"traceparent": f"00-{TRACE}-{CALLER}-01"})[0] == 202
            until(lambda: collector.told, "the destination was told")
            assert hub.post("/ask", b"{}")[0] == 200
            assert hub.post("/ask", b"{}", {"X-Amzn-Trace-Id": f"Root=1-{TRACE[:8]}-{TRACE[8:]}"})[0] == 200
            hub.settled()
            lines = hub.cli("logs", "ship").stdout
            assert hub.stop() == 0
        (accepted,) = collector.named("accept orders")
        assert (accepted.trace_id.hex(), accepted.parent_span_id.hex()) == (TRACE, CALLER)
        first, second, asked, rooted = collector.named("ship")
        for number, attempt in enumerate((first, second), 1):
            assert (attempt.trace_id, attempt.parent_span_id) == (accepted.trace_id, accepted.span_id)
            assert facts(attempt)["triggerhub.attempt"] == number
            assert f"Parent={attempt.span_id.hex()};Sampled=1" in lines
        assert (first.status.code, facts(first)["error.type"]) == (2, "ValueError")
        assert first.status.message == "the first time it fails with •••"
        assert second.status.code == 0
        (sent,) = collector.named(f"webhook:{url}/told")
        assert (sent.trace_id, sent.parent_span_id) == (accepted.trace_id, second.span_id)
        assert collector.told[0]["traceparent"] == f"00-{TRACE}-{sent.span_id.hex()}-01"
        assert collector.told[0]["x-amzn-trace-id"].startswith(f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent=")
        assert asked.trace_id != accepted.trace_id
        assert rooted.trace_id.hex() == TRACE, "who begins a trace need not have a span in it"
        assert all(one["service.name"] == "triggerhub" for one in collector.resources)


def test_the_span_of_a_batch_is_linked_to_each_event_of_it(tmp_path: Path) -> None:
    with collecting() as (collector, url):
        environ = {**SECRETS, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        handlers = {"ship.py": "def handler(event, context):\n    return None\n"}
        with daemon(tmp_path, TOML.replace("{URL}", url), handlers, start=False) as hub:
            hub.start(environ=environ)
            for _ in range(3):
                assert hub.post("/many", b"{}")[0] == 202
            hub.settled()
            assert hub.stop() == 0
        first, *others = collector.named("accept many")
        (call,) = collector.named("ship")
        assert (call.trace_id, call.parent_span_id) == (first.trace_id, first.span_id)
        assert [(one.trace_id, one.span_id) for one in call.links] == [(one.trace_id, one.span_id) for one in others]


def test_active_tracing_of_the_lambda_api_is_taken_where_calls_are_traced(tmp_path: Path) -> None:
    with collecting() as (collector, url), daemon(tmp_path, "", {}, start=False) as hub:
        hub.start(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"})
        lambdas = client(hub)
        create(lambdas, "followed", answering(1), TracingConfig={"Mode": "Active"})
        assert lambdas.get_function_configuration(FunctionName="followed")["TracingConfig"] == {"Mode": "Active"}
        assert called(lambdas, "followed")["answer"] == 1
        until(lambda: collector.named("followed"), "its span came")
        assert hub.stop() == 0
        hub.start()
        assert lambdas.get_function_configuration(FunctionName="followed")["TracingConfig"] == {"Mode": "PassThrough"}
        status, kind, told = refused(
            lambdas.update_function_configuration, FunctionName="followed", TracingConfig={"Mode": "Active"}
        )
        assert (status, kind) == (400, "InvalidParameterValueException")
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in told
        lambdas.update_function_configuration(FunctionName="followed", TracingConfig={"Mode": "PassThrough"})


def test_a_collector_that_never_answers_is_not_noticed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, collecting() as (_, url):
        environ = {
            **SECRETS,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with daemon(tmp_path, TOML.replace("{URL}", url), {"ship.py": SHIP}, start=False) as hub:
            hub.start(environ=environ)
            for _ in range(20):
                assert hub.post("/orders", b"{}")[0] == 202
            assert hub.settled()["succeeded"] == 40
            assert hub.stop() == 0
            assert "Traceback" not in hub.log()


def test_a_collector_that_fails_is_not_noticed(tmp_path: Path) -> None:
    with collecting() as (collector, url):
        collector.answer = 400
        environ = {**SECRETS, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces", "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with daemon(tmp_path, TOML.replace("{URL}", url), {"ship.py": SHIP}, start=False) as hub:
            hub.start(environ=environ)
            for _ in range(5):
                assert hub.post("/orders", b"{}")[0] == 202
            assert hub.settled()["succeeded"] == 10
            until(lambda: "spans could not be sent" in hub.log(), "it is in the log")
            assert hub.stop() == 0
            assert hub.log().count("spans could not be sent") == 1
            assert "Traceback" not in hub.log()

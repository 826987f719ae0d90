"""A function's whole story, from its creation to its end, by boto3 and by the aws command line, over a kill."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.aws_double.moto import KEYS, moto_server
from tests.contract.conftest import client
from tests.contract.package import ROLE, RUNTIME, answering, zipped
from tests.contract.test_lifecycle import aws
from tests.e2e.daemon import Daemon, daemon, until


class ByBoto3:
    """Operations by their methods."""

    def __init__(self, hub: Daemon, folder: Path) -> None:
        self._client = client(hub)

    def __call__(self, operation: str, **members: Any) -> Any:
        return getattr(self._client, operation)(**members)

    def invoke(self, **members: Any) -> Any:
        answer = self._client.invoke(**members)
        text = answer["Payload"].read()
        return answer["StatusCode"], json.loads(text) if text else None

    def wait(self, waiter: str, name: str) -> None:
        self._client.get_waiter(waiter).wait(FunctionName=name)


class ByCommand:
    """Operations by ``aws lambda``; bytes are read from a file."""

    def __init__(self, hub: Daemon, folder: Path) -> None:
        self.hub = hub
        self.folder = folder

    def __call__(self, operation: str, **members: Any) -> Any:
        return aws(self.hub, operation.replace("_", "-"), *self._options(members))

    def invoke(self, **members: Any) -> Any:
        into = self.folder / "answer"
        told = aws(self.hub, "invoke", *self._options(members), str(into))
        text = into.read_text()
        return told["StatusCode"], json.loads(text) if text else None

    def wait(self, waiter: str, name: str) -> None:
        aws(self.hub, "wait", waiter.replace("_", "-"), "--function-name", name)

    def _options(self, members: dict[str, Any]) -> Iterator[str]:
        for name, value in members.items():
            if name in ("Code", "Content"):
                yield from self._options(value)
                continue
            yield "--" + re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower().replace("u-u-i-d", "uuid")
            if isinstance(value, bytes):
                path = self.folder / name
                path.write_bytes(value)
                yield f"fileb://{path}"
            elif value is not True:
                yield value if isinstance(value, str) else json.dumps(value)


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    with moto_server() as url:
        yield boto3.client(
            "sqs", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )


LAYERED = "import shared\ndef handler(event, context):\n    return {'answer': shared.word}\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [ByBoto3, ByCommand])
def test_the_whole_story_of_a_function(way: Any, sqs: Any, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with daemon(tmp_path, "", {}, start=False) as hub:
        environ = {**KEYS, "AWS_ENDPOINT_URL": sqs.meta.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}
        hub.start(environ=environ)
        do = way(hub, tmp_path / "files")
        look = ByBoto3(hub, tmp_path)  # the command line takes a second to start
        made = do(
            "create_function", FunctionName="tale", Runtime=RUNTIME, Handler="app.handler", Role=ROLE,
            Code={"ZipFile": answering("one")},
        )  # fmt: skip
        assert (made["State"], made["Version"]) == ("Pending", "$LATEST")
        do.wait("function_active_v2", "tale")
        # The three kinds of invocation.
        assert do.invoke(FunctionName="tale")[0] == 200
        assert do.invoke(FunctionName="tale", InvocationType="DryRun") == (204, None)
        assert do.invoke(FunctionName="tale", InvocationType="Event", Payload=b'{"n": 1}') == (202, None)
        (event,) = until(lambda: hub.deliveries(function="tale", state="succeeded"), "the event is done")
        # Versions, an alias, its weights, and back.
        assert do("publish_version", FunctionName="tale")["Version"] == "1"
        do("update_function_code", FunctionName="tale", ZipFile=answering("two"))
        do.wait("function_updated_v2", "tale")
        assert do.invoke(FunctionName="tale")[1]["answer"] == "two"
        assert do("publish_version", FunctionName="tale")["Version"] == "2"
        do("create_alias", FunctionName="tale", Name="live", FunctionVersion="1")
        assert do.invoke(FunctionName="tale", Qualifier="live")[1]["answer"] == "one"
        weights = {"AdditionalVersionWeights": {"2": 0.5}}
        assert do("update_alias", FunctionName="tale", Name="live", RoutingConfig=weights)["RoutingConfig"] == weights
        drawn: Counter[str] = Counter()
        until(
            lambda: drawn.update([look.invoke(FunctionName="tale", Qualifier="live")[1]["answer"]]) or len(drawn) == 2,
            "both versions are drawn",
        )
        do("update_alias", FunctionName="tale", Name="live", FunctionVersion="2", RoutingConfig={})
        assert hub.cli("functions", "rollback", "tale", "--alias", "live").stdout == "tale:live is version 1 again\n"
        # A layer, a URL, a queue.
        layer = do(
            "publish_layer_version", LayerName="words",
            Content={"ZipFile": zipped({"python/shared.py": "word = 'layered'\n"})},
        )  # fmt: skip
        do(
            "create_function", FunctionName="leaning", Runtime=RUNTIME, Handler="app.handler", Role=ROLE,
            Code={"ZipFile": zipped({"app.py": LAYERED})}, Layers=[layer["LayerVersionArn"]]
            if way is ByBoto3 else layer["LayerVersionArn"],
        )  # fmt: skip
        assert do.invoke(FunctionName="leaning")[1] == {"answer": "layered"}
        url = do("create_function_url_config", FunctionName="tale", AuthType="NONE")["FunctionUrl"]
        do(
            "add_permission", FunctionName="tale", StatementId="open", Action="lambda:InvokeFunctionUrl",
            Principal="*", FunctionUrlAuthType="NONE",
        )  # fmt: skip
        do(
            "add_permission", FunctionName="tale", StatementId="call", Action="lambda:InvokeFunction",
            Principal="*", InvokedViaFunctionUrl=True,
        )  # fmt: skip
        name = f"tale-{way.__name__}"
        queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"
        mapping = do("create_event_source_mapping", FunctionName="tale", EventSourceArn=arn, BatchSize=1)["UUID"]

        def all_there() -> None:
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert json.load(answer)["answer"] == "two"
            assert look.invoke(FunctionName="tale", Qualifier="live")[1]["answer"] == "one"
            assert look.invoke(FunctionName="leaning")[1] == {"answer": "layered"}
            before = len(taken())
            sqs.send_message(QueueUrl=queue, MessageBody="m")
            until(lambda: len(taken()) == before + 1, "the message is handled")

        def taken() -> list[dict[str, Any]]:
            return hub.deliveries(trigger=f"esm-{mapping}", state="succeeded")

        def told() -> Any:
            return [
                look("list_functions", FunctionVersion="ALL")["Functions"],
                look("list_aliases", FunctionName="tale")["Aliases"],
                look("get_policy", FunctionName="tale")["Policy"],
                look("list_function_url_configs", FunctionName="tale")["FunctionUrlConfigs"],
                look("list_layers")["Layers"],
                look("get_event_source_mapping", UUID=mapping)["EventSourceArn"],
            ]

        until(lambda: look("get_event_source_mapping", UUID=mapping)["State"] == "Enabled", "the mapping is there")
        all_there()
        before = told()
        hub.kill()
        hub.start(environ=environ)
        assert told() == before
        assert hub.deliveries(function="tale", trigger="api") == [event]
        all_there()
        # And the end of all of it.
        do("delete_event_source_mapping", UUID=mapping)
        do("delete_function_url_config", FunctionName="tale")
        do("delete_layer_version", LayerName="words", VersionNumber=1)
        do("delete_alias", FunctionName="tale", Name="live")
        for function in ("tale", "leaning"):
            do("delete_function", FunctionName=function)
        assert do("list_functions")["Functions"] == []
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url, timeout=20)
        assert caught.value.code == 403
        caught.value.close()

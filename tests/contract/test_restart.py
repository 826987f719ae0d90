"""A hub that is killed at any step forgets nothing that it answered, and keeps nothing by half."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from tests.contract.conftest import client
from tests.contract.package import answering, called, create
from tests.e2e.daemon import daemon, until


def there(lambdas: Any) -> Any:
    """All that the API tells of its functions."""
    functions = lambdas.list_functions(FunctionVersion="ALL")["Functions"]
    aliases = {
        one["FunctionName"]: lambdas.list_aliases(FunctionName=one["FunctionName"])["Aliases"] for one in functions
    }
    return functions, aliases


def test_what_was_made_is_there_after_the_hub_was_killed(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {"own.py": "def handler(event, context):\n    return 1\n"}) as hub:
        lambdas = client(hub)
        create(lambdas, "made", answering("one"), Publish=True)
        lambdas.update_function_code(FunctionName="made", ZipFile=answering("two"), Publish=True)
        lambdas.create_alias(
            FunctionName="made", Name="live", FunctionVersion="1",
            RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}},
        )  # fmt: skip
        create(lambdas, "gone", answering("gone"))
        lambdas.delete_function(FunctionName="gone")
        before = there(lambdas)
        hub.kill()
        hub.start()
        assert there(lambdas) == before
        assert called(lambdas, "made:1")["answer"] == "one"
        assert called(lambdas, "made")["answer"] == "two"
        assert len(list((tmp_path / "var/functions/archives").iterdir())) == 2, "what nothing needs is removed"
        assert hub.cli("backup", str(tmp_path / "saved.tar")).returncode == 0
        lambdas.delete_function(FunctionName="made")
        hub.kill()
        restored = hub.cli("restore", str(tmp_path / "saved.tar"))
        assert restored.returncode == 0, restored.stderr
        hub.start()
        assert there(lambdas) == before
        assert called(lambdas, "made:1")["answer"] == "one"
        hub.write("", {"own.py": "def handler(event, context):\n    return 2\n"})
        until(lambda: lambdas.invoke(FunctionName="own")["Payload"].read() == b"2", "the folder is read again")
        assert called(lambdas, "made:1")["answer"] == "one"
        hub.write("", {"made.py": "def handler(event, context):\n    return 'the folder'\n"})
        until(lambda: lambdas.invoke(FunctionName="made")["Payload"].read() == b'"the folder"', "the folder has it now")
        with pytest.raises(ClientError, match=r"this project's own \(handlers/made.py\)"):
            lambdas.delete_function(FunctionName="made")


@pytest.mark.parametrize("point", ["before-archive", "before-deploy", "after-deploy"])
def test_a_hub_that_dies_while_it_makes_a_function_has_all_of_it_or_nothing(point: str, tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}, start=False) as hub:
        hub.start(environ={"TRIGGERHUB_CRASH_AT": point})
        lambdas = client(hub)
        with pytest.raises(HTTPClientError):
            create(lambdas, "made", answering("one"))
        assert hub.process is not None
        hub.process.wait(20)
        hub.start()
        archives = list((tmp_path / "var" / "functions").rglob("archives/*"))
        if point == "after-deploy":
            assert called(lambdas, "made")["answer"] == "one"
            assert len(archives) == 1
        else:
            assert lambdas.list_functions()["Functions"] == []
            assert archives == []
            create(lambdas, "made", answering("one"))
            assert called(lambdas, "made")["answer"] == "one"


def test_events_that_were_accepted_are_run_though_the_hub_is_killed_again_and_again(tmp_path: Path) -> None:
    """A thousand events from eight clients at once, three kills while they are sent and run: none is lost."""
    number, accepted = itertools.count(), list[str]()
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "counting", answering("x"))

        def send() -> None:
            lambdas = client(hub)
            while (one := next(number)) < 1000:
                while True:
                    try:
                        answer = lambdas.invoke(
                            FunctionName="counting", InvocationType="Event", Payload=json.dumps({"n": one}).encode()
                        )
                    # It was killed, or has not started yet: the event is sent anew, as SDKs do.
                    except (BotoCoreError, ClientError):
                        time.sleep(0.05)
                    else:
                        accepted.append(answer["ResponseMetadata"]["RequestId"])
                        break

        with ThreadPoolExecutor(8) as clients:
            sending = [clients.submit(send) for _ in range(8)]
            for kill in range(1, 4):
                until(lambda least=kill * 250: len(accepted) >= least, "some were accepted")
                hub.kill()
                hub.start()
            for one in sending:
                one.result()
        hub.settled()
        assert len(accepted) == len(set(accepted)) == 1000
        states = {hub.api("GET", f"/api/v1/deliveries/{delivery}")["state"] for delivery in accepted}
        assert states == {"succeeded"}

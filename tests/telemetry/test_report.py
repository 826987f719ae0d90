"""The lines around an invocation, in both forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from triggerhub.model import Crashed, Fault, Interrupted, Outcome, Raised, Returned, TimedOut
from triggerhub.settings import MB, Function, Secret
from triggerhub.telemetry.report import Took, after, before, dropped, ended, frame, least, said, status, unstarted

TIME = "2026-08-09T12:34:56.789Z"
NOW = 1_786_278_896_789
TRACE = "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=0"
GOOD = Took(duration_ms=3.012, memory_mb=128, max_memory=36 * MB - 1, init_ms=110.1)
BAD = Took(duration_ms=3000, memory_mb=128, status="timeout", error="Sandbox.Timedout", level="isolated")
LATE = replace(BAD, ended="RequestId: r1 Error: Task timed out after 3.00 seconds")
EXITED = Took(
    duration_ms=1, memory_mb=128, status="error", error="Runtime.ExitError",
    ended="RequestId: r1 Error: Runtime exited with error: exit status 3",
)  # fmt: skip
FORGED = replace(EXITED, error="E\tStatus: success\nEND RequestId: r1", ended="no")
FAULT = Fault(type="E", message="m")


def event(kind: str, record: str) -> str:
    return f'{{"time":"{TIME}","type":"platform.{kind}","record":{{"requestId":"r1",{record}}}}}'


GOOD_DONE = event("runtimeDone", '"status":"success","metrics":{"durationMs":3.01}')
GOOD_REPORT = event(
    "report",
    '"metrics":{"durationMs":3.01,"billedDurationMs":4,"memorySizeMB":128,"maxMemoryUsedMB":36,"initDurationMs":110.1},'
    '"status":"success"',
)
BAD_DONE = event("runtimeDone", '"status":"timeout","errorType":"Sandbox.Timedout","metrics":{"durationMs":3000}')
BAD_REPORT = event(
    "report",
    '"metrics":{"durationMs":3000,"billedDurationMs":3000,"memorySizeMB":128},"sandbox":"isolated",'
    '"status":"timeout","errorType":"Sandbox.Timedout"',
)
LATE_SAID = (
    f'{{"timestamp":"{TIME}","log_level":"ERROR","errorMessage":"RequestId: r1 Error: Task timed out after 3.00 seconds",'
    '"errorType":"Sandbox.Timedout","requestId":"r1"}'
)


@pytest.mark.parametrize(
    ("level", "version", "line"),
    [
        (None, "7", "START RequestId: r1 Version: 7"),
        (None, "", "START RequestId: r1 Version: $LATEST"),
        ("DEBUG", "7", event("start", '"version":"7"')),
        ("INFO", "", event("start", '"version":"$LATEST"')),
        ("WARN", "7", None),
    ],
)
def test_the_line_before_an_invocation(level: Any, version: str, line: str | None) -> None:
    assert list(before("r1", version, level=level, now=NOW)) == [one for one in (line,) if one is not None]


@pytest.mark.parametrize(
    ("level", "took", "lines"),
    [
        (None, GOOD, [
            "END RequestId: r1",
            ("REPORT RequestId: r1\tDuration: 3.01 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB"
            "\tMax Memory Used: 36 MB\tInit Duration: 110.10 ms\t"),
        ]),
        (None, BAD, [
            "END RequestId: r1",
            ("REPORT RequestId: r1\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB"
            "\tSandbox: isolated\tStatus: timeout"),
        ]),
        (None, LATE, [
            f"{TIME} r1 Task timed out after 3.00 seconds",
            "END RequestId: r1",
            ("REPORT RequestId: r1\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB"
            "\tSandbox: isolated\tStatus: timeout"),
        ]),
        (None, EXITED, [
            "RequestId: r1 Error: Runtime exited with error: exit status 3",
            "Runtime.ExitError",
            "END RequestId: r1",
            ("REPORT RequestId: r1\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB"
            "\tStatus: error\tError Type: Runtime.ExitError"),
        ]),
        (None, FORGED, [
            "RequestId: r1 Error: no",
            "END RequestId: r1",
            ("REPORT RequestId: r1\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB"
            "\tStatus: error\tError Type: E Status: success"),
        ]),
        ("WARN", replace(LATE, level="isolated"), [LATE_SAID, BAD_DONE, BAD_REPORT]),
        ("DEBUG", GOOD, [GOOD_DONE, GOOD_REPORT]),
        ("INFO", GOOD, [GOOD_REPORT]),
        ("WARN", GOOD, []),
        ("DEBUG", BAD, [BAD_DONE, BAD_REPORT]),
        ("INFO", BAD, [BAD_DONE, BAD_REPORT]),
        ("WARN", BAD, [BAD_DONE, BAD_REPORT]),
    ],
)  # fmt: skip
def test_the_lines_after_an_invocation(level: Any, took: Took, lines: list[str]) -> None:
    assert list(after("r1", took, level=level, now=NOW)) == lines


def test_a_trace_is_in_each_line_in_json_and_in_none_as_text() -> None:
    tracing = f',"tracing":{{"type":"X-Amzn-Trace-Id","value":"{TRACE}"}}}}}}'
    lines = [
        *before("r1", "7", level="DEBUG", now=NOW, trace=TRACE),
        *after("r1", GOOD, level="DEBUG", now=NOW, trace=TRACE),
    ]
    assert [line.endswith(tracing) for line in lines] == [True] * 3
    text = [*before("r1", "7", level=None, now=NOW, trace=TRACE), *after("r1", GOOD, level=None, now=NOW, trace=TRACE)]
    assert not any(TRACE in line for line in text)


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (None, "[ERROR] E: no \u202e"),
        (
            "WARN",
            f'{{"timestamp":"{TIME}","log_level":"ERROR","errorMessage":"no \\u202e","errorType":"E","requestId":"r1"}}',
        ),
    ],
)
def test_the_line_about_an_invocation_that_no_worker_began(level: Any, line: str) -> None:
    assert unstarted("r1", "E", "no \u202e", level=level, now=NOW) == line


@pytest.mark.parametrize(
    ("level", "lost", "note"),
    [
        (None, "700 bytes of output dropped", "no way out to h:1"),
        (
            "WARN",
            (
                f'{{"time":"{TIME}","type":"platform.logsDropped","record":{{"requestId":"r1",'
                '"reason":"there was too much of it","droppedRecords":7,"droppedBytes":700}}'
            ),
            f'{{"time":"{TIME}","type":"platform.message","record":{{"message":"no way out to h:1"}}}}',
        ),
    ],
)
def test_what_else_the_hub_says_is_in_the_form_of_the_log(level: Any, lost: str, note: str) -> None:
    assert dropped(700, 7, "r1", level=level, now=NOW) == lost
    assert said("no way out to h:1", None, level=level, now=NOW) == note
    error = unstarted("r1", "E", "m", level=level, now=NOW)
    assert said(error, "r1", level=level, now=NOW) == error


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (next(before("r1", "7", level=None, now=NOW)), "start"),
        (next(before("r1", "7", level="INFO", now=NOW)), "start"),
        (next(after("r1", GOOD, level=None, now=NOW)), "end"),
        (GOOD_DONE, "end"),
        (list(after("r1", GOOD, level=None, now=NOW))[1], "report"),
        (GOOD_REPORT, "report"),
        ("REPORT of the day", None),
        ('{"time":"t","type":"platform.telemetry","record":{}}', None),
        ('{"level":"INFO","message":"REPORT RequestId: r1"}', None),
        (" START RequestId: r1", None),
        ("", None),
    ],
)
def test_whoever_reads_a_log_knows_the_lines_around_an_invocation(line: str, place: str | None) -> None:
    assert frame(line) == place


@pytest.mark.parametrize(
    ("env", "level", "found"),
    [
        ({}, "WARN", None),
        ({"AWS_LAMBDA_LOG_FORMAT": "Text"}, "WARN", None),
        ({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, "INFO", "INFO"),
        ({"AWS_LAMBDA_LOG_FORMAT": "json"}, "WARN", "WARN"),
        ({"AWS_LAMBDA_LOG_FORMAT": Secret("JSON")}, "DEBUG", "DEBUG"),
    ],
)
def test_a_function_is_logged_in_the_form_that_its_handler_is_told(env: Any, level: Any, found: str | None) -> None:
    function = Function(name="f", runtime="python")
    assert least(replace(function, env=env, system_level=level)) == found


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Returned(payload=b""), "success"),
        (Raised(fault=FAULT, payload=b""), "error"),
        (TimedOut(fault=FAULT, payload=b""), "timeout"),
        (Crashed(fault=FAULT, payload=b""), "error"),
        (Crashed(fault=FAULT, payload=b"", scarce=True), "failure"),
        (Crashed(fault=FAULT, payload=b"", severed=True), "failure"),
    ],
)
def test_outcomes_are_called_as_lambda_does(outcome: Outcome, word: str) -> None:
    assert status(outcome) == word


EXIT = Fault(type="Runtime.ExitError", message="RequestId: r1 Error: Runtime exited\nits last\twords")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Returned(payload=b""), None),
        (Interrupted(), None),
        (Raised(fault=FAULT, payload=b""), None),
        (Raised(fault=EXIT, payload=b""), "RequestId: r1 Error: Runtime exited"),
        (Crashed(fault=EXIT, payload=b""), "RequestId: r1 Error: Runtime exited"),
        (TimedOut(fault=FAULT, payload=b""), "m"),
        (TimedOut(fault=Fault(type="E", message="m" * 9999), payload=b""), "m" * 500),
    ],
)
def test_what_no_handler_could_say_is_said_in_one_line(outcome: Outcome, said: str | None) -> None:
    assert ended(outcome) == said

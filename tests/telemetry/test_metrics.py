"""Every metric is documented, and says what its documentation says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.hub.rig import Failure, echoing, function, rig, trigger
from triggerhub.model import Invocation, State, destination_trigger
from triggerhub.policy import alarm, embedded
from triggerhub.settings import Alarm, Destination, RetryPolicy
from triggerhub.store import Query, Stats
from triggerhub.telemetry.durations import SHOWN_MS
from triggerhub.telemetry.exposition import families
from triggerhub.telemetry.measured import LABELS, SERIES, Measured
from triggerhub.telemetry.metrics import CALLS, EVENTS, GONE, LATE, Metrics
from triggerhub.testing import FakeClock

DOCUMENT = Path(__file__).parents[2] / "docs" / "telemetry.md"
NOTHING = Stats(accepted=0, discarded=0, pruned=0)
ROW = re.compile(r"^\| `(?P<name>[a-z_]+)` \| (?P<type>[a-z]+) \|(?P<labels>[^|]*)\| (?P<text>[^|]+) \|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    text = DOCUMENT.read_text()
    return {one["name"]: (one["type"], tuple(re.findall(r"`(\w+)`", one["labels"]))) for one in ROW.finditer(text)}


def shown(page: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    found = {}
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = [label for sample in family.samples[:1] for label in sample.labels if label != "le"]
        found[name] = (family.type, tuple(labels))
    return found


EMBEDDED = json.dumps(
    {
        "_aws": {
            "Timestamp": 1,
            "CloudWatchMetrics": [
                {
                    "Namespace": "shop",
                    "Dimensions": [["service"]],
                    "Metrics": [{"Name": "Orders", "Unit": "Count"}],
                }
            ],
        },
        "service": "checkout",
        "Orders": [1, 2.5],
    }
)


def test_what_a_handler_measures_is_a_metric() -> None:
    metrics = Metrics()
    metrics.embedded("work", embedded.read(EMBEDDED))
    labels = {
        "function": "work",
        "namespace": "shop",
        "metric": "Orders",
        "unit": "Count",
        "dimensions": "service=checkout",
    }
    families = {one.name: one for one in text_string_to_metric_families(metrics.render(NOTHING, {}).decode())}
    values = {one.name: (one.labels, one.value) for one in families["triggerhub_handler_metric"].samples}
    assert values == {"triggerhub_handler_metric_count": (labels, 2), "triggerhub_handler_metric_sum": (labels, 3.5)}


@pytest.mark.parametrize(
    ("letters", "first", "second"),
    [
        pytest.param(10, SERIES // 2, SERIES // 4, id="many"),
        pytest.param(8_000, LABELS // 2 // 8_017, LABELS // 4 // 8_017, id="long"),
    ],
)
def test_a_function_measures_no_more_than_it_leaves_to_others(letters: int, first: int, second: int) -> None:
    metrics, (one,) = Metrics(), embedded.read(EMBEDDED)
    for name in ("greedy", "greedy too", "modest"):
        for number in range(1 if name == "modest" else SERIES):
            metrics.embedded(name, [replace(one, dimensions=(("id", f"{number:0{letters}}"),))])
    page = metrics.render(NOTHING, {}).decode()
    for name, kept, tried in (("greedy", first, SERIES), ("greedy too", second, SERIES), ("modest", 1, 1)):
        left_out = 2.0 * (tried - kept)
        assert len(re.findall(rf'handler_metric_sum{{.*function="{name}"', page)) == kept
        assert (f'handler_metric_left_out_total{{function="{name}"}} {left_out}' in page) is (left_out > 0)


def test_no_two_sets_of_dimensions_are_one_series() -> None:
    metrics, (one,) = Metrics(), embedded.read(EMBEDDED)
    sets = [
        (("a", "1,b=2"),),
        (("a", "1"), ("b", "2")),
        (("a", "1\\"), ("b", "2")),
        (("a", "1\\,b=2"),),
        (("a=b", "c"),),
        (("a", "b=c"),),
    ]
    metrics.embedded("work", [replace(one, dimensions=dimensions) for dimensions in sets])
    (family,) = (
        one
        for one in text_string_to_metric_families(metrics.render(NOTHING, {}).decode())
        if one.name == "triggerhub_handler_metric"
    )
    shown = [sample.labels["dimensions"] for sample in family.samples if sample.name.endswith("_sum")]
    assert sorted(shown) == sorted({r"a=1\,b=2", "a=1,b=2", r"a=1\\,b=2", r"a=1\\\,b=2", r"a\=b=c", "a=b=c"})


@pytest.mark.parametrize("values", [(1.7e308,), (1.7e308, 1.7e308)])
def test_a_value_that_would_make_a_sum_infinite_is_left_out(values: tuple[float, ...]) -> None:
    metrics, (one,) = Metrics(), embedded.read(EMBEDDED)
    metrics.embedded("work", [replace(one, values=(1e308,)), replace(one, values=values), replace(one, values=(1.0,))])
    page = metrics.render(NOTHING, {}).decode()
    assert re.search(r"^triggerhub_handler_metric_count\{.* 2\.0$", page, re.MULTILINE)
    assert re.search(r"^triggerhub_handler_metric_sum\{.* 1e\+308$", page, re.MULTILINE)
    assert f'handler_metric_left_out_total{{function="work"}} {len(values)}.0' in page


def test_what_a_forgotten_function_measured_leaves_its_room() -> None:
    measured, (one,) = Measured(), embedded.read(EMBEDDED)
    for _ in range(3):
        for number in range(SERIES):
            measured.add("gone", replace(one, dimensions=(("id", str(number)),)))
        assert len(measured.own) == SERIES // 2
        measured.forget(["gone"])
        assert not measured.own


async def busy_page(folder: Path) -> str:
    """Let one of everything happen, and return the page."""

    async def some(invocation: Invocation) -> Any:
        if json.loads(invocation.payload).get("fail"):
            raise Failure("asked to")
        return {}

    functions = [
        function(
            retry=RetryPolicy(attempts=2, initial=1),
            on_success=(Destination(kind="queue", target="topic"), Destination(kind="file", target="out")),
        ),
        function("take"),
    ]
    triggers = [
        trigger(key="$.id", filter={"out": [{"exists": False}]}),
        trigger("topic", type="queue", functions=("take",), key="$.body.responsePayload"),
    ]
    alarms = {"many": Alarm(when=alarm.parse("errors(work) > 100 in 10m"))}
    handlers = {"work": some, "take": echoing}
    async with rig(folder, handlers, functions=functions, triggers=triggers, alarms=alarms) as r:
        await r.until(lambda: r.hub.alarms.rows()[0]["value"], "the alarm was looked at")
        r.hub._tap.write(functions[0], None, "stdout", EMBEDDED)
        await r.emit("hand", {"id": 1}, {"id": 1}, {"id": 2, "fail": True}, {"out": 1})
        await r.states(4)
        await r.hub.invoke("work", b'{"fail": 1}')
        await r.hub.deliveries.discard([row.id for row in await r.store.page(Query(state=State.DEAD))], "known")
        await r.until(lambda: r.hub._wiring.dispatchers["work"].running == 0, "idle")
        return (await r.hub.metrics()).decode()


async def test_every_metric_is_documented_and_every_documented_one_is_there(tmp_path: Path) -> None:
    page, told = shown(await busy_page(tmp_path)), documented()
    assert sorted(page) == sorted(told)
    for name, (kind, labels) in page.items():
        assert told[name][0] == kind, name
        if labels:
            assert sorted(told[name][1]) == sorted(labels), name


def test_every_counter_has_a_name_of_its_own() -> None:
    names = [name for name, _ in (*EVENTS.values(), *CALLS.values())]
    assert len(set(names)) == len(names)
    assert {f"{name}_total" for name in names} <= set(documented())


@pytest.mark.parametrize(
    "line",
    [
        'triggerhub_events_accepted_total{trigger="hand"} 2.0',
        'triggerhub_events_accepted_total{trigger="topic"} 1.0',
        'triggerhub_events_accepted_total{trigger="destination:work"} 1.0',
        'triggerhub_events_duplicate_total{trigger="hand"} 1.0',
        'triggerhub_events_filtered_total{trigger="hand"} 1.0',
        'triggerhub_invocations_total{function="work"} 4.0',
        'triggerhub_errors_total{function="work"} 3.0',
        'triggerhub_retries_total{function="work"} 1.0',
        'triggerhub_dead_letters_total{function="work"} 1.0',
        'triggerhub_duration_seconds_count{function="take"} 1.0',
        'triggerhub_function_deliveries{function="work",state="succeeded"} 1.0',
        'triggerhub_function_deliveries{function="file:out",state="succeeded"} 1.0',
        'triggerhub_queue_depth{function="take",trigger="topic"} 0.0',
        'triggerhub_ledger_total{entry="accepted"} 4.0',
        'triggerhub_ledger_total{entry="discarded"} 1.0',
        'triggerhub_lag_seconds{function="take",trigger="topic"} 0.0',
        "triggerhub_accounting_drift 0.0",
        "triggerhub_ready 1.0",
    ],
)
async def test_the_page_counts_what_happened(page: str, line: str) -> None:
    assert line in page.splitlines()


@pytest.fixture
async def page(tmp_path: Path) -> str:
    return await busy_page(tmp_path)


def test_a_histogram_is_cumulative_and_ends_at_infinity() -> None:
    metrics = Metrics()
    for milliseconds in (0.5, 1.0, 3.0, 1_000_000.0):
        metrics.observe("work", milliseconds)
    (family,) = [one for one in families(metrics.counted()) if one.name == "triggerhub_duration_seconds"]
    buckets = [(one.labels["le"], one.value) for one in family.samples if one.name.endswith("_bucket")]
    assert buckets[0] == ("0.001", 2.0)
    assert buckets[-1] == ("+Inf", 4.0)
    assert [float(bound) for bound, _ in buckets[:-1]] == [bound / 1000 for bound in SHOWN_MS]
    assert (dict(buckets)["0.0025"], dict(buckets)["0.005"], dict(buckets)["900.0"]) == (2.0, 3.0, 3.0)
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)


def test_a_workers_memory_is_the_most_of_this_window_and_the_one_before() -> None:
    metrics = Metrics()
    assert metrics.memory("work") is None
    for used in (20, 50, 30, None):
        metrics.observe("work", 1.0, used)
    metrics.forget_memory()
    assert metrics.memory("work") == 50
    metrics.observe("work", 1.0, 40)
    assert metrics.memory("work") == 50
    metrics.forget_memory()
    assert metrics.memory("work") == 40
    page = metrics.render(NOTHING, {}).decode()
    assert 'triggerhub_worker_memory_bytes{function="work"} 40.0' in page
    metrics.forget_memory()
    metrics.forget_memory()
    assert metrics.memory("work") is None


async def test_lag_is_how_long_the_oldest_that_is_due_has_waited(tmp_path: Path) -> None:
    clock = FakeClock()
    handlers, functions = {"work": echoing}, [function("work")]
    async with rig(tmp_path, handlers, functions=functions, triggers=[trigger()], clock=clock) as r:
        await r.hub.pause("function", "work")
        await r.emit("hand", {"id": 1})
        clock.advance(90_000)
        assert 'triggerhub_lag_seconds{function="work",trigger="hand"} 90.0' in (await r.hub.metrics()).decode()
        (row,) = [row for row in await r.hub.triggers() if row["name"] == "hand"]
        assert row["lag_ms"] == 90_000


def test_labels_that_would_break_a_line_are_escaped() -> None:
    metrics = Metrics()
    metrics.count("accepted", 'odd"\n\\name')
    page = metrics.render(NOTHING, {}).decode()
    (family,) = [one for one in text_string_to_metric_families(page) if one.name == "triggerhub_events_accepted"]
    assert family.samples[0].labels == {"trigger": 'odd"\n\\name'}


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((DOCUMENT.parent / "grafana.json").read_text())
    text = json.dumps(dashboard["panels"]) + json.dumps(dashboard["templating"])
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\btriggerhub_[a-z_]+", text)}
    assert asked <= set(documented())
    assert len(asked) > 15
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


async def test_what_was_counted_of_what_is_gone_is_told_for_an_hour_and_no_total_goes_back(tmp_path: Path) -> None:
    async def work(invocation: Invocation) -> Any:
        return 1

    start = 1_767_225_600_000
    async with rig(tmp_path, {"work": work, "gone": work}, clock=FakeClock(start)) as r:
        metrics = r.hub._metrics
        for name in ("work", "gone"):
            await r.hub.invoke(name, b"1")
        metrics.count("accepted", "hand", 3)
        metrics.count("accepted", "destination:gone", 2)
        metrics.embedded("gone", embedded.read(EMBEDDED))
        before = metrics.totals()
        await r.reload([function("work")], [])
        assert metrics.forget_gone(start + GONE - 1) == []
        assert 'triggerhub_invocations_total{function="gone"} 1.0' in (await r.hub.metrics()).decode()
        # What came back in time is not forgotten.
        await r.reload([function("work")], [trigger()])
        assert metrics.forget_gone(start + 2 * GONE) == ["gone"]
        page = (await r.hub.metrics()).decode()
        assert "gone" not in page
        assert 'triggerhub_invocations_total{function="work"} 1.0' in page
        assert 'triggerhub_events_accepted_total{trigger="hand"} 3.0' in page
        assert metrics.totals() == before
        assert metrics.forget_gone(start + 3 * GONE) == []


def told(metrics: Metrics) -> str:
    return metrics.render(NOTHING, {}).decode()


def test_what_is_counted_of_what_is_forgotten_is_told_for_an_hour_too() -> None:
    metrics = Metrics()
    metrics.count("dead", "gone", 2)
    metrics.went(["gone"], [], 0)
    assert metrics.forget_gone(GONE) == ["gone"]
    noted = GONE + LATE - 1
    metrics.count("dead", "gone")
    metrics.count("accepted", destination_trigger("gone"), 3)
    assert metrics.forget_gone(noted) == []
    assert 'triggerhub_dead_letters_total{function="gone"} 1.0' in told(metrics)
    assert metrics.forget_gone(noted + GONE - 1) == []
    assert metrics.forget_gone(noted + GONE) == ["gone"]
    assert "gone" not in told(metrics)
    assert (metrics.totals().dead, metrics.totals().accepted) == (3, 3)
    # One that came back under that name is told for as long as it is there.
    metrics.went([], ["gone"], noted + GONE)
    metrics.count("dead", "gone")
    for hours in range(2, 5):
        assert metrics.forget_gone(noted + hours * GONE) == []
    assert 'triggerhub_dead_letters_total{function="gone"} 1.0' in told(metrics)

"""The queue, its history, the dead letters, and the story of an event."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.cli.conftest import Run
from tests.e2e.daemon import Daemon, until

FIELDS = [
    "id", "event_id", "trigger", "function", "version", "state", "attempts", "created", "due", "finished", "duration_ms",
    "dedup_key", "ordering_key", "error", "reason",
]  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "019a0000-0000-7000-8000-000000000001"
Queued = Callable[..., str]


def test_a_delivery_has_the_fields_and_forms_that_scripts_hold_on_to(on: Run, queued: Queued) -> None:
    done, dead = queued(), queued("broken")
    rows = {row["id"]: row for row in on("deliveries", "list", "--json").json}
    for row in (rows[done], rows[dead]):
        assert list(row) == FIELDS
        assert TIME.fullmatch(row["created"])
        assert TIME.fullmatch(row["finished"])
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", row["id"])
        assert re.fullmatch(r"[0-9a-f]{12}", row["version"])
        assert isinstance(row["duration_ms"], float)
        assert row["attempts"] == 1
    assert (rows[done]["state"], rows[done]["error"], rows[done]["reason"]) == ("succeeded", None, None)
    assert (rows[dead]["state"], rows[dead]["error"]) == (
        "dead",
        {"type": "ValueError", "message": "broken on purpose"},
    )
    for path in (["deliveries", "show"], ["dlq", "show"]):
        shown = on(*path, dead, "--json").json
        assert list(shown)[: len(FIELDS)] == FIELDS
        assert shown["event"]["data"] == {}
        assert [one["outcome"] for one in shown["history"]] == ["raised"]


def test_a_list_is_newest_first_filtered_and_limited(on: Run, queued: Queued) -> None:
    ids = [queued(name) for name in ("echo", "broken", "echo")]
    rows = [row["id"] for row in on("deliveries", "list", "--json").json]
    assert [one for one in rows if one in ids] == ids[::-1]
    assert len(on("deliveries", "list", "--limit", "2", "--json").json) == 2
    assert {row["state"] for row in on("deliveries", "list", "--state", "dead", "--json").json} == {"dead"}
    assert {row["function"] for row in on("deliveries", "list", "--function", "broken", "--json").json} == {"broken"}
    assert {row["trigger"] for row in on("deliveries", "list", "--trigger", "api", "--json").json} == {"api"}
    assert on("deliveries", "list", "--since", "0s", "--json").json == []
    assert on("deliveries", "list", "--since", "2999-01-01T00:00:00Z", "--json").json == []
    assert on("deliveries", "list", "--since", "1h", "--json").json != []


def test_a_list_and_what_is_done_to_many_are_chosen_by_error_and_by_key(on: Run, queued: Queued) -> None:
    done, dead, nasty = queued(), queued("doomed"), queued("nasty")
    found = [row["id"] for row in on("deliveries", "list", "--error", "BROKEN on", "--json").json]
    assert dead in found
    assert not {done, nasty} & set(found)
    assert nasty in [row["id"] for row in on("dlq", "list", "--error", "gone", "--function", "nasty", "--json").json]
    assert on("dlq", "list", "--error", "no such text").err == "no dead letters\n"
    sent = on("send", "keyed", "-d", '{"kind": "order", "id": "by-key"}', "--json").json["deliveries"]
    assert [row["id"] for row in on("deliveries", "list", "--key", "by-key", "--json").json] == sent
    assert on("deliveries", "list", "--key", "by-ke", "--json").json == []
    counted = on("dlq", "redrive", "--error", "on purpose", "--function", "doomed", "--dry-run", "--json").json
    assert counted["total"] >= 1
    ran = on("dlq", "discard", "--error", "no such text", "--reason", "none")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: there is no dead letter with error with no such text\n")
    assert dead in [json.loads(line)["id"] for line in on("dlq", "export", "--error", "on purpose").out.splitlines()]


def test_a_filter_by_a_name_that_nothing_has_is_no_empty_list(on: Run, queued: Queued) -> None:
    queued()
    for arguments in (["deliveries", "list"], ["dlq", "list"], ["dlq", "redrive"]):
        ran = on(*arguments, "--function", "ecko")
        assert (ran.code, ran.out) == (1, ""), arguments
        assert ran.err == "error: no function 'ecko'\n  Did you mean 'echo'?\n"
    ran = on("deliveries", "list", "--trigger", "hok")
    assert (ran.code, ran.err) == (1, "error: no trigger 'hok'\n  Did you mean 'hook'?\n")
    assert on("deliveries", "list", "--trigger", "destination:echo", "--json").json == []


def test_a_list_is_a_table_for_people(on: Run, queued: Queued) -> None:
    dead = queued("broken")
    ran = on("deliveries", "list", "--function", "broken", "--limit", "1")
    header, row = ran.out.rstrip("\n").split("\n")
    assert header.split() == ["ID", "STATE", "TRIGGER", "FUNCTION", "TRIES", "AGE", "TOOK", "WHY"]
    assert row.startswith(f"{dead}  dead   api")
    assert row.endswith("ValueError: broken on purpose")
    assert ran.err == "the newest 1; --limit shows more\n"
    ran = on("dlq", "list", "--function", "broken", "--limit", "1")
    header, row = ran.out.rstrip("\n").split("\n")
    assert header.split() == ["ID", "TRIGGER", "FUNCTION", "TRIES", "AGE", "TOOK", "WHY"]
    assert row.startswith(f"{dead}  api")
    none = on("deliveries", "list", "--since", "0s")
    assert (none.code, none.out, none.err) == (0, "", "no deliveries like these\n")


def test_a_long_reason_is_listed_in_part_and_whole_as_json(
    on: Run, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triggerhub.cli import deliveries

    queued("broken")
    monkeypatch.setattr(deliveries, "LONGEST", 20)
    asked = ("dlq", "list", "--function", "broken", "--limit", "1")
    assert on(*asked).out.rstrip("\n").endswith("  ValueError: broken …")
    assert on(*asked, "--json").json[0]["error"]["message"] == "broken on purpose"


def test_more_than_one_answer_holds_is_asked_for_by_the_page(
    on: Run, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triggerhub.cli import deliveries

    for _ in range(5):
        queued("shell")
    monkeypatch.setattr(deliveries, "PAGE", 2)
    rows = on("deliveries", "list", "--function", "shell", "--limit", "5", "--json").json
    assert len({row["id"] for row in rows}) == 5
    assert rows == sorted(rows, key=lambda row: row["id"], reverse=True)


def test_a_delivery_is_shown_with_its_event_and_its_attempts(on: Run, queued: Queued) -> None:
    delivery = queued("broken", '{"price": 1.10, "list": [1, {}], "text": "a\\nb"}')
    text = on("deliveries", "show", delivery).out
    assert text.startswith(f"delivery {delivery}  dead\n")
    assert "  from      api → broken (version " in text
    assert "attempt 1 raised (" in text
    assert text.count("ValueError: broken on purpose") == 2
    assert '  {\n    "price": 1.10,\n    "list": [\n      1,\n      {}\n    ],\n    "text": "a\\nb"\n  }\n' in text
    assert text.endswith(f"mend broken, then: triggerhub dlq redrive {delivery}\n")


@pytest.mark.parametrize(
    "path", [["deliveries", "show"], ["deliveries", "wait"], ["deliveries", "redeliver"], ["dlq", "show"]]
)
def test_an_unknown_delivery_is_exit_code_1(path: list[str], on: Run) -> None:
    ran = on(*path, NOBODY)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"error: no delivery '{NOBODY}'\n  ")


def test_waiting_ends_with_0_1_or_5(on: Run, queued: Queued) -> None:
    assert on("deliveries", "wait", queued()).out == "succeeded\n"
    dead = on("deliveries", "wait", queued("broken"))
    assert (dead.code, dead.out) == (1, "dead: failed 1 of 1 attempt\n")
    held = queued("held", wait=False)
    late = on("deliveries", "wait", held, "--timeout", "50ms")
    assert late.code == 5
    assert re.fullmatch(r"still (running|queued) after 50ms\n", late.out)
    assert on("deliveries", "cancel", held).out == "cancelled 1 delivery\n"
    over = on("deliveries", "wait", held, "--json")
    assert (over.code, over.json["state"]) == (1, "cancelled")


def test_cancelling_ends_what_is_queued_and_what_runs(on: Run, queued: Queued, hub: Daemon) -> None:
    running, waiting = queued("held", wait=False), queued("held", wait=False)
    until(lambda: on("deliveries", "show", running, "--json").json["state"] == "running", "it runs")
    assert on("deliveries", "cancel", "--function", "held", "--dry-run").out == (
        "dry run: deliveries cancel would take 2 deliveries\n"
    )
    ran = on("deliveries", "cancel", "--function", "held", "--reason", "no longer wanted", "--json")
    assert ran.json == {"total": 2, "done": 2, "changed": 2, "skipped": 0, "dry_run": False}
    for one in (running, waiting):
        row = on("deliveries", "show", one, "--json").json
        assert (row["state"], row["reason"]) == ("cancelled", "no longer wanted")
    again = on("deliveries", "cancel", running)
    assert (again.code, again.out) == (1, "cancelled 0 deliveries\n")
    assert again.err == "1 left as they are: finished already, or unknown\n"
    assert on("functions", "show", "held", "--json").json["running"] == 0


def test_partly_done_is_exit_code_5(on: Run, queued: Queued) -> None:
    dead, done = queued("doomed"), queued()
    ran = on("dlq", "discard", dead, done)
    assert (ran.code, ran.out) == (5, "discarded 1 dead letter\n")
    assert ran.err == "1 left as they are: not dead (any more), or unknown\n"
    assert on("dlq", "redrive", done).code == 1
    again = on("deliveries", "redeliver", done, NOBODY)
    assert (again.code, again.out.split("\n")[0]) == (5, "queued 1 delivery again")
    assert f"error: no delivery '{NOBODY}'" in again.err


def test_redelivering_keeps_the_id_and_counts_attempts_anew(on: Run, queued: Queued) -> None:
    done = queued()
    ran = on("deliveries", "redeliver", done)
    assert (ran.code, ran.out) == (0, f"queued 1 delivery again\n  triggerhub deliveries wait {done}\n")
    assert on("deliveries", "wait", done, "--timeout", "30s").code == 0
    shown = on("deliveries", "redeliver", done, "--json")
    assert list(shown.json) == FIELDS
    assert shown.json["id"] == done
    held = queued("held", wait=False)
    refused = on("deliveries", "redeliver", held)
    assert (refused.code, refused.out) == (1, "")
    assert "is still" in refused.err
    on("deliveries", "cancel", held)


def test_what_waits_for_its_next_attempt_is_tried_now(on: Run) -> None:
    one, two = (on("send", "patient", "-d", "{}", "--json").json["deliveries"][0] for _ in range(2))

    def waits(delivery: str) -> bool:
        row = on("deliveries", "show", delivery, "--json").json
        return (row["state"], row["attempts"]) == ("queued", 1) and row["due"] > row["created"]

    until(lambda: waits(one) and waits(two), "both failed once")
    ran = on("deliveries", "retry", one)
    assert (ran.code, ran.out, ran.err) == (0, "to be tried now: 1 delivery\n", "")
    over = on("deliveries", "wait", one, "--timeout", "30s", "--json")
    assert (over.code, over.json["state"], over.json["attempts"]) == (1, "dead", 2)
    again = on("deliveries", "retry", one)
    assert (again.code, again.out) == (1, "to be tried now: 0 deliveries\n")
    assert again.err == "1 left as they are: not waiting for a further attempt, or unknown\n"
    counted = on("deliveries", "retry", "--trigger", "patient", "--dry-run")
    assert counted.out == "dry run: deliveries retry would take 1 delivery\n"
    assert waits(two)
    assert on("deliveries", "retry", "--trigger", "patient", "--json").json["changed"] == 1
    assert on("deliveries", "wait", two, "--timeout", "30s").code == 1


def test_dead_letters_are_redriven_by_filter_and_the_dry_run_changes_nothing(on: Run, queued: Queued) -> None:
    ids = {queued("doomed") for _ in range(3)}
    order = ["dlq", "redrive", "--function", "doomed", "--since", "1d"]
    counted = on(*order, "--dry-run", "--json").json
    assert counted["total"] >= 3
    assert counted["dry_run"] is True
    assert ids <= {row["id"] for row in on("dlq", "list", "--function", "doomed", "--json").json}
    ran = on(*order, "--rate", "1000/s")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"queued {counted['total']} dead letters again\n"
    for one in ids:
        assert on("deliveries", "wait", one, "--timeout", "30s").code == 1
        assert len(on("dlq", "show", one, "--json").json["history"]) == 2
        assert on("dlq", "show", one, "--json").json["attempts"] == 1


def test_discarding_removes_and_counts(on: Run, queued: Queued, hub: Daemon) -> None:
    dead = queued("doomed")
    before = hub.counts()["discarded"]
    ran = on("dlq", "discard", dead, "--reason", "known")
    assert (ran.code, ran.out) == (0, "discarded 1 dead letter\n")
    assert on("deliveries", "show", dead).code == 1
    assert hub.counts()["discarded"] == before + 1
    assert hub.counts()["drift"] == 0
    assert on("explain", dead).code == 1


def test_nothing_to_do_says_so(on: Run) -> None:
    for verb in ("redrive", "discard"):
        for more in ([], ["--dry-run"], ["--json"]):
            ran = on("dlq", verb, "--function", "shell", "--since", "1h", *more)
            assert (ran.code, ran.out) == (1, ""), (verb, more)
            said = "there is no dead letter with function shell, since 1h"
            assert ran.err == f"error: {said}\n  It may be done already; ask for the list.\n"
    ran = on("deliveries", "cancel", "--function", "shell")
    assert (ran.code, ran.out) == (1, "")
    assert "there is no delivery that is queued or running with function shell" in ran.err
    none = on("dlq", "list", "--function", "shell")
    assert (none.code, none.out, none.err) == (0, "", "no dead letters\n")
    assert on("dlq", "list", "--function", "shell", "--json").json == []


def test_export_is_a_line_of_json_per_dead_letter(on: Run, queued: Queued) -> None:
    ids = [queued("doomed", f'{{"n": {n}.0}}') for n in range(2)]
    ran = on("dlq", "export", "--function", "doomed", "--limit", "2")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["id"] for line in lines] == ids[::-1]
    assert '"data":{"n": 1.0}' in ran.out.splitlines()[0]
    assert {line["history"][0]["error"]["type"] for line in lines} == {"ValueError"}


def test_the_story_of_an_event_tells_every_delivery(on: Run) -> None:
    sent = on("send", "hook", "-d", "{}", "--key", "story-1", "--json").json
    for one in sent["deliveries"]:
        assert on("deliveries", "wait", one, "--timeout", "30s").code == 0
    text = on("explain", sent["id"]).out
    assert text.startswith(f"event {sent['id']}\n")
    assert "accepted by trigger hook (key story-1)" in text
    assert f"delivery {sent['deliveries'][0]} to echo" in text
    assert f"delivery {sent['deliveries'][1]} to shell" in text
    assert text.count("attempt 1 returned") == 2
    assert text.count("  succeeded\n") == 2
    one = on("explain", sent["deliveries"][1].upper()).out
    assert "to shell" in one
    assert "to echo" not in one
    whole = on("explain", sent["id"], "--json").json
    assert [row["id"] for row in whole["deliveries"]] == sent["deliveries"]
    assert whole["deliveries"][0]["history"][0]["outcome"] == "returned"
    assert (whole["dedup_key"], whole["trigger"]) == ("story-1", "hook")


def test_an_unknown_event_is_exit_code_1(on: Run) -> None:
    ran = on("explain", NOBODY)
    assert (ran.code, ran.out) == (1, "")
    assert "its history may be pruned" in ran.err.lower()


@pytest.mark.parametrize(
    ("function", "data", "said", "told"),
    [
        ("ending", '"late"', r"20\S+Z {id} Task timed out after 1\.00 seconds", "Status: timeout"),
        (
            "ending",
            '"exit"',
            r"RequestId: {id} Error: Runtime exited with error: exit status 3\nRuntime\.ExitError",
            "Status: error\tError Type: Runtime.ExitError",
        ),
        (
            "ending",
            '"large"',
            r"RequestId: {id} Error: Runtime exited with error: signal: killed\nRuntime\.OutOfMemory",
            "Status: error\tError Type: Runtime.OutOfMemory",
        ),
        (
            "failing",
            "1",
            r"out of words\nRequestId: {id} Error: Runtime exited with error: exit status 4\nRuntime\.ExitError",
            "Status: error\tError Type: Runtime.ExitError",
        ),
        ("broken", "1", r".*Traceback.*", "Status: error\tError Type: ValueError"),
    ],
)
def test_the_log_tells_what_ended_a_call_as_lambdas_does(
    function: str, data: str, said: str, told: str, on: Run, queued: Queued
) -> None:
    delivery = queued(function, data)
    until(lambda: "REPORT" in on("logs", "--delivery", delivery).out, "its log is written")
    first, *between, end, report = reversed(on("logs", "--delivery", delivery, "--json").json)
    assert (first["text"].split()[0], end["text"]) == ("START", f"END RequestId: {delivery}")
    text = "\n".join(line["text"] for line in between)
    assert re.fullmatch(said.format(id=delivery), text, re.DOTALL), text
    assert report["text"].endswith(f"\t{told}")
    assert "REPORT" in on("logs", "--delivery", delivery, "--search", told.partition("\t")[0]).out


def test_logs_are_oldest_first_for_people_and_newest_first_in_json(on: Run, queued: Queued) -> None:
    delivery = queued()
    until(lambda: "REPORT" in on("logs", "--delivery", delivery).out, "its log is written")
    lines = on("logs", "--delivery", delivery).out.splitlines()
    assert [re.split(r"\s{2,}", line)[1:2] for line in lines] == [["echo"]] * 4
    assert [
        bool(re.search(text, line)) for text, line in zip(("START", "got it", "END", "REPORT"), lines, strict=True)
    ] == [True] * 4
    # The name has a column of twelve, and what a handler wrote is two spaces further in.
    assert [f"  {'echo':<12}    got it" in line for line in lines] == [False, True, False, False]
    rows = on("logs", "--delivery", delivery, "--json").json
    assert [row["text"].split()[0] for row in rows] == ["REPORT", "END", "got", "START"]
    assert set(rows[0]) == {"time", "function", "version", "request_id", "stream", "text"}
    assert {row["request_id"] for row in rows} == {delivery}
    assert len(on("logs", "echo", "--limit", "3", "--json").json) == 3
    assert on("logs", "echo", "--since", "0s", "--json").json == []
    unnamed = on("logs", "echo", "--limit", "1").out
    assert "  echo  " not in unnamed

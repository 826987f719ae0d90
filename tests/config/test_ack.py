"""When a source may forget an event is said in the table, and only where the source can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from triggerhub.config.load import load

Check = Callable[..., list[str]]
SOURCE = """
from triggerhub import source

acks = ("handled", "stored")
batch_size = 10

class Options(source.Options):
    pass

async def run(ctx, options):
    pass
"""
TRIGGER = '[triggers.t]\ntype = "kept"\n'


def project(folder: Path, toml: str) -> Path:
    for name, text in {"sources/kept.py": SOURCE, "handlers/echo.py": "def handler(e, c): ...\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "handlers" / "other.py").write_text("def handler(e, c): ...\n")
    (folder / "triggerhub.toml").write_text(TRIGGER + toml)
    return folder


def told(folder: Path, toml: str) -> list[str]:
    return [str(one) for one in load(project(folder, toml), environ={}).problems]


def test_the_default_is_the_sources_first(tmp_path: Path) -> None:
    loaded = load(project(tmp_path, 'function = "echo"\nretry = { attempts = 5 }\n'), environ={})
    assert loaded.project is not None
    trigger = loaded.project.triggers["t"]
    assert (trigger.ack, trigger.batch.size) == ("handled", 10)
    assert trigger.written == {"type", "function", "retry", "retry.attempts"}
    loaded = load(project(tmp_path, 'function = "echo"\nack = "stored"\nbatch = { size = 2 }\n'), environ={})
    assert loaded.project is not None
    assert (loaded.project.triggers["t"].ack, loaded.project.triggers["t"].batch.size) == ("stored", 2)


def test_a_source_without_it_says_what_it_has(check: Check) -> None:
    (line,) = check('[triggers.t]\nfunction = "echo"\ntype = "say"\nword = "x"\nack = "handled"\n')
    assert line.startswith("triggerhub.toml:5:7: error[bad-ack]: ")
    assert line.endswith(': triggers.t.ack: the source "say" has no "handled"; it has "stored"; leave ack out')


def test_what_needs_a_queue_does_not_go_with_it(tmp_path: Path) -> None:
    toml = 'functions = ["echo", "other"]\norder = "$.id"\nbacklog = 7\n'
    several, order, backlog = told(tmp_path, toml)
    assert several.startswith("triggerhub.toml:3:13: error[bad-ack]: ")
    assert 'ack = "handled" waits for one function, not for several; name one, or use ack = "stored"' in several
    assert order.startswith("triggerhub.toml:4:9: error[bad-ack]: ")
    assert 'with ack = "handled" the source keeps the order; leave order out, or use ack = "stored"' in order
    assert backlog.startswith("triggerhub.toml:5:11: error[bad-ack]: ")
    assert 'with ack = "handled" nothing is queued here; leave backlog out, or use ack = "stored"' in backlog
    assert told(tmp_path, toml + 'ack = "stored"\n') == []


def test_a_window_fits_the_sources_own_size(tmp_path: Path) -> None:
    assert told(tmp_path, 'function = "echo"\nbatch = { window = "1s" }\n') == []
    assert "needs a size over 1" in told(tmp_path, 'function = "echo"\nbatch = { size = 1, window = "1s" }\n')[0]

"""A source of one's own that does not end is left behind: by a reload, and by the end of the hub."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daemon import daemon, until

DEAF = """
import anyio
from triggerhub import source
from triggerhub.hub import supervise

supervise.STUBBORN = supervise.ACKNOWLEDGE = 0.1  # what else takes seconds

class Options(source.Options):
    pass

async def run(ctx, options):
    ctx.begun()
    while True:
        try:
            await anyio.sleep(0.05)
        except BaseException:
            pass
"""
WEB = '[hub]\nlisten = "127.0.0.1:{LISTEN}"\nadmin = "127.0.0.1:{ADMIN}"\ndrain = "100ms"\n'
WEB += '[triggers.web]\ntype = "webhook"\npath = "/one"\nauth = "none"\nfunction = "echo"\n'
TOML = WEB + '[triggers.deaf]\ntype = "deaf"\nfunction = "echo"\n'
ECHO = "def handler(event, context):\n    return 1\n"


def test_a_source_that_does_not_end_holds_up_neither_a_reload_nor_the_end(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "deaf.py").write_text(DEAF)
    with daemon(tmp_path, TOML, {"echo.py": ECHO}) as hub:
        hub.write(WEB.replace("/one", "/two"))
        until(lambda: hub.post("/two", b"{}")[0] == 202, "the new configuration is in force")
        (problem,) = hub.api("GET", "/api/v1/status")["problems"]
        assert problem.startswith("trigger deaf: its former source does not end")
        assert hub.settled()["succeeded"] == 1
        assert hub.stop() == 0
        assert "a source does not end; it is left behind" in hub.log()
        assert not (tmp_path / "var" / "hub.db-wal").exists(), "the store was closed"

"""Make the parts of the documentation that a program knows best.

``python docs/make.py commands`` writes the reference within commands.md, ``python docs/make.py lambda`` the
table of operations within lambda-api.md; ``python docs/make.py picture`` runs a hub on a terminal and draws
what it shows as run.svg. A test says when a reference is stale.
"""

from __future__ import annotations

import fcntl
import inspect
import io
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from triggerhub.cli import SECTIONS, cli
from triggerhub.web.lambda_api import api, support
from triggerhub.web.lambda_api.description import service
from triggerhub.web.lambda_api.invoking import Invoking

HERE = Path(__file__).parent
BEGIN, END = "<!-- made by docs/make.py: begin -->\n", "<!-- made by docs/make.py: end -->\n"
COLUMNS, ROWS = 100, 40


def reference() -> str:
    """Return what --help says of every command, as Markdown."""
    return "\n".join(_sections())


def operations() -> str:
    """Return how far each operation of AWS Lambda is done, as Markdown."""
    nothing: Any = None
    built = api.operations(nothing, nothing, Invoking(nothing, nothing))
    rows = support.table(service().operations, built)
    counts = ", ".join(f"{sum(word == one for _, word, _ in rows)} {text}" for one, text in _WORDS.items())
    lines = [f"| `{name}` | {word} | {remark} |" for name, word, remark in rows]
    return "\n".join([f"{len(rows)} operations: {counts}.\n", "| operation | | |", "|---|---|---|", *lines]) + "\n"


_WORDS = {"works": "work", "differs": "work and differ as said", "refused": "are refused by name"}


def written(document: str = "commands.md") -> str:
    """Return the reference as a document has it."""
    return (HERE / document).read_text().split(BEGIN)[1].split(END)[0]


def _sections() -> Iterator[str]:
    context = click.Context(cli, info_name="triggerhub")
    for heading, commands in SECTIONS.items():
        yield f"## {heading}\n"
        for name in commands:
            command = cli.get_command(context, name)
            assert command is not None
            yield from _command(command, click.Context(command, info_name=name, parent=context))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            assert one is not None
            yield from _command(one, click.Context(one, info_name=name, parent=context))
        return
    usage = [part for part in command.collect_usage_pieces(context) if part != "[OPTIONS]"]
    yield f"### `{' '.join([context.command_path, *usage])}`\n"
    # A dash that stands alone is an argument; Markdown would take one for the beginning of a list.
    for paragraph in re.sub(r"(?<!\S)-(?=\s)", "`-`", inspect.cleandoc(command.help or "")).split("\n\n"):
        yield f"```\n{paragraph[2:]}\n```\n" if paragraph.startswith("\b") else f"{paragraph}\n"
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden and one.name != "json"]
    if options:
        yield "\n".join(["| option | |\n|---|---|", *(_row(one, context) for one in options)]) + "\n"


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{one}`" for one in option.opts)
    value = "" if option.is_flag else f" `{option.make_metavar(context)}`".replace("|", "\\|")
    default = f" Default: {option.default}." if option.show_default else ""
    return f"| {names}{value} | {option.help}{default} |"


def commands() -> None:
    """Write the reference into commands.md."""
    _write("commands.md", reference())


def lambda_api() -> None:
    """Write the table of operations into lambda-api.md."""
    _write("lambda-api.md", operations())


def _write(document: str, text: str) -> None:
    path = HERE / document
    before, rest = path.read_text().split(BEGIN)
    path.write_text(before + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


def security() -> None:
    """Let every attack loose, as root and as an ordinary user, and write into security.md what came of it."""
    sys.path.insert(0, str(HERE.parent))
    from tests.runtimes.attacks import report

    path = HERE / "security.md"
    before, rest = path.read_text().split(BEGIN)
    path.write_text(before + BEGIN + "\n" + report.page() + "\n" + END + rest.split(END)[1])


def picture() -> None:
    """Draw a run of a new project: a file, a webhook, a failure, a mistake that is saved and mended."""
    from rich.console import Console
    from rich.text import Text

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "demo"
        subprocess.run(
            [sys.executable, "-m", "triggerhub", "init", str(project)], check=True, stdout=subprocess.DEVNULL
        )
        ports = {str(port): str(_free()) for port in (8700, 8701)}
        toml = project / "triggerhub.toml"
        for port, free in ports.items():
            toml.write_text(toml.read_text().replace(f":{port}", f":{free}"))
        drawn = _drawn(project, lambda: _happen(project, ports["8700"]))
    for port, free in ports.items():
        drawn = drawn.replace(f":{free}", f":{port}")
    drawn = drawn.replace(str(project), "/home/you/demo").replace("^C", "").replace("\r\n", "\n").rstrip()
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ triggerhub run", style="bold"))
    console.print(Text.from_ansi(drawn))
    drawing = console.export_svg(title="triggerhub run")
    # A picture loads nothing from elsewhere: whoever looks at it has a fixed-width font.
    (HERE / "run.svg").write_text(re.sub(r"@font-face \{.*?\}\n", "", drawing, flags=re.DOTALL))


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _happen(project: Path, port: str) -> None:
    (project / "inbox" / "report.csv").write_text("a,b\n1,2\n")
    time.sleep(1.5)
    for path in ("/hooks/demo", "/hooks/broken"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", b'{"name": "you"}')
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request).close()
        time.sleep(2.5)
    urllib.request.urlopen(f"http://127.0.0.1:{port}/greet/you").close()
    toml = project / "triggerhub.toml"
    good = toml.read_text()
    for text in (good.replace("schedule =", "schedul  ="), good):
        toml.write_text(text)
        time.sleep(1)


def _drawn(project: Path, happen: Callable[[], None]) -> str:
    """Run a hub on a terminal while *happen* does; return what it drew."""
    process, master = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm-256color"
        os.environ.pop("NO_COLOR", None)
        os.execv(sys.executable, [sys.executable, "-m", "triggerhub", "-C", str(project), "run"])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    drawn = b""
    try:
        while b"Ctrl-C" not in drawn:
            drawn += os.read(master, 65536)
    except OSError:
        raise SystemExit(drawn.decode()) from None
    try:
        happen()
        os.kill(process, signal.SIGINT)
        while select.select([master], [], [], 10)[0]:
            drawn += os.read(master, 65536)
    except OSError:
        pass  # the terminal's other side is closed: the hub has ended
    os.waitpid(process, 0)
    return drawn.decode()


if __name__ == "__main__":
    {"commands": commands, "lambda": lambda_api, "picture": picture, "security": security}[sys.argv[1]]()

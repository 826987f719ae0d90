"""What was a secret once is dots as long as the hub runs."""

from __future__ import annotations

from pathlib import Path

from triggerhub.hub.veil import REMEMBERED, Veil
from triggerhub.settings import Function, HubSettings, Project, Secret


def project(*secrets: str) -> Project:
    env = {f"S{number}": Secret(text) for number, text in enumerate(secrets)}
    functions = {"f": Function(name="f", runtime="python", env=env)}
    return Project(
        hub=HubSettings(project=Path("/p"), handlers=Path("/p/h"), data=Path("/p/v")), functions=functions, triggers={}
    )


def test_a_secret_that_was_replaced_is_one_still() -> None:
    current = project()
    veil = Veil(lambda: current)
    assert veil.text("hunter2 and swordfish") == "hunter2 and swordfish"
    current = project("hunter2")
    assert veil.text("hunter2 and swordfish") == "••• and swordfish"
    current = project("swordfish")
    assert veil.text("hunter2 and swordfish") == "••• and •••"
    assert veil.payload(b'{"t":"hunter2"}') == '{"t":"•••"}'.encode()


def test_so_many_are_remembered_and_those_in_force_always() -> None:
    current = project("the first")
    veil = Veil(lambda: current)
    assert veil.text("the first") == "•••"
    current = project(*(f"secret-{number:05}" for number in range(REMEMBERED + 1)))
    assert veil.text(f"secret-00000 secret-{REMEMBERED:05} the first") == "••• ••• the first"

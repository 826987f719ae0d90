"""Who may open the admin address: what can be written, and that an open address is for this machine alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config.load import load
from triggerhub.policy import password

Check = Callable[..., list[str]]
Make = Callable[..., Path]
HASH = password.hashed("secret", b"0123456789abcdef")
USERS = 'auth = { type = "password", users = { anna = { secret = "ANNA" } } }\n'


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "[::]", "hub.example"])
def test_an_open_address_is_for_this_machine_alone(check: Check, host: str) -> None:
    (line,) = check(f'[hub]\nadmin = "{host}:8701"\n')
    assert line.startswith("triggerhub.toml:2:9: error[open-admin]: hub.admin: others reach ")
    assert check(f'[hub]\nadmin = "{host}:8701"\n[console]\nauth = "token"\n') == []
    (line,) = check(f'[hub]\nadmin = "{host}:8701"\n[console]\n{USERS}')
    assert "error[bad-secret]: console.auth.users.anna" in line, "who asks for a login is not told that nobody is asked"


def test_users_are_read_in_both_forms(make: Make) -> None:
    people = (
        '{ anna = { secret = "ANNA" }, bob = { password = { secret = "ANNA" }, role = "viewer", payloads = false } }'
    )
    project = make(
        '[hub]\nadmin = "0.0.0.0:8701"\n[console]\nhosts = ["Hub.Example"]\n'
        f'auth = {{ type = "password", users = {people} }}\n'
    )
    loaded = load(project, environ={"ANNA": HASH})
    assert loaded.problems == ()
    assert loaded.project is not None
    console = loaded.project.console
    assert (console.auth, console.hosts) == ("password", ("hub.example",))
    assert [(name, one.role, one.payloads) for name, one in console.users.items()] == [
        ("anna", "admin", True), ("bob", "viewer", False),
    ]  # fmt: skip
    assert HASH not in repr(console)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[console]\nauth = "nobody"\n', "error[bad-choice]: console.auth"),
        ('[console]\nauth = { type = "password" }\n', "error[missing-key]: console.auth"),
        ('[console]\nauth = { type = "password", users = {} }\n', "console.auth.users"),
        ("[console]\n" + USERS.replace("anna", '"an na"'), "a user's name has letters"),
        ("[console]\n" + USERS, "error[bad-secret]"),
        ('[console]\nhosts = ["https://hub.example"]\n', "is not the name of a host; write it without scheme and port"),
        ("[console]\nuser = 1\n", 'console has no key "user"'),
    ],
)
def test_what_cannot_be_is_told(check: Check, toml: str, says: str) -> None:
    assert [line for line in check(toml) if says in line]


def test_a_password_in_the_place_of_its_hash_is_refused_and_not_shown(make: Make) -> None:
    loaded = load(make("[console]\n" + USERS), environ={"ANNA": "hunter2"})
    (problem,) = loaded.problems
    assert "expected a hash as `triggerhub hash-password` prints it; a password itself is not taken" in str(problem)
    assert "hunter2" not in str(problem)

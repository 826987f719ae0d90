"""Secrets are found by reference, and shown nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config.load import load, render
from triggerhub.config.secrets import SecretNotFoundError, Secrets
from triggerhub.settings import Secret

VALUE = "hunter2-hunter2"


def kept(folder: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_the_environment_comes_first_then_credentials_then_the_data_folder(tmp_path: Path) -> None:
    data, credentials = tmp_path / "var", tmp_path / "credentials"
    kept(data / "secrets", "A", b"of the folder")
    environ: dict[str, str] = {}

    def found() -> str:
        return Secrets(tmp_path, data, environ).resolve({"secret": "A"}).reveal()

    assert found() == "of the folder"
    kept(credentials, "A", b"of systemd\n", 0o440)
    environ["CREDENTIALS_DIRECTORY"] = str(credentials)
    assert found() == "of systemd"
    environ["A"] = "of the environment"
    assert found() == "of the environment"


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), (b"", ""), (b"\xc3\xbc", "ü")],
)
def test_only_an_editors_last_newline_is_left_out(tmp_path: Path, content: bytes, value: str) -> None:
    kept(tmp_path, "secret", content)
    assert Secrets(tmp_path, tmp_path, {}).resolve({"file": "secret"}) == Secret(value)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ({"secret": "GONE"}, "secret GONE is not set"),
        ({"secret": "../x"}, "letters, digits"),
        ({"secret": ".hidden"}, "letters, digits"),
        ({"secret": ""}, "letters, digits"),
        ({"secret": 5}, "a secret is written"),
        ({"secret": "A", "file": "b"}, "a secret is written"),
        ({}, "a secret is written"),
        ({"file": ""}, "a secret is written"),
        ({"file": "gone"}, "gone cannot be read: No such file"),
        ({"file": "folder"}, "folder is not a regular file"),
        ({"file": "large"}, "large is over 64 KB"),
        ({"file": "binary"}, "binary is not UTF-8"),
    ],
)
def test_what_leads_nowhere_is_told(tmp_path: Path, reference: dict[str, object], says: str) -> None:
    (tmp_path / "folder").mkdir()
    kept(tmp_path, "large", b"x" * 65_537)
    kept(tmp_path, "binary", b"\xff" + VALUE.encode())
    with pytest.raises(SecretNotFoundError, match=says) as caught:
        Secrets(tmp_path, tmp_path / "var", {}).resolve(reference)
    assert VALUE not in f"{caught.value!r}{caught.value.hint}"


def test_a_file_that_others_may_read_is_a_warning_at_the_reference(make: Callable[..., Path]) -> None:
    project = make('[functions.echo]\nenv = { A = { secret = "TOKEN" }, B = { secret = "SAFE" } }\n')
    kept(project / "var" / "secrets", "TOKEN", VALUE.encode(), 0o644)
    kept(project / "var" / "secrets", "SAFE", VALUE.encode(), 0o600)
    loaded = load(project, environ={})
    assert [str(problem) for problem in loaded.problems] == [
        (
            "triggerhub.toml:2:13: warning[exposed-secret]: var/secrets/TOKEN may be read by others than its owner; "
            "chmod 0600 it"
        )
    ]
    assert loaded.project is not None
    assert VALUE not in repr(loaded)


@pytest.mark.parametrize(
    "toml",
    [
        pytest.param(f'token = "{VALUE}"\n', id="a text where a reference belongs"),
        pytest.param(f'token = ["{VALUE}"]\n', id="a list"),
        pytest.param(f'token = {{ secrt = "{VALUE}" }}\n', id="a misspelt reference"),
        pytest.param(f'token = {{ secret = "A", file = "{VALUE}" }}\n', id="both"),
        pytest.param(f'tokn = "{VALUE}"\n', id="a misspelt key"),
        pytest.param(f'[triggers.w]\ntype = "webhook"\npath = "/x"\nfunction = "echo"\nauth = "{VALUE}"\n', id="auth"),
        pytest.param(
            '[triggers.w]\ntype = "webhook"\npath = "/x"\nfunction = "echo"\n'
            f'auth = {{ type = "github", secret = "{VALUE}" }}\n',
            id="a signing secret",
        ),
        pytest.param(
            '[triggers.w]\ntype = "webhook"\npath = "/x"\nfunction = "echo"\n'
            f'auth = {{ type = "basic", username = 5, password = {{ secret = "{VALUE}/" }} }}\n',
            id="a value in place of a name",
        ),
        pytest.param(f'[functions.echo]\nenv = {{ A = ["{VALUE}"] }}\n', id="env"),
        pytest.param(f'[functions.echo]\non_success = ["https://u:{VALUE}@host/x"]\n', id="a URL with a password"),
        pytest.param(f'[functions.echo]\non_success = ["webhook:https://u:{VALUE}@host/x"]\n', id="a destination"),
        pytest.param(f'[hub]\nstore = "postgres://u:{VALUE}@db/x"\n', id="what is not available"),
    ],
)
def test_what_may_be_a_secret_is_never_shown(make: Callable[..., Path], toml: str) -> None:
    project = make('[triggers.t]\ntype = "say"\nword = "x"\nfunction = "echo"\n' + toml)
    loaded = load(project, environ={})
    assert loaded.project is None
    assert VALUE not in render(loaded.problems)
    assert VALUE not in repr(loaded)


def test_a_plain_text_is_told_how_a_reference_is_written(make: Callable[..., Path]) -> None:
    project = make(f'[triggers.t]\ntype = "say"\nword = "x"\nfunction = "echo"\ntoken = "{VALUE}"\n')
    (problem,) = load(project, environ={}).problems
    assert str(problem) == (
        "triggerhub.toml:5:9: error[bad-secret]: triggers.t.token: a secret is written by reference only: "
        '{ secret = "NAME" } or { file = "PATH" }'
    )

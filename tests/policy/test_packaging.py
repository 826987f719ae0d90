"""What of the host's settings a build of dependencies gets."""

from __future__ import annotations

import pytest

from triggerhub.policy import packaging


def test_settings_of_registries_pass_and_nothing_else() -> None:
    environ = {
        "PATH": "/bin",
        "UV_INDEX_URL": "x",
        "HTTPS_PROXY": "p",
        "SECRET": "y",
        "AWS_PROFILE": "z",
        "PIP_USER": "1",
    }
    assert packaging.passed(environ) == {"PATH": "/bin", "UV_INDEX_URL": "x", "HTTPS_PROXY": "p"}


def test_a_build_writes_into_its_room_whatever_the_settings_say() -> None:
    environ = {
        "HOME": "/root",
        "PIP_CACHE_DIR": "/a",
        "npm_config_cache": "/b",
        "UV_CACHE_DIR": "/c",
        "PIP_INDEX_URL": "i",
    }
    given = packaging.enclosed(environ, "/room")
    assert given["PIP_INDEX_URL"] == "i"
    assert "npm_config_cache" not in given
    assert {given[name].startswith("/room/") for name in ("HOME", "TMPDIR", "PIP_CACHE_DIR", "UV_CACHE_DIR")} == {True}
    assert given["NPM_CONFIG_CACHE"].startswith("/room/")


@pytest.mark.parametrize(
    ("environ", "text", "found"),
    [
        ({"PIP_FIND_LINKS": "/opt/wheels"}, "", ("/opt/wheels",)),
        ({"PIP_EXTRA_INDEX_URL": "file:///opt/a%20b/simple https://x.example/simple"}, "", ("/opt/a b/simple",)),
        ({"UV_INDEX": "https://u:p@x.example/root/secret"}, "", ()),
        ({"SSL_CERT_DIR": "/etc/ssl/certs:/usr/share/certs"}, "", ("/etc/ssl/certs", "/usr/share/certs")),
        ({"NODE_EXTRA_CA_CERTS": "/etc/ca.pem"}, "", ("/etc/ca.pem",)),
        ({"PIP_LOG": "/var/log/pip", "UV_CACHE_DIR": "/root/.cache", "HOME": "/root"}, "", ()),
        ({}, "[global]\nfind-links =\n    /a\n    /b/\ntarget = /c\n", ("/a", "/b")),
        ({}, "[global]\nextra-index-url = file:///x/simple file:///y/simple\n", ("/x/simple", "/y/simple")),
        ({}, "cafile=/etc/npm.pem\nprefix=/home/me/.npm\n//r.example/:_authToken=/x\n", ("/etc/npm.pem",)),
        ({}, '[[index]]\nurl = "file:///srv/simple"\n', ("/srv/simple",)),
        ({}, 'find-links = ["/srv/a", "./b"]\n', ("/srv/a",)),
        ({}, "# cert = /etc/x\ncert = /etc/y\n", ("/etc/y",)),
    ],
)
def test_a_path_is_named_where_an_index_or_a_certificate_is(
    environ: dict[str, str], text: str, found: tuple[str, ...]
) -> None:
    assert packaging.named(environ, [text]) == found


def test_files_that_variables_name() -> None:
    environ = {"PIP_CONFIG_FILE": "/a", "npm_config_userconfig": "/b", "NETRC": "relative", "UV_INDEX": "/c"}
    assert packaging.files(environ) == {"PIP_CONFIG_FILE": "/a", "npm_config_userconfig": "/b"}

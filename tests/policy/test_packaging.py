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


def test_registries_are_the_public_ones_and_those_that_settings_name() -> None:
    environ = {"PIP_INDEX_URL": "https://me:p%40ss@nexus.corp/simple", "UV_INDEX": "http://localhost:3141/root"}
    texts = ["@mine:registry=https://npm.corp:8443/\n# https://gone.example/\n", "cert = /etc/x\n"]
    found = packaging.registries(environ, texts)
    assert found[:3] == (("pypi.org", 443), ("files.pythonhosted.org", 443), ("registry.npmjs.org", 443))
    assert found[3:] == (("nexus.corp", 443), ("localhost", 3141), ("npm.corp", 8443))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, False), ({"https_proxy": "http://p:3128"}, True), ({"HTTPS_PROXY": ""}, False), ({"NO_PROXY": "x"}, False)],
)
def test_a_proxy_of_the_hosts_own(environ: dict[str, str], expected: bool) -> None:
    assert packaging.proxied(environ) is expected

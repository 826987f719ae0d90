"""Which words settle what a function depends on, whatever else lies in its code."""

from __future__ import annotations

import json
import time

import pytest

from triggerhub.policy import requirement


@pytest.mark.parametrize(
    "text",
    [
        "requests",
        "requests>=2,<3  # for the web",
        "Zope.Interface[docs,testing] ~= 5.4, != 5.4.1",
        "name (>=1,<2)",
        "torch==2.1.0+cu118",
        "x===1.0",
        "x==1.*; python_version < '3.12' and sys_platform == \"linux\"",
        "x @ https://host.example/a/x-1.0-py3-none-any.whl",
        "x@git+https://host.example/a.git@main#subdirectory=sub ; os_name == 'posix'",
        "x==1 \\\n    --hash=sha256:00ff \\\n    --hash=sha256:11aa\ny==2 --hash=sha256:22",
        "# nothing\n\n",
    ],
)
def test_requirements_that_no_file_of_the_code_can_change(text: str) -> None:
    assert requirement.of_python((), text)


@pytest.mark.parametrize(
    "line",
    [
        "mylib-1.0-py3-none-any.whl",
        "MYLIB-1.0-PY3-NONE-ANY.WHL",
        "mylib-1.0-py3-none-any.whl[extra] ; os_name == 'posix'",
        "mylib-1.0.zip",
        "mylib-1.0.tar.gz",
        "mylib.tar.bz2",
        "mylib.tgz",
        "mylib.tar",
        "mylib==1.0+x.zip",
        "mylib == 1.0 + x.zip",
        "sub/mylib",
        "./mylib",
        ".",
        "/srv/mylib",
        "mylib @ ./mylib",
        "mylib @ _lib",
        "mylib @ file:///var/task/_lib",
        "mylib @ file:///${HOME}/../work/_lib",
        "mylib @ https://${HOST}/x.whl",
        "mylib @ ftp://host.example/x.whl",
        "file:mylib",
        "-r more.txt",
        "-e .",
        "--find-links wheels",
        "--index-url https://host.example",
        "mylib --config-settings=a=b",
        "a\x0c-r more.txt",
        "a\u2028-r more.txt",
        "a b",
    ],
)
def test_what_may_lead_to_a_file_of_the_code_is_not_settled(line: str) -> None:
    assert not requirement.of_python((), f"requests\n{line}\nother\n")
    assert not requirement.of_python(("requests", line), "")


SETTLED = (
    "1.2.3", "^1", "~1.2 || >=2 <3.0.0-0", "1.x", "*", "", "latest", "npm:other", "npm:@scope/other@^2",
    "https://host.example/foo.tgz", "git+https://host.example/foo.git#main", "github:who/what#semver:^1",
)  # fmt: skip
LEADING = (
    "foo-1.0.0.tgz", "FOO.TGZ", "foo.tar.gz", "foo.tar", "file:foo", "FILE:foo", "./foo", "../foo", "~/foo", "/foo",
    "a/b/c", "link:../foo", "workspace:*", "git+file:///x", "git+ssh://host/x", "npm:foo/bar", "http://${H}/x",
)  # fmt: skip


@pytest.mark.parametrize(("given", "settled"), [*((one, True) for one in SETTLED), *((one, False) for one in LEADING)])
@pytest.mark.parametrize("table", ["dependencies", "optionalDependencies", "peerDependencies", "devDependencies"])
def test_what_npm_fetches_and_what_it_finds_in_the_code(given: str, settled: bool, table: str) -> None:
    assert requirement.of_node({"name": "x", table: {"foo": given}}, {}) is settled


@pytest.mark.parametrize(
    ("more", "settled"),
    [
        ({"scripts": {"test": "node --test"}, "main": "./index.js", "type": "module"}, True),
        ({"scripts": {"postinstall": "true"}}, False),
        ({"overrides": {"a": "$a", "b": {".": "1", "c": "2"}}}, True),
        ({"overrides": {"a": {"b": "file:evil"}}}, False),
        ({"overrides": {"a": "evil.tgz"}}, False),
        ({"workspaces": ["a"]}, False),
        ({"engines": {"node": ">=18"}, "packageManager": "npm@10.2.0", "browserslist": ["> 1%"]}, True),
        ({"prisma": {"schema": "./db/schema.prisma"}}, False),
    ],
)
def test_the_rest_of_a_package_json(more: dict[str, object], settled: bool) -> None:
    package = {"dependencies": {"a": "1"}, **more}
    assert requirement.of_node(package, {}) is settled
    if settled:
        assert not {"scripts", "main", "type"} & requirement.decisive(package).keys()


@pytest.mark.parametrize(
    ("name", "text", "settled"),
    [
        (".npmrc", "; ours\nregistry=https://r.example/\n@us:registry = https://r.example\naudit=false\n", True),
        (".npmrc", "//r.example/:_authToken=${TOKEN}\n", True),
        (".npmrc", "cache=./cache", False),
        (".npmrc", "script-shell=evil.sh", False),
        (".npmrc", "registry=file:///x", False),
        (".npmrc", "//r.example/:cafile=ca.pem", False),
        ("package-lock.json", {"packages": {"": {}, "node_modules/a": {"resolved": "https://r.example/a.tgz"}}}, True),
        ("package-lock.json", {"packages": {"node_modules/a": {"bin": {"a": "./bin/a"}}}}, True),
        ("package-lock.json", {"packages": {"node_modules/a": {"resolved": "file:a.tgz"}}}, False),
        ("package-lock.json", {"packages": {"node_modules/a": {"resolved": "lib/a", "link": True}}}, False),
        ("npm-shrinkwrap.json", {"dependencies": {"a": {"version": "file:a"}}}, False),
        ("npm-shrinkwrap.json", "no json", False),
    ],
)
def test_what_npm_reads_beside_it(name: str, text: object, settled: bool) -> None:
    said = text if isinstance(text, str) else json.dumps(text)
    assert requirement.of_node({"dependencies": {"a": "1"}}, {name: said}) is settled


@pytest.mark.parametrize(
    "text",
    [
        " " * 200_000 + "x",
        "x" + " " * 200_000 + "y",
        "x==" + "!=" * 100_000,
        "x[" + "," * 200_000,
        "x" + "==1," * 50_000,
    ],
)
def test_a_hostile_requirement_is_read_in_no_time(text: str) -> None:
    begun = time.monotonic()
    requirement.of_python((), text)
    requirement.of_node({"dependencies": {"a": text}}, {".npmrc": text})
    assert time.monotonic() - begun < 2

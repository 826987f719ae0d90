from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.rig import Echo, route
from triggerhub.errors import ConfigError
from triggerhub.web.routing import Found, Table

ECHO = Echo()


def table(*paths: str) -> Table:
    made = Table()
    made.add(route(ECHO, path) for path in paths)
    return made


@pytest.mark.parametrize(
    ("raw", "path", "params"),
    [
        pytest.param("/a/b", "/a/b", {}, id="literal"),
        pytest.param("/a/c", "/a/{x}", {"x": "c"}, id="pattern"),
        pytest.param("/z/b", "/{y}/b", {"y": "z"}, id="pattern in front"),
        pytest.param("/%61/b", "/a/b", {}, id="literal, needlessly encoded"),
        pytest.param("/a/%C3%BC", "/a/{x}", {"x": "ü"}, id="encoded part"),
        pytest.param("/a/1%2F2", "/a/{x}", {"x": "1/2"}, id="an encoded slash stays within its part"),
        pytest.param("/a%2Fb", None, {}, id="an encoded slash is no separator"),
        pytest.param("/a/%2e%2e", None, {}, id="an encoded dot segment"),
        pytest.param("/a/..", None, {}, id="a dot segment"),
        pytest.param("/a/", None, {}, id="a slash too many"),
        pytest.param("//a/b", None, {}, id="two slashes"),
        pytest.param("/A/b", "/{y}/b", {"y": "A"}, id="case matters"),
    ],
)
def test_a_path_finds_its_route(raw, path, params):
    found = table("/a/b", "/a/{x}", "/{y}/b").find("POST", raw)
    assert (found.route.path if found.route else None, dict(found.params)) == (path, params)


def test_a_method_may_be_found_in_a_less_literal_pattern():
    made = Table()
    made.add([route(ECHO, "/a/{x}", ("POST",)), route(ECHO, "/{y}/{x}", ("PUT",))])
    assert made.find("PUT", "/a/b").params == {"y": "a", "x": "b"}
    assert made.find("GET", "/a/b").allow == ("POST", "PUT")


def test_a_method_that_a_literal_path_has_not_may_be_found_in_a_pattern():
    made = Table()
    made.add([route(ECHO, "/a/b", ("POST",)), route(ECHO, "/a/{x}", ("GET",))])
    for raw in ("/a/b", "/a/%62"):
        assert made.find("GET", raw).params == made.find("HEAD", raw).params == {"x": "b"}
        assert made.find("PUT", raw).allow == ("POST", "GET", "HEAD")


def test_each_method_of_a_pattern_has_its_own_names():
    made = Table()
    made.add([route(ECHO, "/a/{x}", ("GET",)), route(ECHO, "/a/{y}", ("POST",))])
    assert (made.find("GET", "/a/1").params, made.find("POST", "/a/1").params) == ({"x": "1"}, {"y": "1"})


def test_nothing_with_parts_takes_what_answers_all_below():
    made = table("/_url/*", "/{x}/{y}/{z}")
    assert made.find("POST", "/_url/id/path").params == {}
    assert made.find("POST", "/a/id/path").params == {"x": "a", "y": "id", "z": "path"}


def test_a_path_is_shared_by_methods_and_freed_one_by_one():
    made = Table()
    posting, getting = route(ECHO, "/a", ("POST",)), route(ECHO, "/a", ("GET",))
    made.add([posting, getting])
    made.remove([posting])
    assert made.find("POST", "/a").vacated is posting
    made.forget([posting])
    assert made.find("POST", "/a").allow == ("GET", "HEAD")
    made.remove([getting])
    assert made.find("HEAD", "/a").vacated is getting
    made.forget([getting])
    assert made.find("HEAD", "/a") == Found()


def test_what_was_removed_keeps_its_place_from_what_is_less_literal_until_it_is_forgotten():
    made = table("/{x}")
    gone, back = route(ECHO, "/a"), route(ECHO, "/a")
    made.add([gone])
    made.remove([gone])
    assert made.find("POST", "/a") == Found(vacated=gone)
    made.add([back])
    made.remove([back])
    made.forget([gone])
    assert made.find("POST", "/a") == Found(vacated=back), "the first of two ends forgets not the second"
    made.forget([back])
    assert made.find("POST", "/a").params == {"x": "a"}
    made.remove([route(ECHO, "/{x}")])
    made.add([back])
    assert made.find("POST", "/a").route is back, "what is less literal and gone takes no place from what serves"


def test_of_routes_that_collide_none_is_added():
    made = table("/a")
    with pytest.raises(ConfigError, match="already served"):
        made.add([route(ECHO, "/b/{x}"), route(ECHO, "/a")])
    assert made.find("POST", "/b/1").route is None


def test_a_path_that_is_none_is_a_config_error():
    with pytest.raises(ConfigError, match="starts with a slash"):
        table("a")


@given(st.lists(st.sampled_from(["/a", "/a/{x}", "/{x}/b", "/a/b"]), unique=True))
def test_removing_all_leaves_nothing(paths):
    routes = [route(ECHO, path) for path in paths]
    made = Table()
    made.add(routes)
    made.remove(routes)
    made.forget(routes)
    for raw in ("/a", "/a/b", "/z/b", "/a/z"):
        found = made.find("POST", raw)
        assert found == Found()

"""The templates: each is compiled with all that it is made of before its first page, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import meta

from triggerhub.web.console import render

NAMES = [path.name for path in (Path(render.__file__).parent / "templates").iterdir()]


def made_of(name: str) -> set[str]:
    """A template and those that it names, as the engine itself reads them."""
    made = render.environment()
    assert made.loader is not None
    tree = made.parse(made.loader.get_source(made, name)[0])
    return {name}.union(*(made_of(one) for one in meta.find_referenced_templates(tree) if one))


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_prepared_with_all_that_it_is_made_of(name: str) -> None:
    render.prepare(name)
    assert all(map(render.ready, made_of(name)))


def test_templates_are_those_of_the_hubs_start_whatever_takes_their_place() -> None:
    told = (
        "from triggerhub.web.console import render\n"
        "render.sources(); render.resources = None; render.prepare('overview.html'); print(render.ready('page.html'))"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_page_waits_for_its_own_templates_alone_and_a_hub_without_visitors_has_no_engine() -> None:
    told = (
        "import sys; from triggerhub import app; from triggerhub.web.console import render\n"
        "assert 'jinja2' not in sys.modules; render.prepare('overview.html')\n"
        "print(*sorted(render.environment().list_templates(filter_func=render.ready)))"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["attention.html", "cards.html", "overview.html", "page.html"]

"""The site: every page has its place, every link an end, every error a cure that exists."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayz.api.schemas.errors import SAMPLES
from gatewayz.local.mount import load_modules
from tests.docs.site.build import (
    GENERATED,
    HERE,
    ROOT,
    cli_page,
    error_help,
    features,
    lay_pages,
    old_routes,
    questions,
)

LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s]+)\)")
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_pages(tmp_path_factory.mktemp("site"))


def _nav(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values():
                yield from _nav(inner)


def test_every_page_stands_in_the_navigation_and_every_entry_is_a_page(pages: Path) -> None:
    text = (HERE / "mkdocs.yml").read_text().replace("!!python/name:", "")
    listed = list(_nav(yaml.safe_load(text)["nav"]))
    found = {str(path.relative_to(pages)) for path in pages.rglob("*.md")}
    assert sorted(listed) == sorted(found)


def test_every_link_between_pages_has_an_end(pages: Path) -> None:
    broken = [
        f"{page.relative_to(pages)}: {target}"
        for page in pages.rglob("*.md")
        for target in LINK.findall(page.read_text())
        if not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def test_a_cure_is_written_for_errors_that_exist() -> None:
    assert error_help().keys() - SAMPLES.keys() == set()
    for told in error_help().values():
        assert told.keys() == {"cause", "cure"}


def _routes() -> set[str]:
    """`METHOD path` of every route that the functions answer, staff's included."""
    found = set()
    for _, module in load_modules("app"):
        for route in getattr(module.app, "routes", ()):
            found |= {f"{method} {route.path}" for method in getattr(route, "methods", None) or ()}
        if not hasattr(module.app, "routes"):
            found |= {f"POST {path}" for path in module.ROUTES}
    return found


def _commands() -> set[str]:
    lines = cli_page().splitlines()
    return {line.removeprefix("## ") for line in lines if line.startswith("## gatewayz")}


def test_every_command_that_a_page_names_exists() -> None:
    known = _commands()
    groups = {command.rsplit(" ", 1)[0] for command in known}
    for page in (ROOT / "docs").rglob("*.md"):
        for named in re.findall(r"`gatewayz ([a-z][a-z ]*[a-z])", page.read_text()):
            words = ["gatewayz", *named.split()]
            command = " ".join(words[: 3 if " ".join(words[:2]) in groups else 2])
            assert command in known, f"{page.name}: {command}"


def test_every_feature_has_a_place_that_exists_and_a_test_that_exists() -> None:
    known = _routes() | _commands()
    numbers = [each["number"] for each in features() if "number" in each]
    assert numbers == list(range(1, 57))
    for each in features():
        assert each["title"]
        if each.keys() >= {"number", "why"}:
            assert each["why"]
            assert "where" not in each
            continue
        assert each["where"] in known, each
        file, _, name = each["test"].partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.M), each


def test_every_route_of_the_older_system_has_its_fate() -> None:
    known = _routes()
    for method, path, fate, now in old_routes():
        assert fate in ("same", "successor", "dropped"), path
        assert now
        assert (fate == "dropped") == (now not in known), (method, path, now)


def test_no_route_that_the_older_system_had_is_left_out() -> None:
    facts = ROOT.parent / "shared" / "spec" / "behaviour.md"
    if not facts.exists():
        pytest.skip("the facts about the older system are not here")
    text = facts.read_text().partition("## 2. Public endpoints")[2]
    text = text.partition("## 3. Data model")[0]
    listed = {re.sub(r"\{[^}]*\}", "{}", path).rstrip("/") for _, path, _, _ in old_routes()}
    spoken = re.findall(
        r"(?:GET|POST|PUT|DELETE|PATCH)(?:/(?:GET|POST|PUT))? `(/[\w/{}.-]+)`", text
    )
    gone = {re.sub(r"\{[^}]*\}", "{}", path).rstrip("/") for path in spoken} - listed
    # A path that is told relative to the one before it, or below a mount.
    assert {p for p in gone if not any(known.endswith(p) for known in listed)} == set()


def test_twenty_questions_have_an_answer_with_a_place() -> None:
    assert len(questions()) >= 20


def test_every_concept_has_one_picture(pages: Path) -> None:
    for page in (pages / "concepts").glob("*.md"):
        assert page.read_text().count("```mermaid") == 1, page.name


def test_generated_pages_are_in_no_folder_of_the_repository() -> None:
    """Written by hand or by the code, never both."""
    assert [name for name in GENERATED if (ROOT / "docs" / name).exists()] == []


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    if not MKDOCS.exists():
        pytest.skip("make docs installs the tool that builds it")
    python = f"{ROOT}/.venv/bin/python"
    command = [python, "-m", "tests.docs.site.build", str(tmp_path), str(MKDOCS)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (tmp_path / "html" / "concepts" / "money" / "index.html").exists()

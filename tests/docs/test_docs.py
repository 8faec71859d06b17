"""What the README and the docs say is run here, as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Document, Region
from sybil.parsers.markdown import CodeBlockParser

from gatewayz.catalog.load import load_catalog
from gatewayz.core.settings import CatalogSettings, describe_settings
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = ROOT / "docs" / "configuration.md"
LOCAL = "http://127.0.0.1:8000"


def blocks(page: Path, language: str) -> list[Region]:
    parser = CodeBlockParser(language, lambda example: None)
    document = Document.parse(str(page), parser)
    return [region.parsed for region in document]  # type: ignore[misc]


def all_blocks(language: str) -> list[tuple[str, str]]:
    return [(page.name, str(text)) for page in PAGES for text in blocks(page, language)]


async def run(command: list[str], text: str, world: World) -> str:
    account = await world.account()
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAYZ_API_KEY": account.key,
        "OPENAI_API_KEY": account.key,
    }
    done = subprocess.run(
        [*command, text.replace(LOCAL, world.url)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("page", "text"), all_blocks("sh"))
async def test_every_shell_block_works_as_written(world: World, page: str, text: str) -> None:
    output = await run(["bash", "-euo", "pipefail", "-c"], text, world)
    assert output
    assert '"error"' not in output


@pytest.mark.parametrize(("page", "text"), all_blocks("python"))
async def test_every_python_block_works_as_written(
    world: World, client_python: str, page: str, text: str
) -> None:
    assert "Gatewayz sandbox" in await run([client_python, "-c"], text, world)


def test_there_are_blocks_to_run() -> None:
    assert len(all_blocks("sh")) >= 2
    assert len(all_blocks("python")) >= 1


def test_every_make_target_that_is_named_exists() -> None:
    files = (ROOT / "Makefile", ROOT / "tests/release/release.mk")
    makefile = "".join(file.read_text() for file in files)
    for page, text in all_blocks("console"):
        for line in text.splitlines():
            if line.startswith("make "):
                assert f"\n{line.split()[1]}:" in makefile, (page, line)


def test_the_configuration_table_is_what_the_settings_are() -> None:
    written = SETTINGS.read_text().partition("<!-- settings -->\n")[2]
    written = written.partition("<!-- /settings -->")[0]
    assert written == settings_table(), "run: python -m tests.docs.test_docs"


def test_the_readme_counts_models_and_providers_rightly() -> None:
    providers, catalog = load_catalog(CatalogSettings())
    hosted = [provider for provider in providers.values() if not provider.local]
    said = f"{len(catalog.models())} models of {len(hosted)} providers"
    assert said in (ROOT / "README.md").read_text()


def test_the_example_of_a_provider_file_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [example] = blocks(ROOT / "README.md", "toml")
    file = tmp_path / "providers.toml"
    file.write_text(str(example))
    monkeypatch.setenv("ACME_API_KEY", "secret")
    _, catalog = load_catalog(CatalogSettings(providers_file=str(file)))
    assert [offer.id for offer in catalog.servable("acme/one")] == ["acme/one-large"]


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for row in describe_settings():
        default = "*secret*" if row.secret else f"`{row.default}`" if row.default else ""
        rows.append(f"| `{row.env}` | {default} | {row.doc} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    head, _, rest = SETTINGS.read_text().partition("<!-- settings -->\n")
    tail = rest.partition("<!-- /settings -->")[2]
    SETTINGS.write_text(f"{head}<!-- settings -->\n{settings_table()}<!-- /settings -->{tail}")
    sys.stdout.write(f"{SETTINGS.name} written\n")

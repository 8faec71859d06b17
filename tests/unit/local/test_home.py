"""Which folder a command takes for the local stack's."""

from pathlib import Path

import pytest

from gatewayz.core.settings import load_settings
from gatewayz.local import home
from gatewayz.local.home import Home


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a home, and another folder to call from."""
    path = tmp_path / "checkout"
    (path / ".gatewayz").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(home, "CHECKOUT", path)
    monkeypatch.chdir(elsewhere)
    return path


def test_from_another_folder_it_is_the_checkouts(checkout: Path) -> None:
    assert Home.of(load_settings({})).path == checkout / ".gatewayz"


def test_a_home_of_the_folder_itself_comes_first(checkout: Path) -> None:
    Path(".gatewayz").mkdir()
    assert Home.of(load_settings({})).path == Path.cwd() / ".gatewayz"


def test_a_home_that_is_named_is_the_one(checkout: Path) -> None:
    named = {"GATEWAYZ_HOME": str(checkout / "other")}
    assert Home.of(load_settings(named)).path == checkout / "other"

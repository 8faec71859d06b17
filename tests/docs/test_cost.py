"""docs/cost.md says what the measurements and the prices say, and where each is from."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import cost
from gatewayz.core.settings import CreditSettings

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "bench" / name).read_text())
    return loaded


def test_the_page_is_what_the_figures_give() -> None:
    assert cost.PAGE.read_text() == cost.render(), "run: python bench/cost.py"


def test_every_measurement_has_a_date_and_its_conditions() -> None:
    for name, row in load("measurements.json").items():
        assert row["date"].startswith("20"), name
        assert len(row["conditions"]) > 40, name


def test_every_price_has_a_source_a_date_and_says_if_nobody_read_it() -> None:
    for name, row in load("prices.json").items():
        assert row["usd"] > 0, name
        assert row["per"] and row["source"] and row["date"].startswith("20"), name
        assert row["read"] or "not re-verified" in row["source"], name


def test_the_checkpoints_counted_are_those_of_the_default_settings() -> None:
    defaults = CreditSettings()
    assert defaults.checkpoint_s == cost.CHECKPOINT_S
    assert defaults.checkpoint_chunks == cost.CHECKPOINT_CHUNKS
    # 101 chunks in a second: the hold, its end and one checkpoint.
    measured = load("measurements.json")["ours"]
    assert measured["redis_per_stream_of_101"] == measured["redis_per_request"] + 101 // 64


@pytest.mark.parametrize("platform", cost.PLATFORMS)
def test_a_longer_answer_never_costs_less(platform: str) -> None:
    for product in (cost.OURS, cost.LITELLM):
        totals = [cost.total(platform, product, s, 0) for s in cost.ANSWERS_S]
        assert totals == sorted(totals)


def test_lambda_by_hand() -> None:
    """256 MB for 10 s are 2.5 GB-seconds, of which a million cost 41.67 dollars."""
    parts = cost.on_lambda(cost.OURS, 10)
    assert parts["requests"] == 0.20
    assert 41.67 < parts["compute"] < 41.67 * 1.05
    assert parts["queue"] == pytest.approx(0.48)

"""Prices from files are exact or not used; entries are whole or refused."""

import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.entries import price_of, price_version
from gatewayz.catalog.load import load_catalog
from gatewayz.catalog.model import Catalog
from gatewayz.core.settings import CatalogSettings
from gatewayz.providers.tables import TableError
from gatewayz.stores.secrets import Secrets

Load = Callable[[str], Catalog]

GROQ = 'id = "acme/one"\nprovider = "groq"\nnative_id = "One"\n'


class KeyRing(Secrets):
    """Has the credentials of `names` only."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def find(self, name: str) -> str | None:
        return "secret" if name in self._names else None


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str) -> Catalog:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        settings = CatalogSettings(providers_file=str(path))
        return load_catalog(settings, KeyRing("GROQ_API_KEY", "MINE_API_KEY"))[1]

    return from_text


def test_a_price_is_read_exactly_as_it_is_written(load: Load) -> None:
    catalog = load(f'[[models]]\n{GROQ}input = 0.1\noutput = "0.000000003"\ncache_read = 0.07\n')
    (offer,) = catalog.servable("acme/one")
    assert offer.price is not None
    assert offer.price.nanos_per_million == {
        "input": 100_000_000,
        "output": 3,
        "cache_read": 70_000_000,
    }


@given(st.dictionaries(st.sampled_from(["input", "output"]), st.integers(1, 10**12), min_size=2))
def test_any_whole_number_of_nano_dollars_survives_the_file(nanos: dict[str, int]) -> None:
    price = price_of({name: Decimal(value) / 10**9 for name, value in nanos.items()})
    assert price.nanos_per_million == nanos


def test_a_version_names_the_prices_and_nothing_else() -> None:
    one = price_of({"input": "0.5", "output": 2})
    same = price_of({"output": Decimal("2.0"), "input": Decimal("0.50")})
    other = price_of({"input": "0.5", "output": "2.000000001"})
    assert one.version == same.version != other.version
    # Pinned: charges of years ago name it.
    assert one.version == "p1-023eae298ab732d9"
    assert price_version(one.nanos_per_million) == one.version


@pytest.mark.parametrize(
    ("prices", "problem"),
    [
        ("input = 0.0000000001\noutput = 1", "finer than a nano-dollar"),
        ('input = "1/3"\noutput = 1', "not a number"),
        ('input = "nan"\noutput = 1', "not a sane price"),
        ("input = nan\noutput = 1", "not a sane price"),
        ("input = -1\noutput = 1", "not a sane price"),
        ("input = 1\noutput = 1001", "above 1000 USD"),
        ("input = 0\noutput = 1", "input is 0 without free"),
        ("input = 1\noutput = 1\ncache_read = 0", "cache_read is 0 without free"),
        ("input = 1\noutput = 1\ncache_read = 2", "cache_read is dearer"),
        ("input = 1", "input and output must both be known"),
        ("free = true\ninput = 1\noutput = 1", "declared free, but priced"),
    ],
)
def test_a_price_that_cannot_be_billed_is_quarantined_with_a_warning(
    load: Load,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    prices: str,
    problem: str,
) -> None:
    monkeypatch.setattr(logging.getLogger("gatewayz"), "propagate", True)
    catalog = load(f"[[models]]\n{GROQ}{prices}\n")
    (offer,) = catalog.offers("acme/one")
    assert offer.price is None
    assert not offer.servable
    assert catalog.servable("acme/one") == ()
    (record,) = [r for r in caplog.records if r.getMessage() == "price_quarantined"]
    fields = record.__dict__["fields"]
    assert problem in fields["problem"]
    assert (fields["offer"], fields["file"]) == ("groq/One", "mine.toml")


def test_an_offer_without_a_price_is_loaded_but_never_served(load: Load) -> None:
    catalog = load(f"[[models]]\n{GROQ}")
    assert [offer.price for offer in catalog.offers("acme/one")] == [None]
    assert catalog.servable("acme/one") == ()


def test_price_0_must_be_declared(load: Load) -> None:
    (offer,) = load(f"[[models]]\n{GROQ}free = true\n").servable("acme/one")
    assert offer.price is not None
    assert offer.price.of("input") == offer.price.of("output") == offer.price.of("reasoning") == 0


def test_an_operators_provider_and_models_work_together(load: Load) -> None:
    catalog = load(
        '[mine]\nname = "Mine"\ndialect = "openai_chat"\nbase_url = "https://m.example/v1"\n'
        'credential = "MINE_API_KEY"\n'
        '[[models]]\nid = "acme/two"\nname = "Two"\ncreated = "2026-01-02"\ncontext = 8192\n'
        'max_output = 1024\nprovider = "mine"\nnative_id = "Two-Instruct"\ninput = 1\noutput = 2\n'
        'reasons = true\nchecked = "2026-05-06"\nsource = "contract"\n'
    )
    model = catalog.find("acme/two")
    assert model is not None
    assert (model.name, model.created_s, model.context_tokens) == ("Two", 1_767_312_000, 8192)
    (offer,) = catalog.servable("acme/two")
    assert (offer.id, offer.native_id, offer.reasons) == ("mine/Two-Instruct", "Two-Instruct", True)
    assert (offer.checked, offer.source, offer.max_output_tokens) == (
        "2026-05-06",
        "contract",
        1024,
    )


def test_an_operators_price_replaces_the_bundled_one_in_place(load: Load) -> None:
    before = load("").offers("openai/gpt-oss-120b")
    after = load(
        '[[models]]\nid = "openai/gpt-oss-120b"\nprovider = "groq"\n'
        'native_id = "openai/gpt-oss-120b"\ninput = 9\noutput = 9\n'
    ).offers("openai/gpt-oss-120b")
    assert [o.id for o in before] == [o.id for o in after]
    assert after[0].price is not None
    assert after[0].price.of("input") == 9 * 10**9
    assert after[1:] == before[1:]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[models]]\nname = 'x'\n", "[models #1] id: is missing"),
        ('[[models]]\nid = "bad id"\n', "[models #1] id: 'bad id' is not of the form"),
        ('[[models]]\nid = "a/b"\n', "[a/b] provider: is missing"),
        ('[[models]]\nid = "a/b"\nprovider = "groq"\n', "[a/b] native_id: is missing"),
        (f"[[models]]\n{GROQ}inptu = 1\n", "[acme/one] inptu: unknown key; known are"),
        (f"[[models]]\n{GROQ}input = true\n", "[acme/one] input: must be a number"),
        (f"[[models]]\n{GROQ}context = 1.5\n", "[acme/one] context: must be a whole number"),
        (f"[[models]]\n{GROQ}context = 0\n", "[acme/one] context: must be above 0"),
        (f'[[models]]\n{GROQ}created = "2026-02-30"\n', "[acme/one] created: '2026-02-30' is no"),
        (f'[[models]]\n{GROQ}checked = "May"\n', "[acme/one] checked:"),
        (f"[[models]]\n{GROQ}[[models]]\n{GROQ}", "'groq/One' is offered twice"),
        ('[[models]]\nid = "a/*"\nprovider = "groq"\nnative_id = "x"\n', "needs a * exactly when"),
        ('[[models]]\nid = "a/b"\nprovider = "nobody"\nnative_id = "x"\n', "'nobody' is not"),
        ("[models]\nid = 1\n", "models must be written as [[models]]"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_refused_with_one_line(load: Load, text: str, complaint: str) -> None:
    with pytest.raises(TableError) as refused:
        load(text)
    assert str(refused.value).startswith("mine.toml: ")
    assert complaint in str(refused.value)

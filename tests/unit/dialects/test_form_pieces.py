"""The small parts that all dialects share: seals, names, media, budgets, sizes."""

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.dialects.envelope import Sealed, seal, unseal
from gatewayz.dialects.generation import EFFORTS, GenerationRequest, Reasoning
from gatewayz.dialects.media import addresses, read_source, sniff, with_bytes
from gatewayz.dialects.names import safe_id, safe_name
from gatewayz.dialects.parts import File, Image, Message, Source, Text, ToolResult
from gatewayz.dialects.reasoning import budget_of, effort_of
from gatewayz.dialects.registry import CLIENTS
from gatewayz.dialects.size import prompt_tokens

maybe_text = st.none() | st.text()


@given(st.text(), maybe_text, maybe_text, maybe_text)
def test_a_sealed_text_is_base64_and_gives_back_what_was_put_in(
    origin: str, signature: str | None, identity: str | None, call_id: str | None
) -> None:
    sealed = Sealed(origin, signature, identity, call_id)
    text = seal(sealed)
    assert base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    assert unseal(text) == sealed


@given(st.text() | st.binary().map(lambda raw: "Z3cxO" + base64.b64encode(raw).decode()))
def test_every_other_text_is_not_taken_for_a_seal(text: str) -> None:
    assert unseal(text) is None or seal(unseal(text)) == text  # type: ignore[arg-type]


@given(st.text(min_size=1), st.integers(20, 128))
def test_names_and_ids_fit_and_are_always_the_same(text: str, limit: int) -> None:
    for fitted in (safe_name(text, limit=limit), safe_id(text, limit=max(limit, 32))):
        assert re.fullmatch(r"[A-Za-z0-9_-]+", fitted)
    assert safe_name(text, limit=limit) == safe_name(text, limit=limit)
    assert len(safe_name(text, limit=limit)) <= limit
    assert safe_id(safe_id(text)) == safe_id(text)


def test_different_names_stay_different() -> None:
    assert len({safe_name(name) for name in ("a.b", "a b", "a/b", "a_b")}) == 4


@pytest.mark.parametrize(
    ("url", "kind", "mime"),
    [
        ("https://example.com/a.png", "url", None),
        ("data:image/PNG;base64,AAAA", "data", "image/png"),
        ("data:text/plain;charset=utf-8;base64,AAAA", "data", "text/plain"),
        ("data:;base64,iVBORw0KGgoAAAANSUhEUg==", "data", "image/png"),
        ("data:text/plain,hello", "url", None),
    ],
)
def test_a_data_url_is_its_bytes(url: str, kind: str, mime: str | None) -> None:
    source = read_source(url)
    assert (source.kind, source.mime) == (kind, mime)


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_a_type_is_known_by_its_first_bytes(head: bytes, mime: str | None) -> None:
    assert sniff(base64.b64encode(head).decode()) == mime


def test_addresses_are_found_in_results_too_and_replaced_by_what_was_fetched() -> None:
    picture = Image(Source("url", "https://example.com/a.png"), "high")
    other = Image(Source("url", "https://example.com/b.png"))
    file = File(Source("url", "https://example.com/c.pdf"), "c")
    request = GenerationRequest(
        "openai_chat",
        "m",
        (
            Message("user", (Text("?"), picture, file)),
            Message("tool", (ToolResult("c", (other, picture)),)),
        ),
    )
    found = addresses(request, (Image,))
    assert found == ("https://example.com/a.png", "https://example.com/b.png")
    fetched = {url: Source("data", "AAAA", "image/png") for url in found}
    full = with_bytes(request, fetched)
    assert addresses(full, (Image,)) == ()
    assert full.messages[0].parts[1] == Image(Source("data", "AAAA", "image/png"), "high")
    assert full.messages[0].parts[2] == file


@pytest.mark.parametrize("effort", EFFORTS[1:])
def test_a_budget_fits_into_the_answer_or_there_is_none(effort: str) -> None:
    for limit in (1, 2047, 2048, 8192, 100_000):
        budget = budget_of(Reasoning(effort), limit)
        assert budget is None if limit < 2048 else budget is not None
        if budget is not None:
            assert 1024 <= budget <= limit - 1024


def test_budgets_and_efforts_mean_each_other() -> None:
    for effort in ("low", "medium", "high"):
        budget = budget_of(Reasoning(effort), 10**6)
        assert effort_of(Reasoning(budget_tokens=budget)) == effort
    assert effort_of(Reasoning(mode="off")) == "none"
    assert effort_of(Reasoning(mode="on")) == "medium"
    assert effort_of(Reasoning(mode="adaptive")) is None
    assert effort_of(Reasoning(budget_tokens=50_000)) == "xhigh"


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"model": "m", "messages": [{"role": "user", "content": "word " * 100}]}),
        (
            "anthropic",
            {
                "model": "m",
                "max_tokens": 5,
                "system": "word " * 100,
                "messages": [{"role": "user", "content": "?"}],
            },
        ),
    ],
)
def test_a_prompt_is_never_estimated_below_its_words(dialect: str, body: Any) -> None:
    assert 100 <= prompt_tokens(CLIENTS[dialect].decode_request(body)) < 600

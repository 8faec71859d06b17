"""Which offers take what a prompt holds, what must be fetched for them, and where it stands."""

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.model import Model, Offer
from gatewayz.core.errors import InvalidRequest, PayloadTooLarge
from gatewayz.dialects.exchange import PATH_HEADER, QUERY_HEADER, ClientCall
from gatewayz.dialects.media import is_base64
from gatewayz.dialects.parts import Source
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CALLS
from gatewayz.inference import media
from gatewayz.inference.media import CannotTake, embed, takers, to_fetch
from gatewayz.net.egress import Fetched, FetchRefused
from gatewayz.pricing.price import Price
from gatewayz.providers.config import load_providers

ROWS = load_providers()
REPLY = Reply("req_01ARZ3NDEKTSV4RRFFQ69G5FAV", "m")
URL = "https://pictures.example/cat.png"
PNG = b"\x89PNG\r\n\x1a\n" + b"cat"


def chat(*parts: Any) -> ClientCall:
    content = [{"type": "text", "text": "What?"}, *parts]
    return read("openai_chat", {"model": "m", "messages": [{"role": "user", "content": content}]})


def read(dialect: str, body: dict[str, Any]) -> ClientCall:
    path = {PATH_HEADER: "/v1beta/models/m:generateContent", QUERY_HEADER: ""}
    return CALLS[dialect](body, path)


def image(url: str = URL) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def offer(provider: str, *inputs: str, native_id: str = "x") -> Offer:
    price = Price("v", {"input": 1, "output": 1})
    return Offer(
        f"{provider}/{native_id}", "m", provider, native_id, price, input_modalities=inputs
    )


SIGHTED = Model("m", "M", input_modalities=("text", "image"))
BLIND = Model("m", "M")
# The same picture in every protocol, and where it stands there.
PICTURES: dict[str, tuple[dict[str, Any], str]] = {
    "openai_chat": (
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "d", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "tool", "tool_call_id": "d", "content": "2"},
                {"role": "user", "content": [{"type": "text", "text": URL + "?"}, image()]},
            ],
        },
        "messages[4].content[1]",
    ),
    "anthropic": (
        {
            "model": "m", "max_tokens": 9, "system": "s",
            "messages": [{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [
                    {"type": "image", "source": {"type": "url", "url": URL}}]},
            ]}],
        },
        "messages[0].content[0].content[0]",
    ),
    "google": (
        {"contents": [{"role": "user", "parts": [
            {"text": "What?"}, {"fileData": {"fileUri": URL, "mimeType": "image/png"}},
        ]}]},
        "contents[0].parts[1]",
    ),
    "openai_responses": (
        {"model": "m", "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": URL}]},
        ]},
        "input[0].content[0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", PICTURES)
def test_a_part_that_no_offer_takes_is_named_as_its_caller_wrote_it(dialect: str) -> None:
    body, where = PICTURES[dialect]
    call = read(dialect, body)
    assert call.has_media
    with pytest.raises(CannotTake) as refused:
        takers(call, BLIND, (offer("openai"), offer("groq")), ROWS)
    assert refused.value.param == where
    assert refused.value.status == 400


@pytest.mark.parametrize("dialect", PICTURES)
async def test_an_address_is_replaced_by_bytes_in_every_protocol(dialect: str) -> None:
    body, _ = PICTURES[dialect]
    call = read(dialect, body)
    target = offer("aws-bedrock", "text", "image")
    wanted = to_fetch(call, target, ROWS["aws-bedrock"])
    assert [m.source.value for m in wanted] == [URL]
    await embed(Fake({URL: PNG}), call, wanted)  # type: ignore[arg-type]
    assert to_fetch(call, target, ROWS["aws-bedrock"]) == ()
    exchange = call.exchange("bedrock", ROWS["aws-bedrock"].target("x"), REPLY, 9)
    assert base64.b64encode(PNG) in exchange.request.body
    assert b"cat.png" not in exchange.request.body.replace(f"{URL}?".encode(), b"")


@pytest.mark.parametrize("dialect", PICTURES)
async def test_a_caller_of_the_providers_own_protocol_gets_its_request_changed_only_there(
    dialect: str,
) -> None:
    """What is fetched goes into a body that otherwise says what the caller said."""
    body, _ = PICTURES[dialect]
    call = read(dialect, body)
    media_found = list(media.media_of(call.form))
    await embed(Fake({URL: PNG}), call, media_found)  # type: ignore[arg-type]
    row = ROWS["openai"]
    exchange = call.exchange(dialect, row.target("x", dialect=dialect), REPLY, 9)
    sent = exchange.request.body
    assert base64.b64encode(PNG) in sent
    for text in (b"What?", b'"f"', b'"s"'):
        assert (text in sent) == (text.decode() in str(body).replace("'", '"')), text


class Fake:
    """An egress with a few files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    async def fetch(self, url: str) -> Fetched:
        self.asked.append(url)
        if url not in self.files:
            raise FetchRefused("its server answers 404")
        return Fetched("image/png", self.files[url])


def test_a_prompt_of_text_asks_nobody() -> None:
    call = chat({"type": "text", "text": "more"})
    assert not call.has_media
    offers = (offer("openai"), offer("aws-bedrock"))
    assert takers(call, BLIND, offers, ROWS) == offers
    assert to_fetch(call, offers[1], ROWS["aws-bedrock"]) == ()


def test_offers_that_cannot_see_are_left_out_while_others_can() -> None:
    call = chat(image())
    sees, blind, says_nothing = (
        offer("openai", "text", "image"),
        offer("groq", "text"),
        offer("xai"),
    )
    assert takers(call, SIGHTED, (blind, sees, says_nothing), ROWS) == (sees, says_nothing)
    assert takers(call, BLIND, (blind, sees, says_nothing), ROWS) == (sees,)


def test_what_a_server_of_ones_own_takes_nobody_knows_better() -> None:
    mine = offer("ollama")
    assert takers(chat(image()), BLIND, (mine,), ROWS) == (mine,)


def test_every_kind_of_part_is_judged() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    paper = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:;base64,AAAA"}}
    for part, kind in ((image(), "image"), (sound, "audio"), (paper, "file")):
        with pytest.raises(CannotTake, match=f"takes no {kind}"):
            takers(chat(part), BLIND, (offer("openai"),), ROWS)
        takers(chat(part), BLIND, (offer("openai", "text", kind),), ROWS)


@pytest.mark.parametrize(
    ("slug", "native_id", "fetched"),
    [
        ("aws-bedrock", "x", True),
        ("google", "gemini-3-pro", True),
        ("google-vertex", "gemini-3-pro", True),
        ("ollama", "llava", True),
        ("moonshot", "kimi-k3", True),
        ("openai", "gpt-5.4", False),
        ("anthropic", "claude-opus-5", False),
        ("openrouter", "a/b", False),
        ("google-vertex-anthropic", "claude-x", True),
        ("cohere", "command-a", False),
    ],
)
def test_a_picture_is_fetched_for_those_that_take_only_bytes(
    slug: str, native_id: str, fetched: bool
) -> None:
    found = to_fetch(chat(image()), offer(slug, native_id=native_id), ROWS[slug])
    assert bool(found) == fetched


def test_data_and_the_providers_own_files_are_not_fetched() -> None:
    call = chat(image("data:image/png;base64,AAAA"))
    assert to_fetch(call, offer("aws-bedrock"), ROWS["aws-bedrock"]) == ()


async def test_a_file_named_often_is_fetched_once() -> None:
    call, egress = chat(*[image()] * 5), Fake({URL: PNG})
    await embed(egress, call, to_fetch(call, offer("aws-bedrock"), ROWS["aws-bedrock"]))  # type: ignore[arg-type]
    assert egress.asked == [URL]


async def test_what_cannot_be_had_is_named() -> None:
    call = chat(image(), image(URL + "2"))
    wanted = to_fetch(call, offer("aws-bedrock"), ROWS["aws-bedrock"])
    with pytest.raises(InvalidRequest) as refused:
        await embed(Fake({URL: PNG}), call, wanted)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.param) == (
        "invalid_image_url",
        "messages[0].content[2]",
    )


async def test_two_refusals_at_once_are_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file cannot be had and another is too large, in the same moment."""
    monkeypatch.setattr(media, "MAX_FETCHED_BYTES", 1)
    both, started = asyncio.Event(), 0

    async def fetched(_: Any, call: Any, medium: Any) -> Any:
        nonlocal started
        started += 1
        if started == 2:
            both.set()
        await both.wait()
        if medium.source.value == URL:
            raise InvalidRequest("gone")
        return Source("data", "A" * 400, "image/png")

    monkeypatch.setattr(media, "_fetch", fetched)
    call = chat(image(), image(URL + "2"))
    wanted = to_fetch(call, offer("aws-bedrock"), ROWS["aws-bedrock"])
    with pytest.raises((InvalidRequest, PayloadTooLarge)):
        await embed(Fake({}), call, wanted)  # type: ignore[arg-type]


async def test_too_many_or_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"{URL}{n}": PNG for n in range(media.MAX_ADDRESSES + 1)}
    call = chat(*map(image, many))
    wanted = to_fetch(call, offer("aws-bedrock"), ROWS["aws-bedrock"])
    egress = Fake(many)
    with pytest.raises(InvalidRequest, match="At most 20"):
        await embed(egress, call, wanted)  # type: ignore[arg-type]
    assert egress.asked == []
    monkeypatch.setattr(media, "MAX_FETCHED_BYTES", 20)
    call = chat(image(URL + "1"), image(URL + "2"))
    wanted = to_fetch(call, offer("aws-bedrock"), ROWS["aws-bedrock"])
    with pytest.raises(PayloadTooLarge):
        await embed(egress, call, wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["AAAA", "AA==", "AAA=", "AAA", "AA", "ab-_", "AAAA\nAAAA\n"])
def test_base64_is_taken_in_both_alphabets_and_broken_into_lines(text: str) -> None:
    assert is_base64(text)


@pytest.mark.parametrize(
    "text", ["", "=", "A", "AAAAA", "A===", "AA=A", "%%%%", "é", "AAAA;", "\n"]
)
def test_F61_what_is_no_base64_is_told(text: str) -> None:
    assert not is_base64(text)


@given(st.binary(min_size=1, max_size=200))
def test_whatever_was_encoded_is_base64(data: bytes) -> None:
    assert is_base64(base64.b64encode(data).decode())
    assert is_base64(base64.urlsafe_b64encode(data).decode().rstrip("="))
    assert is_base64(base64.encodebytes(data).decode())

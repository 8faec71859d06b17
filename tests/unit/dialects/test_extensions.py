"""Requests as clients of OpenRouter write them, at targets that know less; nothing is lost in
silence: it arrives, it is named, or it is refused by name.
"""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.exchange import ClientCall
from gatewayz.dialects.fitness import fit
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.protocol import HttpRequest, Reply
from gatewayz.dialects.registry import CALLS, UPSTREAMS
from tests.unit.dialects.exchanges import REPORT

PLAIN = Target("native", provider="p")
ROUTER = Target(
    "native",
    provider="p",
    quirks=frozenset({"cache_control", "reasoning_object", "reasoning_details_back", "plugins"}),
)
HELLO = [{"role": "user", "content": "hello"}]
REPLY = Reply("req_01ARZ3NDEKTSV4RRFFQ69G5FAV", "maker/model", "Provider", "openrouter")


def chat(**fields: Any) -> ClientCall:
    return CALLS["openai_chat"]({"model": "m", "messages": HELLO, **fields}, {})


def sent(call: ClientCall, upstream: str = "openai_chat", target: Target = PLAIN) -> HttpRequest:
    return call.exchange(upstream, target, REPLY, None).request


def body_of(request: HttpRequest) -> Any:
    return orjson.loads(request.body)


# ---------------------------------------------------------------- reasoning


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"effort": "high"}, {"reasoning_effort": "high"}),
        ({"max_tokens": 2000}, {"reasoning_effort": "low"}),
        ({"enabled": True}, {"reasoning_effort": "medium"}),
        ({"enabled": False}, {"reasoning_effort": "none"}),
    ],
)
def test_a_reasoning_object_becomes_what_the_target_knows(asked: Any, expected: Any) -> None:
    made = body_of(sent(chat(reasoning=asked)))
    assert "reasoning" not in made
    assert made.items() >= expected.items()
    assert body_of(sent(chat(reasoning=asked), target=ROUTER))["reasoning"] == asked


def test_a_model_that_does_not_reason_is_not_asked_to_and_the_caller_is_told() -> None:
    target = Target("native", reasons=False)
    request = sent(chat(reasoning={"effort": "high"}), target=target)
    assert not {"reasoning", "reasoning_effort"} & body_of(request).keys()
    assert request.dropped == ("reasoning_effort",)


def test_thoughts_in_the_history_go_only_where_they_can_be_read() -> None:
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "x-v1", "index": 0}
    said = {"role": "assistant", "content": "a", "reasoning": "t", "reasoning_details": [detail]}
    call = chat(messages=[*HELLO, said, *HELLO])
    elsewhere = sent(call)
    assert body_of(elsewhere)["messages"][1] == {"role": "assistant", "content": "a"}
    assert elsewhere.dropped == ("messages.reasoning",)
    back = sent(call, target=ROUTER)
    assert body_of(back)["messages"][1] == said
    assert back.dropped == ()
    text_only = Target("native", quirks=frozenset({"reasoning_content_back"}))
    assert body_of(sent(call, target=text_only))["messages"][1]["reasoning_content"] == "t"


# ---------------------------------------------------------------- cache marks


def test_cache_marks_go_only_to_targets_that_read_them() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    part = {"type": "text", "text": "long", **mark}
    call = chat(messages=[{"role": "user", "content": [part, {"type": "text", "text": "b"}]}])
    assert b"cache_control" not in sent(call).body
    assert sent(call).dropped == ("cache_control",)
    assert body_of(sent(call, target=ROUTER))["messages"][0]["content"][0] == part
    there = body_of(sent(call, "anthropic"))
    assert there["messages"][0]["content"][0]["cache_control"] == mark["cache_control"]


# ---------------------------------------------------------------- plugins and web search


@pytest.mark.parametrize(
    "asked",
    [
        {"plugins": [{"id": "web"}]},
        {"web_search_options": {}},
        {"tools": [{"type": "openrouter:web_search"}]},
    ],
)
def test_a_web_search_reaches_every_dialect_that_has_one(asked: Any) -> None:
    anthropic = body_of(sent(chat(**asked), "anthropic"))["tools"]
    assert anthropic == [{"type": "web_search_20250305", "name": "web_search"}]
    assert body_of(sent(chat(**asked), "openai_responses"))["tools"] == [{"type": "web_search"}]
    assert body_of(sent(chat(**asked), "google"))["tools"] == [{"googleSearch": {}}]
    for upstream in ("bedrock", "cohere"):
        with pytest.raises(InvalidRequest) as refused:
            sent(chat(**asked), upstream)
        assert str(refused.value.param).startswith(next(iter(asked)))


def test_a_web_plugin_is_passed_asked_for_otherwise_or_refused() -> None:
    plugins = [{"id": "web", "max_results": 3}]
    assert body_of(sent(chat(plugins=plugins), target=ROUTER))["plugins"] == plugins
    searching = Target("native", quirks=frozenset({"web_search_options"}))
    asked = sent(chat(plugins=plugins), target=searching)
    assert body_of(asked)["web_search_options"] == {}
    assert asked.dropped == ("plugins[0].max_results",)
    with pytest.raises(InvalidRequest) as refused:
        sent(chat(plugins=plugins))
    assert refused.value.param == "plugins[0]"


def test_wishes_about_a_search_are_translated_or_named() -> None:
    place = {"type": "approximate", "city": "Berlin", "country": "DE"}
    tool = {
        "type": "web_search_20250305", "name": "web_search", "max_uses": 2,
        "allowed_domains": ["a.org"], "user_location": place,
    }  # fmt: skip
    call = CALLS["anthropic"](
        {"model": "m", "max_tokens": 9, "messages": HELLO, "tools": [tool]}, {}
    )
    asked = sent(call, "openai_responses")
    assert body_of(asked)["tools"] == [
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["a.org"]},
            "user_location": place,
        }
    ]
    assert asked.dropped == ("tools[0].max_uses",)
    google = sent(call, "google")
    assert body_of(google)["tools"] == [{"googleSearch": {}}]
    assert set(google.dropped) == {
        "tools[0].max_uses", "tools[0].allowed_domains", "tools[0].user_location",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["file-parser", "response-healing", "no-such"])
def test_a_plugin_nobody_here_has_is_refused_by_name(name: str) -> None:
    for upstream in UPSTREAMS:
        with pytest.raises(InvalidRequest) as refused:
            sent(chat(plugins=[{"id": name}]), upstream)
        assert str(refused.value.param).startswith("plugins")
    off = sent(chat(plugins=[{"id": name, "enabled": False}]))
    assert b"plugins" not in off.body


def test_pictures_in_an_answer_are_asked_for_in_the_targets_words() -> None:
    call = chat(modalities=["image", "text"], image_config={"aspect_ratio": "16:9"})
    config = body_of(sent(call, "google"))["generationConfig"]
    assert config == {
        "responseModalities": ["IMAGE", "TEXT"],
        "imageConfig": {"aspectRatio": "16:9"},
    }
    with pytest.raises(InvalidRequest) as refused:
        sent(call, "anthropic")
    assert refused.value.param == "modalities"


# ---------------------------------------------------------------- nothing lost in silence


def test_what_a_row_drops_is_named_on_the_way_through_too() -> None:
    target = Target("native", drop=frozenset({"seed", "logit_bias"}))
    request = sent(chat(seed=1, temperature=0), target=target)
    assert "seed" not in body_of(request)
    assert request.dropped == ("seed",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ],
)
def test_what_a_row_drops_is_refused_when_the_answer_would_be_another(
    fields: Any, param: str
) -> None:
    target = Target("native", drop=frozenset({param}))
    with pytest.raises(InvalidRequest) as refused:
        sent(chat(**fields), target=target)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")


def test_a_row_may_drop_a_value_that_asks_for_nothing() -> None:
    target = Target("native", drop=frozenset({"n", "response_format"}))
    made = sent(chat(n=1, response_format={"type": "text"}), target=target)
    assert not {"n", "response_format"} & body_of(made).keys()


def test_a_refusal_uses_the_callers_own_word() -> None:
    target = Target("native", drop=frozenset({"stop_sequences"}))
    with pytest.raises(InvalidRequest) as refused:
        sent(chat(stop="x"), "anthropic", target)
    assert refused.value.param == "stop"
    google = {"model": "m", "contents": [{"parts": [{"text": "a"}]}], "stream": False}
    call = CALLS["google"](google, {":path": "/v1/models/m:generateContent", ":query": ""})
    assert sent(call).dropped == ()
    where = {":path": "/v1/models/m:generateContent", ":query": ""}
    call = CALLS["google"]({**google, "generationConfig": {"stopSequences": ["x"]}}, where)
    with pytest.raises(InvalidRequest) as refused:
        sent(call, "openai_responses")
    assert refused.value.param == "generationConfig.stopSequences"
    call = CALLS["google"]({**google, "generationConfig": {"seed": 3}}, where)
    assert sent(call, "openai_responses").dropped == ("generationConfig.seed",)


@pytest.mark.parametrize("upstream", ["openai_chat", "anthropic", "google"])
def test_fields_that_nobody_acts_on_are_named(upstream: str) -> None:
    request = sent(chat(api_base="http://x", mock_response="y", provider={"order": []}), upstream)
    assert set(request.dropped) == {"api_base", "mock_response"}


# ---------------------------------------------------------------- how a request fits


def test_a_fit_says_what_would_be_lost_and_why_it_cannot_be_served() -> None:
    call = chat(seed=1, verbosity="low", stop=["x"])
    assert fit(call, "openai_chat", PLAIN).whole
    anthropic = fit(call, "anthropic", PLAIN)
    assert set(anthropic.lost) == {"seed", "verbosity"}
    assert anthropic.refusal is None
    assert not anthropic.whole
    responses = fit(call, "openai_responses", PLAIN)
    assert responses.refusal is not None
    assert responses.refusal.param == "stop"


def test_marks_and_foreign_history_are_no_parameters() -> None:
    said = {"role": "assistant", "content": "a", "reasoning": "t"}
    part = {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}
    call = chat(messages=[*HELLO, said, {"role": "user", "content": [part]}])
    assert sent(call).dropped != ()
    assert fit(call, "openai_chat", PLAIN).whole


@pytest.mark.parametrize(
    ("upstream", "able"),
    [
        ("openai_chat", True), ("google", True), ("openai_completions", True),
        ("anthropic", False), ("bedrock", False), ("cohere", False), ("openai_responses", False),
    ],
)  # fmt: skip
def test_several_answers_travel_where_the_dialect_has_them(upstream: str, able: bool) -> None:
    found = fit(chat(n=2), upstream, PLAIN)
    assert (found.refusal is None) is able
    if able:
        field = {"google": "candidateCount"}.get(upstream, "n")
        made = body_of(sent(chat(n=2), upstream))
        assert made.get("generationConfig", made)[field] == 2


# ---------------------------------------------------------------- what comes back


def test_a_thought_has_the_name_that_the_clients_style_reads() -> None:
    message = {"role": "assistant", "content": "a", "reasoning_content": "thinking"}
    answer = {
        "id": "x", "object": "chat.completion", "model": "native", "created": 1,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }  # fmt: skip
    exchange = chat().exchange("openai_chat", PLAIN, REPLY, None)
    shown = orjson.loads(exchange.render_answer(exchange.read_answer(orjson.dumps(answer)), REPORT))
    (choice,) = shown["choices"]
    assert choice["message"]["reasoning"] == "thinking"
    assert choice["message"]["reasoning_details"][0]["text"] == "thinking"
    assert choice["message"]["reasoning_content"] == "thinking"
    assert (choice["native_finish_reason"], shown["provider"]) == ("stop", "Provider")

    def chunk(**delta: Any) -> bytes:
        held = {"index": 0, "delta": delta, "finish_reason": None}
        return b"data: " + orjson.dumps({"id": "x", "model": "native", "choices": [held]}) + b"\n\n"

    stream = exchange.open_stream()
    out = stream.feed(chunk(role="assistant", content=""))
    out += stream.feed(chunk(reasoning_content="think")) + stream.feed(chunk(content="a"))
    done = {"index": 0, "delta": {}, "finish_reason": "stop"}
    stream.feed(b"data: " + orjson.dumps({"id": "x", "choices": [done]}) + b"\n\ndata: [DONE]\n\n")
    out += stream.close(UsageReport(1, 1, 1))
    frames = [orjson.loads(line[6:]) for line in out.split(b"\n\n") if line.startswith(b"data: {")]
    thoughts = [f["choices"][0]["delta"] for f in frames if "reasoning" in f["choices"][0]["delta"]]
    assert [delta["reasoning"] for delta in thoughts] == ["think"]
    assert thoughts[0]["reasoning_details"][0]["type"] == "reasoning.text"
    assert all(frame["provider"] == "Provider" for frame in frames)

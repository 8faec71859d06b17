"""What reaches a provider of messages: its demands met, nothing lost without a name."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.anthropic import request as passing
from gatewayz.dialects.anthropic import write_request as writer
from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS

USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{ "a":1.0 }'}}


def send(body: JsonObject, *quirks: str, client: str = "openai_chat", **target: Any) -> HttpRequest:
    full = {"model": "m", "messages": [USER], **body}
    request = CLIENTS[client].decode_request(full)
    goal = Target("native", quirks=frozenset(quirks), **target)
    return UPSTREAMS["anthropic"].encode_request(request, goal)


def sent(body: JsonObject, *quirks: str, **target: Any) -> JsonObject:
    written: JsonObject = orjson.loads(send(body, *quirks, **target).body)
    return written


def test_the_path_and_the_version_header_are_those_of_the_protocol() -> None:
    request = send({})
    assert request.path == "/messages"
    assert request.headers["anthropic-version"] == "2023-06-01"


def test_a_token_limit_is_always_sent() -> None:
    assert sent({})["max_tokens"] == writer.DEFAULT_MAX_TOKENS
    assert sent({}, max_output_tokens=64_000)["max_tokens"] == 64_000
    assert sent({"max_completion_tokens": 5})["max_tokens"] == 5


def test_system_prompts_move_to_the_head_and_later_ones_stay_in_their_place() -> None:
    body = sent(
        {
            "messages": [
                {"role": "system", "content": "one"},
                {"role": "developer", "content": "two"},
                USER,
                {"role": "system", "content": "three"},
            ]
        }
    )
    assert [block["text"] for block in body["system"]] == ["one", "two"]
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello"},
                {"type": "text", "text": "<system>three</system>"},
            ],
        }
    ]


def test_a_conversation_begins_with_the_user_and_a_prefill_has_no_blanks_at_its_end() -> None:
    body = sent({"messages": [{"role": "assistant", "content": "Hi "}]})
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]
    assert body["messages"][1]["content"] == "Hi"
    assert sent({"messages": [{"role": "system", "content": "s"}]})["messages"]


def test_tool_results_come_first_in_one_user_turn_and_arguments_are_the_bytes_that_came() -> None:
    request = send(
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [CALL, {**CALL, "id": "functions.f:1"}],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "r1"},
                {"role": "tool", "tool_call_id": "functions.f:1", "content": "r2"},
                {"role": "user", "content": "and?"},
            ],
            "tools": [TOOL],
        }
    )
    assert b'"input":{ "a":1.0 }' in request.body
    _, assistant, user = orjson.loads(request.body)["messages"]
    assert user["role"] == "user"
    kinds = [block["type"] for block in user["content"]]
    assert kinds == ["tool_result", "tool_result", "text"]
    ids = [block["tool_use_id"] for block in user["content"][:2]]
    assert ids == [block["id"] for block in assistant["content"]]
    assert ids[0] == "call_1"
    assert all(character.isalnum() or character in "_-" for character in ids[1])


def test_arguments_that_are_no_object_are_refused_by_their_place() -> None:
    broken = {**CALL, "function": {"name": "f", "arguments": '{"a":'}}
    with pytest.raises(InvalidRequest) as raised:
        send({"messages": [USER, {"role": "assistant", "tool_calls": [broken]}]})
    assert raised.value.param == "messages[1].content[0]"


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_every_tool_choice_has_its_word(choice: Any, written: JsonObject) -> None:
    body = {"tools": [TOOL], "tool_choice": choice}
    assert sent(body)["tool_choice"] == written
    if written["type"] != "none":
        parallel = sent({**body, "parallel_tool_calls": False})["tool_choice"]
        assert parallel == {**written, "disable_parallel_tool_use": True}


def test_a_choice_among_some_tools_sends_only_those() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    third = {"type": "function", "function": {"name": "h"}}
    allowed["tools"].append(third)  # type: ignore[attr-defined]
    body = sent(
        {
            "tools": [TOOL, other, third],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
        }
    )
    assert [tool["name"] for tool in body["tools"]] == ["g", "h"]
    assert body["tool_choice"] == {"type": "any"}
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


def test_tool_names_are_made_to_fit_and_known_again_in_the_answer() -> None:
    name = "mcp.server/read file"
    call = {**CALL, "function": {"name": name, "arguments": ""}}
    request = send(
        {
            "tools": [{"type": "function", "function": {"name": name}}],
            "messages": [USER, {"role": "assistant", "tool_calls": [call]}],
        }
    )
    body = orjson.loads(request.body)
    fitted = body["tools"][0]["name"]
    assert body["messages"][1]["content"][0]["name"] == fitted != name
    answer = {
        "type": "message",
        "content": [{"type": "tool_use", "id": "t", "name": fitted, "input": {}}],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    generation = UPSTREAMS["anthropic"].decode_answer(
        orjson.dumps(answer), Target("native"), request.notes
    )
    assert generation.choices[0].parts[0].name == name  # type: ignore[union-attr]


def test_an_effort_becomes_a_budget_within_the_limit_and_sampling_goes() -> None:
    request = send({"reasoning_effort": "high", "temperature": 0.2, "top_k": 3})
    body = orjson.loads(request.body)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 8192 - 1024}
    assert "temperature" not in body
    assert request.dropped == ("temperature", "top_k")
    wide = sent({"reasoning_effort": "medium"}, max_output_tokens=64_000)
    assert wide["thinking"]["budget_tokens"] == 8192
    low = send({"reasoning_effort": "low", "max_tokens": 1500})
    assert low.dropped == ("reasoning_effort",)
    assert "thinking" not in orjson.loads(low.body)


def test_models_that_think_as_they_like_get_the_effort_itself() -> None:
    body = sent({"reasoning_effort": "minimal"}, writer.ADAPTIVE)
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": "low"}
    assert "thinking" not in sent({"reasoning_effort": "none"}, writer.ADAPTIVE)


def test_thinking_gives_way_to_a_forced_tool_and_to_a_turn_whose_thought_is_gone() -> None:
    forced = send({"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"})
    assert forced.dropped == ("reasoning_effort",)
    turn = [
        USER,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "r"},
    ]
    lost = send({"reasoning_effort": "low", "tools": [TOOL], "messages": turn})
    assert lost.dropped == ("reasoning_effort",)


def test_temperature_is_bounded_and_goes_before_top_p() -> None:
    request = send({"temperature": 1.6, "top_p": 0.5})
    body = orjson.loads(request.body)
    assert (body["temperature"], "top_p" in body) == (1, False)
    assert request.dropped == ("top_p",)
    assert send({"temperature": 0.5, "top_p": 1}).dropped == ()
    plain = send({"temperature": 0.5}, writer.NO_SAMPLING)
    assert plain.dropped == ("temperature",)


def test_what_does_no_harm_is_dropped_under_the_callers_own_name() -> None:
    request = send(
        {
            "seed": 1,
            "presence_penalty": 0.5,
            "logprobs": True,
            "verbosity": "low",
            "store": False,
            "messages": [{**USER, "name": "Ann"}],
            "metadata": {"a": "b"},
        }
    )
    assert set(request.dropped) == {
        "seed", "presence_penalty", "logprobs", "verbosity", "store", "messages.name", "metadata",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"plugins": [{"id": "file-parser"}]}, "plugins"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0]"),
    ],
)
def test_what_would_be_missed_is_refused_by_name(body: JsonObject, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        send(body)
    assert raised.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}},
        {"type": "something", "something": 1},
    ],
)
def test_a_part_it_cannot_take_is_refused_by_its_place(part: JsonObject) -> None:
    with pytest.raises(InvalidRequest) as raised:
        send({"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, part]}]})
    assert raised.value.param == "messages[0].content[1]"


def test_pictures_and_files_are_written_by_what_they_are() -> None:
    png = "iVBORw0KGgoAAAANSUhEUg=="
    content = [
        {"type": "image_url", "image_url": {"url": f"data:;base64,{png}"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBERi0xLjQK"}},
        {"type": "file", "file": {"file_data": "data:text/csv;base64,YTti"}},
    ]
    blocks = sent({"messages": [{"role": "user", "content": content}]})["messages"][0]["content"]
    assert [block["source"]["type"] for block in blocks] == ["base64", "url", "base64", "text"]
    assert blocks[0]["source"]["media_type"] == "image/png"
    assert blocks[2]["source"]["media_type"] == "application/pdf"
    assert blocks[2]["title"] == "a.pdf"
    assert blocks[3]["source"]["data"] == "a;b"


def test_a_schema_goes_into_the_output_format_or_into_a_forced_tool() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    native = sent({"response_format": form})
    assert native["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    request = send({"response_format": form}, writer.NO_FORMAT)
    body = orjson.loads(request.body)
    assert body["tool_choice"] == {"type": "tool", "name": writer.JSON_TOOL}
    assert request.notes.json_tool == writer.JSON_TOOL
    answer = {
        "type": "message",
        "content": [{"type": "tool_use", "id": "t", "name": writer.JSON_TOOL, "input": {"a": "b"}}],
        "stop_reason": "tool_use",
    }
    choice = (
        UPSTREAMS["anthropic"]
        .decode_answer(orjson.dumps(answer), Target("native"), request.notes)
        .choices[0]
    )
    assert choice.parts[0].text == '{"a":"b"}'  # type: ignore[union-attr]
    assert choice.finish is not None
    assert choice.finish.reason == "stop"
    assert sent({"response_format": {"type": "json_object"}})["system"]


def test_only_the_last_four_cache_marks_are_sent() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    parts = [{"type": "text", "text": str(i), **mark} for i in range(6)]
    content = sent({"messages": [{"role": "user", "content": parts}]})["messages"][0]["content"]
    assert ["cache_control" in block for block in content] == [False, False] + [True] * 4


def test_the_rows_own_rules_are_applied_and_what_they_drop_is_named() -> None:
    request = send(
        {"temperature": 0.5, "stop": "x"},
        drop=frozenset({"temperature"}),
        rename={"stop_sequences": "stops"},
    )
    assert request.dropped == ("temperature",)
    assert orjson.loads(request.body)["stops"] == ["x"]


# ---------------------------------------------------------------- thoughts come back

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s1"}
HIDDEN = {"type": "redacted_thinking", "data": "d1"}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}


def _messages(*blocks: JsonObject) -> JsonObject:
    return {
        "model": "m",
        "max_tokens": 9,
        "messages": [USER, {"role": "assistant", "content": list(blocks)}, USER],
    }


def test_thoughts_return_to_their_own_family_and_to_no_other() -> None:
    details = [
        {
            "type": "reasoning.text",
            "text": "hm",
            "signature": "s1",
            "format": "anthropic-claude-v1",
        },
        {"type": "reasoning.encrypted", "data": "d1", "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "x", "signature": "s2", "format": "google-gemini-v1"},
    ]
    request = send(
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "a", "reasoning_details": details},
                USER,
            ]
        }
    )
    content = orjson.loads(request.body)["messages"][1]["content"]
    assert content == [THOUGHT, HIDDEN, {"type": "text", "text": "a"}]
    assert request.dropped == ("messages.reasoning",)
    clone = send({}, family="clone")
    assert clone.dropped == ()


def test_a_foreign_thought_in_messages_is_unsealed_and_dropped_by_name() -> None:
    sealed = {**THOUGHT, "signature": seal(Sealed("google", "g1"))}
    body = _messages(sealed, USE)
    request = CLIENTS["anthropic"].decode_request(body)
    assert request.messages[1].parts[0].origin == "google"  # type: ignore[union-attr]
    forwarded = passing.forward_request(body, request, Target("native"))
    assert forwarded.dropped == ("messages.thinking",)
    assert b"Z3cxO" not in forwarded.body


def test_a_body_of_this_dialect_goes_on_with_only_what_is_ours_changed() -> None:
    body = {
        **_messages(THOUGHT, HIDDEN, USE),
        "future": {"x": 1},
        "provider": {"order": []},
        "temperature": 0.5,
    }
    headers = {"anthropic-beta": "b-1", "x-api-key": "secret", "anthropic-version": "bad\nvalue"}
    request = CLIENTS["anthropic"].decode_request(body, headers)
    target = Target("native", drop=frozenset({"temperature"}))
    forwarded = passing.forward_request(body, request, target)
    expected = {**body, "model": "native"}
    del expected["provider"], expected["temperature"]
    assert orjson.loads(forwarded.body) == expected
    assert forwarded.dropped == ("temperature",)
    assert forwarded.headers == {"anthropic-version": "2023-06-01", "anthropic-beta": "b-1"}
    assert passing.passes(target)
    assert not passing.passes(Target("native", family="clone"))


def test_a_signature_of_a_tool_call_comes_back_to_the_call() -> None:
    hidden = {"type": "redacted_thinking", "data": seal(Sealed("google", "g1", None, "t1"))}
    request = CLIENTS["anthropic"].decode_request(_messages(hidden, USE))
    (call,) = request.messages[1].parts
    assert (call.signature, call.origin) == ("g1", "google")  # type: ignore[union-attr]
    there = UPSTREAMS["openai_chat"].encode_request(request, Target("native", family="google"))
    (sent,) = orjson.loads(there.body)["messages"][1]["tool_calls"]
    assert sent["extra_content"] == {"google": {"thought_signature": "g1"}}
    elsewhere = UPSTREAMS["openai_chat"].encode_request(request, Target("native"))
    (sent,) = orjson.loads(elsewhere.body)["messages"][1]["tool_calls"]
    assert "extra_content" not in sent
    assert "messages.thinking" in elsewhere.dropped


# ---------------------------------------------------------------- what clients may send


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        ({"temperature": 1.5}, "temperature"),
        ({"system": 5}, "system"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stream": "yes"}, "stream"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    ],
)
def test_a_wrong_field_is_named(change: JsonObject, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        CLIENTS["anthropic"].decode_request({**_messages(), **change})
    assert raised.value.param == param


def test_messages_reach_chat_completions_with_their_results_and_pictures() -> None:
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "AA"},
    }
    body = {
        **_messages({"type": "text", "text": "a"}, USE),
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
        "top_k": 5,
        "stream": True,
    }
    body["messages"][2] = {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [{"type": "text", "text": "r"}, picture],
                "is_error": True,
            },
            {"type": "text", "text": "go on"},
        ],
    }
    request = CLIENTS["anthropic"].decode_request(body)
    there = UPSTREAMS["openai_chat"].encode_request(request, Target("native"))
    sent_body = orjson.loads(there.body)
    roles = [message["role"] for message in sent_body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user", "user"]
    assert sent_body["messages"][3]["tool_call_id"] == "t1"
    assert sent_body["messages"][4]["content"][1]["type"] == "image_url"
    assert sent_body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert sent_body["parallel_tool_calls"] is False
    assert sent_body["reasoning_effort"] == "low"
    assert sent_body["user"] == "u"
    assert sent_body["stream_options"] == {"include_usage": True}
    assert set(there.dropped) == {"cache_control", "top_k"}
    silent = UPSTREAMS["openai_chat"].encode_request(request, Target("native", reasons=False))
    assert "thinking" in silent.dropped

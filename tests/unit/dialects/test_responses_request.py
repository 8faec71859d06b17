"""Responses requests: what is read, what is refused, what providers get of other dialects."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Reasoning, ResponseFormat, ToolChoice
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES as RESPONSES
from gatewayz.dialects.openai_responses.exchange import ResponsesCall
from gatewayz.dialects.openai_responses.request import forward_request, passes
from gatewayz.dialects.openai_responses.write_items import CACHE_BREAKPOINT, THOUGHTS_BACK
from gatewayz.dialects.parts import (
    Message,
    Opaque,
    RedactedThinking,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import REPORT, reply

TARGET = Target("native")
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def read(**fields: Any) -> Any:
    return RESPONSES.decode_request({"model": "m", "input": "hi", **fields})


def sent(request: Any, target: Target = TARGET) -> Any:
    return orjson.loads(RESPONSES.encode_request(request, target).body)


def test_a_string_is_what_a_user_says_and_instructions_come_first() -> None:
    request = read(instructions="Be brief.")
    assert request.messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("hi"),)),
    )
    assert sent(request)["instructions"] == "Be brief."


def test_the_items_of_a_turn_become_one_message_and_its_results_another() -> None:
    items = [
        {"role": "user", "content": "both"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x" : 1}'},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": "a", "output": "one"},
        {
            "type": "function_call_output",
            "call_id": "b",
            "output": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
        },
    ]
    _, assistant, results = read(input=items).messages
    assert assistant.parts == (
        RedactedThinking("secret", "openai", "rs_1"),
        Text("I look."),
        ToolCall("a", "f", '{"x" : 1}'),
        ToolCall("b", "f", ""),
    )
    assert [part.call_id for part in results.parts if isinstance(part, ToolResult)] == ["a", "b"]
    chat = orjson.loads(OPENAI_CHAT.encode_request(read(input=items), TARGET).body)
    roles = [message["role"] for message in chat["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]
    assert chat["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"x" : 1}'


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"reasoning": []}, "reasoning"),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_name(fields: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize("fields", [{"store": False}, {"store": None}, {"background": False}, {}])
def test_asking_for_no_store_is_fine(fields: Any) -> None:
    assert sent(read(**fields))["store"] is False


def test_built_in_tools_pass_to_their_own_dialect_and_are_refused_elsewhere() -> None:
    request = read(tools=[{"type": "mcp"}, FUNCTION], tool_choice={"type": "mcp"})
    assert sent(request)["tools"] == [{"type": "mcp"}, FUNCTION]
    assert sent(request)["tool_choice"] == {"type": "mcp"}
    for other in (OPENAI_CHAT, ANTHROPIC):
        with pytest.raises(InvalidRequest, match="mcp") as refused:
            other.encode_request(request, TARGET)
        assert refused.value.param == "tools[0]"


def test_choices_formats_and_reasoning_are_read() -> None:
    request = read(
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}],
        },
        text={
            "format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True},
            "verbosity": "low",
        },
        reasoning={"effort": "high", "summary": "auto"},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
    )
    assert request.tool_choice == ToolChoice("required", ("f",))
    assert request.response_format == ResponseFormat("json_schema", {"a": 1}, "n", None, True)
    assert request.reasoning == Reasoning("high", show="auto")
    assert (request.verbosity, request.logprobs) == ("low", True)


def test_chat_clients_keep_their_meaning_at_a_responses_provider() -> None:
    request = OPENAI_CHAT.decode_request(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "reasoning_effort": "low",
            "max_tokens": 50,
            "seed": 3,
        }
    )
    written = RESPONSES.encode_request(request, TARGET)
    assert written.dropped == ("seed",)
    assert orjson.loads(written.body) == {
        "model": "native",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "hi"}],
            }
        ],
        "store": False,
        "max_output_tokens": 50,
        # Left out, it would be strict there.
        "tools": [
            {
                "type": "function",
                "name": "f",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            }
        ],
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize(("field", "value"), [("stop", ["x"]), ("n", 2)])
def test_what_this_protocol_cannot_say_is_refused(field: str, value: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], field: value}
    with pytest.raises(InvalidRequest) as refused:
        RESPONSES.encode_request(OPENAI_CHAT.decode_request(body), TARGET)
    assert refused.value.param == field


def test_odd_names_and_ids_are_sent_as_the_protocol_allows_and_noted() -> None:
    call = {"id": "a b", "type": "function", "function": {"name": "f.g", "arguments": "{}"}}
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a b", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f.g"}}],
    }
    written = RESPONSES.encode_request(OPENAI_CHAT.decode_request(body), TARGET)
    items = orjson.loads(written.body)["input"]
    assert items[1]["call_id"] == items[2]["call_id"] != "a b"
    assert written.notes.names == {items[1]["name"]: "f.g"}
    answer = {"output": [{"type": "function_call", "call_id": "c", "name": items[1]["name"]}]}
    raw = orjson.dumps({**answer, "status": "completed"})
    generation = RESPONSES.decode_answer(raw, TARGET, written.notes)
    assert generation.choices[0].parts == (ToolCall("c", "f.g", ""),)


def test_a_thought_goes_back_only_to_the_family_that_made_it() -> None:
    sealed = seal(Sealed("anthropic", "sig", None))
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "own"},
        {
            "type": "reasoning",
            "id": "rs_2",
            "summary": [{"type": "summary_text", "text": "t"}],
            "encrypted_content": sealed,
        },
        {"role": "assistant", "content": "so"},
    ]
    request = read(input=items)
    assert request.messages[1].parts[:2] == (
        RedactedThinking("own", "openai", "rs_1"),
        Thinking("t", "sig", "anthropic"),
    )
    written = RESPONSES.encode_request(request, TARGET)
    kept = [i for i in orjson.loads(written.body)["input"] if i["type"] == "reasoning"]
    assert [item["encrypted_content"] for item in kept] == ["own"]
    assert written.dropped == ("input.reasoning",)
    blocks = orjson.loads(ANTHROPIC.encode_request(request, TARGET).body)["messages"][1]["content"]
    assert blocks[0] == {"type": "thinking", "thinking": "t", "signature": "sig"}
    # A caller's own body is written anew when such a thought is in it, and else goes as it is.
    body = {"model": "m", "input": items}
    assert b"rs_2" not in forward_request(body, request, TARGET).body
    own = {"model": "m", "input": items[:2], "x_unknown": 1}
    assert orjson.loads(forward_request(own, RESPONSES.decode_request(own), TARGET).body) == {
        **own,
        "model": "native",
        "store": False,
    }
    assert passes(Target("n", family="openai"))
    assert not passes(Target("n", family="xai"))


def test_servers_of_open_models_get_the_text_of_a_thought_again() -> None:
    said = [{"type": "reasoning_text", "text": "hm"}]
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": said},
        {"role": "assistant", "content": "so"},
    ]
    back = sent(read(input=items), Target("n", quirks=frozenset({THOUGHTS_BACK})))
    assert back["input"][1] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": said,
    }


def test_a_signature_of_a_tool_call_is_found_again_wherever_its_item_stands() -> None:
    proof = {"type": "reasoning", "summary": []}
    proof["encrypted_content"] = seal(Sealed("google", "sig", None, "a"))
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    for items in ([proof, call], [call, proof]):
        [message] = read(input=items).messages
        expected = ToolCall("a", "f", "{}", signature="sig", origin="google")
        assert message.parts == (expected,)


def test_cache_marks_reach_only_providers_that_read_them() -> None:
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
            }
        ],
    }
    request = ANTHROPIC.decode_request(body)
    assert RESPONSES.encode_request(request, TARGET).dropped == ("cache_control",)
    marked = sent(request, Target("n", quirks=frozenset({CACHE_BREAKPOINT})))
    part = marked["input"][0]["content"][0]
    assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}


def test_items_without_a_counterpart_stay_whole_and_are_refused_elsewhere() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    request = read(input=[{"role": "user", "content": "hi"}, item])
    assert request.messages[1].parts == (Opaque("openai_responses", item),)
    assert sent(request)["input"][1] == item
    with pytest.raises(InvalidRequest, match="web_search_call"):
        OPENAI_CHAT.encode_request(request, TARGET)


def test_a_providers_row_bounds_renames_and_drops() -> None:
    target = Target(
        "n",
        drop=frozenset({"user"}),
        rename={"max_output_tokens": "max_tokens"},
        clamp={"temperature": (0.0, 1.0)},
        reasons=False,
    )
    request = read(user="u", temperature=2, max_output_tokens=9, reasoning={"effort": "low"})
    written = RESPONSES.encode_request(request, target)
    body = orjson.loads(written.body)
    assert (body["temperature"], body["max_tokens"]) == (1.0, 9)
    assert "user" in written.dropped
    assert not {"user", "reasoning", "max_output_tokens"} & body.keys()


# ---------------------------------------------------------------- tools in groups

GROUP: Any = {
    "type": "namespace",
    "name": "agents",
    "description": "Other agents.",
    "tools": [{"type": "function", "name": "close", "parameters": {"type": "object"}}],
}


def test_a_group_of_tools_is_opened_for_others_and_its_calls_come_back_with_its_name() -> None:
    called = {
        "type": "function_call", "call_id": "c1", "namespace": "agents", "name": "close",
        "arguments": "{}",
    }  # fmt: skip
    done = {"type": "function_call_output", "call_id": "c1", "output": "closed"}
    user = {"role": "user", "content": "go"}
    body = {"model": "m", "input": [user, called, done], "tools": [GROUP, FUNCTION]}
    call = ResponsesCall(body, {})
    own = call.exchange("openai_responses", TARGET, reply(), None)
    assert orjson.loads(own.request.body)["tools"] == [GROUP, FUNCTION]

    exchange = call.exchange("openai_chat", TARGET, reply(), None)
    made = orjson.loads(exchange.request.body)
    assert [t["function"]["name"] for t in made["tools"]] == ["agents__close", FUNCTION["name"]]
    (history,) = made["messages"][1]["tool_calls"]
    assert history["function"]["name"] == "agents__close"

    again = {"id": "c2", "type": "function"}
    again["function"] = {"name": "agents__close", "arguments": "{}"}  # type: ignore[assignment]
    message = {"role": "assistant", "content": None, "tool_calls": [again]}
    answer = {"id": "x", "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    shown = exchange.render_answer(exchange.read_answer(orjson.dumps(answer)), REPORT)
    (item,) = orjson.loads(shown)["output"]
    assert (item["namespace"], item["name"]) == ("agents", "close")

    stream = exchange.open_stream()
    chunk = {"choices": [{"delta": {"tool_calls": [{"index": 0, **again}]}}]}
    ended = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    raw = b"".join(b"data: " + orjson.dumps(part) + b"\n\n" for part in (chunk, ended))
    out = stream.feed(raw) + stream.close(REPORT)
    items = [e["item"] for e in recorded.events(out) if e["type"] == "response.output_item.done"]
    assert [(i["namespace"], i["name"]) for i in items] == [("agents", "close")]


@pytest.mark.parametrize("tool", [None, 1, [], {}, {"type": []}, {"type": {}, "name": "f"}])
def test_allowed_tools_of_any_kind_are_a_choice_of_this_dialect_alone(tool: Any) -> None:
    """Found by looking for new examples: a type that is no word."""
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [tool]}
    request = read(tools=[FUNCTION], tool_choice=choice)
    assert request.tool_choice is None
    assert sent(request)["tool_choice"] == choice

"""An agent of several tool turns, written with each official client, at a model of each upstream
dialect: two calls at once, a result that is an error, one that is a picture, a last word.

The model's side is checked for what reached it, byte for byte where its dialect has text; the
agent's side by its SDK.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from gatewayz.core.settings import Settings
from tests.fakes.agent import DIALECTS, PNG, Agent, Call, Heard, Say, providers
from tests.fakes.upstream import RawUpstream
from tests.world import World

# Text that another writer of JSON would write otherwise.
WEATHER = '{"city": "Zürich",  "days":1.50, "exact":12345678901234567890}'
LOOK = '{"what":"a \\u00e9 \\/ b","deep":{"z":1,"a":[ ]}}'
SCRIPT = {
    0: Say("Let me see. ", (Call("call_aa", "weather", WEATHER), Call("call_bb", "look", LOOK))),
    2: Say("", (Call("call_cc", "weather", "{}"),)),
    3: Say("It is a red dot, and it rains."),
}
FAILED, SEEN, RAIN = "no such city: Zürich", "here it is", "rain"
TEXT_DIALECTS = ("openai_chat", "openai_responses", "cohere")
ERROR_DIALECTS = ("anthropic", "google", "bedrock")
NAMES = [dialect.replace("_", "-") for dialect in DIALECTS]
PARAMETERS: Any = {"type": "object", "properties": {}, "additionalProperties": True}


@pytest.fixture
def raw() -> Iterator[RawUpstream]:
    made = RawUpstream()
    yield made
    made.stop()


@pytest.fixture
def tune(raw: RawUpstream, tmp_path: Path) -> Callable[[Settings], Settings]:
    file = tmp_path / "providers.toml"
    file.write_text(providers(raw.url))
    return lambda s: replace(s, catalog=replace(s.catalog, providers_file=str(file)))


def result_of(name: str, turn: int) -> str:
    """What the agent's tools say; in the first turn the weather fails."""
    return SEEN if name == "look" else (RAIN if turn else FAILED)


# ---------------------------------------------------------------- one agent for each client

Asked = list[list[Any]]  # the calls that the agent was given, [name, arguments]


def chat_agent(url: str, key: str, model: str, *, stream: bool) -> tuple[Asked, str]:
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=20)
    tools: Any = [
        {"type": "function", "function": {"name": name, "parameters": PARAMETERS}}
        for name in ("weather", "look")
    ]
    messages: list[Any] = [{"role": "user", "content": "What is it?"}]
    asked: Asked = []
    for turn in range(4):
        if stream:
            with client.chat.completions.stream(
                model=model, messages=messages, tools=tools
            ) as events:
                for _ in events:
                    pass
                message: Any = events.get_final_completion().choices[0].message
        else:
            made = client.chat.completions.create(model=model, messages=messages, tools=tools)
            message = made.choices[0].message
        calls = message.tool_calls or []
        if not calls:
            return asked, message.content
        said = {"role": "assistant", "content": message.content}
        messages.append({**said, "tool_calls": [_as_call(call) for call in calls]})
        for call in calls:
            name = call.function.name
            asked.append([name, call.function.arguments])
            content = result_of(name, turn)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
        if any(call.function.name == "look" for call in calls):
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
            messages.append({"role": "user", "content": [image]})
    raise AssertionError("it never ended")


def _as_call(call: Any) -> Any:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


def responses_agent(url: str, key: str, model: str, *, stream: bool) -> tuple[Asked, str]:
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=20)
    tools: Any = [
        {"type": "function", "name": name, "parameters": PARAMETERS, "strict": False}
        for name in ("weather", "look")
    ]
    items: list[Any] = [{"role": "user", "content": "What is it?"}]
    asked: Asked = []
    for turn in range(4):
        if stream:
            with client.responses.stream(model=model, input=items, tools=tools) as events:
                for _ in events:
                    pass
                response: Any = events.get_final_response()
        else:
            response = client.responses.create(model=model, input=items, tools=tools)
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return asked, response.output_text
        shown = {"status", "parsed_arguments", "created_by"}
        items += [item.model_dump(exclude_none=True, exclude=shown) for item in response.output]
        for call in calls:
            asked.append([call.name, call.arguments])
            output: Any = result_of(call.name, turn)
            if call.name == "look":
                url_of = f"data:image/png;base64,{PNG}"
                output = [
                    {"type": "input_text", "text": output},
                    {"type": "input_image", "image_url": url_of, "detail": "auto"},
                ]
            items.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": output}
            )
    raise AssertionError("it never ended")


def messages_agent(url: str, key: str, model: str, *, stream: bool) -> tuple[Asked, str]:
    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=20)
    tools: Any = [{"name": name, "input_schema": PARAMETERS} for name in ("weather", "look")]
    messages: list[Any] = [{"role": "user", "content": "What is it?"}]
    asked: Asked = []
    for turn in range(4):
        options: Any = {"model": model, "max_tokens": 500, "messages": messages, "tools": tools}
        if stream:
            with client.messages.stream(**options) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**options)
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return asked, "".join(b.text for b in message.content if b.type == "text")
        messages.append({"role": "assistant", "content": message.content})
        results: list[Any] = []
        for call in calls:
            asked.append([call.name, call.input])
            text = result_of(call.name, turn)
            content: Any = [{"type": "text", "text": text}]
            if call.name == "look":
                source = {"type": "base64", "media_type": "image/png", "data": PNG}
                content.append({"type": "image", "source": source})
            results.append(
                {
                    "type": "tool_result", "tool_use_id": call.id, "content": content,
                    "is_error": text == FAILED,
                }
            )  # fmt: skip
        messages.append({"role": "user", "content": results})
    raise AssertionError("it never ended")


def google_agent(url: str, key: str, model: str, *, stream: bool) -> tuple[Asked, str]:
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, timeout=20_000))
    declared: Any = [
        {"name": name, "parameters_json_schema": PARAMETERS} for name in ("weather", "look")
    ]
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=declared)])
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text="What is it?")])]
    asked: Asked = []
    for turn in range(4):
        parts: list[Any] = []
        if stream:
            for chunk in client.models.generate_content_stream(
                model=model, contents=contents, config=config
            ):
                parts += (chunk.candidates or [types.Candidate()])[0].content.parts or []  # type: ignore[union-attr]
        else:
            made: Any = client.models.generate_content(
                model=model, contents=contents, config=config
            )
            parts = made.candidates[0].content.parts
        calls = [part.function_call for part in parts if part.function_call]
        if not calls:
            return asked, "".join(part.text or "" for part in parts)
        contents.append(types.Content(role="model", parts=parts))
        results = []
        for call in calls:
            asked.append([call.name, call.args])
            text = result_of(call.name, turn)
            response = {"error": text} if text == FAILED else {"result": text}
            result = types.FunctionResponse(id=call.id, name=call.name, response=response)
            results.append(types.Part(function_response=result))
            if call.name != "look":
                continue
            # Newer models take a picture within a result, older ones beside it.
            if stream:
                seen: Any = types.FunctionResponseBlob(mime_type="image/png", data=PNG)  # type: ignore[arg-type]
                result.parts = [types.FunctionResponsePart(inline_data=seen)]
            else:
                blob = types.Blob(mime_type="image/png", data=PNG)  # type: ignore[arg-type]
                results.append(types.Part(inline_data=blob))
        contents.append(types.Content(role="user", parts=results))
    raise AssertionError("it never ended")


AGENTS: dict[str, Callable[..., tuple[Asked, str]]] = {
    "openai_chat": chat_agent,
    "openai_responses": responses_agent,
    "anthropic": messages_agent,
    "google": google_agent,
}


# ---------------------------------------------------------------- the loops


def _object(value: Any) -> Any:
    return json.loads(value or "{}") if isinstance(value, str) else value


def _check_model(heard: Heard, client: str, upstream: str) -> None:
    """What the model had heard when it was asked for the last time."""
    calls = [call for said in SCRIPT.values() for call in said.calls]
    exact = client in TEXT_DIALECTS and upstream in TEXT_DIALECTS
    expected = [[c.name, c.arguments if exact else _object(c.arguments)] for c in calls]
    given = [[name, args if exact else _object(args)] for name, args in heard.calls]
    assert given == expected
    texts = [FAILED, SEEN, RAIN]
    for text, (result, _) in zip(texts, heard.results, strict=True):
        assert text in result or json.dumps(text)[1:-1] in result
    if client in ("anthropic", "google") and upstream in ERROR_DIALECTS:
        assert [flag for _, flag in heard.results] == [True, False, False]
    assert heard.pictures == 1


@pytest.mark.parametrize("client", AGENTS)
async def test_an_agent_works_through_its_client_at_a_model_of_every_dialect(
    world: World, raw: RawUpstream, client: str
) -> None:
    account = await world.account()
    agent = Agent(SCRIPT)
    raw.play = agent.play
    for upstream, name in zip(DIALECTS, NAMES, strict=True):
        for stream in (False, True):
            agent.heard.clear()
            asked, last = await asyncio.to_thread(
                AGENTS[client], world.url, account.key, f"{name}/agent", stream=stream
            )
            where = f"{client} → {upstream}, stream={stream}"
            assert last == SCRIPT[3].text, where
            assert len(agent.heard) == 3, where
            exact = client in TEXT_DIALECTS and (upstream in TEXT_DIALECTS or stream)
            exact = exact and upstream != "google"  # which always has objects
            for [called, arguments], call in zip(
                asked, [c for said in SCRIPT.values() for c in said.calls], strict=True
            ):
                assert called == call.name, where
                expected = call.arguments if exact else _object(call.arguments)
                assert (arguments if exact else _object(arguments)) == expected, where
            _check_model(agent.heard[-1], client, upstream)
    await world.settle()
    rows = await world.requests(account)
    assert len(rows) == len(DIALECTS) * 2 * 3
    assert {row["charge_nanos"] for row in rows} == {11 * 500 + 7 * 1500}
    assert await world.violations() == []

"""What an application written for Gemini does, run in a process of its own.

Prints one JSON object: name of the step → what the SDK made of our answer.
"""

import asyncio
import json
import os
import sys
from typing import Any

from google import genai
from google.genai import errors, types


def connect(key: str) -> genai.Client:
    """As `sys.argv[2]` says: by default, with a version of the API, or as for its cloud."""
    version = sys.argv[2] if sys.argv[2].startswith("v") else None
    options = types.HttpOptions(base_url=sys.argv[1], api_version=version, timeout=20_000)
    return genai.Client(api_key=key, http_options=options, vertexai=sys.argv[2] == "cloud")


client = connect(os.environ["KEY"])
seen: dict[str, Any] = {}
KIND = types.GenerateContentConfig(system_instruction="be kind", max_output_tokens=100)
TOOLS = types.GenerateContentConfig(
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(
                    name="sandbox_tool",
                    description="does nothing",
                    parameters=types.Schema(
                        type=types.Type.OBJECT,
                        properties={"sandbox": types.Schema(type=types.Type.BOOLEAN)},
                    ),
                )
            ]
        )
    ]
)


def step(function: Any) -> None:
    try:
        seen[function.__name__] = function()
    except errors.APIError as error:
        seen[function.__name__] = {
            "class": type(error).__name__,
            "code": error.code,
            "status": error.status,
        }


@step
def whole() -> Any:
    answer = client.models.generate_content(
        model="sandbox/echo", contents="good morning", config=KIND
    )
    usage, candidates = answer.usage_metadata, answer.candidates or []
    assert usage is not None
    return {
        "id": answer.response_id,
        "model": answer.model_version,
        "text": answer.text,
        "finish": candidates[0].finish_reason,
        "total": usage.total_token_count,
    }


@step
def streamed() -> Any:
    text, total, finish = "", None, None
    for chunk in client.models.generate_content_stream(
        model="sandbox/echo", contents="good morning", config=KIND
    ):
        text += chunk.text or ""
        if chunk.usage_metadata is not None:
            total = chunk.usage_metadata.total_token_count
        finish = (chunk.candidates or [types.Candidate()])[0].finish_reason or finish
    return {"text": text, "total": total, "finish": finish}


@step
def streamed_async() -> Any:
    async def work() -> str:
        text = ""
        stream = await client.aio.models.generate_content_stream(
            model="sandbox/echo", contents="good morning"
        )
        async for chunk in stream:
            text += chunk.text or ""
        return text

    return asyncio.run(work())


def call_of(answer: types.GenerateContentResponse) -> Any:
    (call,) = answer.function_calls or []
    return {"name": call.name, "args": call.args}


@step
def function_call() -> Any:
    return call_of(
        client.models.generate_content(model="sandbox/mock-tools", contents="go", config=TOOLS)
    )


@step
def function_call_streamed() -> Any:
    chunks = client.models.generate_content_stream(
        model="sandbox/mock-tools", contents="go", config=TOOLS
    )
    return [call_of(chunk) for chunk in chunks if chunk.function_calls]


@step
def chat() -> Any:
    talk = client.chats.create(model="sandbox/echo")
    talk.send_message("good evening")
    return talk.send_message("good morning").text


@step
def count() -> Any:
    return client.models.count_tokens(model="sandbox/echo", contents="good morning").total_tokens


@step
def unknown_model() -> Any:
    return client.models.generate_content(model="no/such-model", contents="hello")


@step
def count_unknown_model() -> Any:
    return client.models.count_tokens(model="no/such-model", contents="hello").total_tokens


@step
def wrong_key() -> Any:
    other = connect("gw_test_wrong")
    return other.models.generate_content(model="sandbox/echo", contents="hello")


@step
def wrong_field() -> Any:
    config = types.GenerateContentConfig(temperature=3)
    return client.models.generate_content(model="sandbox/echo", contents="hi", config=config)


@step
def upstream_fails() -> Any:
    return client.models.generate_content(model="sandbox/mock-err503", contents="hello")


@step
def cut_stream() -> Any:
    text = ""
    for chunk in client.models.generate_content_stream(
        model="sandbox/mock-n10-cut4", contents="hello"
    ):
        text += chunk.text or ""
    return {"ended": "cleanly", "text": text}


print(json.dumps(seen, default=str))

"""What an application written for OpenAI does, run in a process of its own by test_openai.py.

Prints one JSON object: name of the step → what the SDK made of our answer.
"""

import asyncio
import json
import os
import sys
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

base_url, mount = sys.argv[1], sys.argv[2]
key = os.environ["KEY"]
client = OpenAI(base_url=base_url + mount, api_key=key, max_retries=0, timeout=20)
asynchronous = AsyncOpenAI(base_url=base_url + mount, api_key=key, max_retries=0, timeout=20)
messages: list[Any] = [{"role": "user", "content": "good morning"}]
seen: dict[str, Any] = {}


def step(function: Any) -> None:
    try:
        seen[function.__name__] = function()
    except openai.APIError as error:
        seen[function.__name__] = {
            "class": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "code": error.code,
            "message": str(error),
        }


@step
def whole() -> Any:
    answer = client.chat.completions.create(model="sandbox/echo", messages=messages)
    assert answer.usage is not None
    return {
        "id": answer.id,
        "model": answer.model,
        "text": answer.choices[0].message.content,
        "finish": answer.choices[0].finish_reason,
        "total": answer.usage.total_tokens,
        "cost": answer.usage.model_extra["cost"],
    }


@step
def streamed() -> Any:
    text, usage = "", None
    with client.chat.completions.create(
        model="sandbox/echo", messages=messages, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            usage = chunk.usage or usage
    assert usage is not None
    return {"text": text, "total": usage.total_tokens}


@step
def streamed_by_helper() -> Any:
    with client.chat.completions.stream(model="sandbox/echo", messages=messages) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion().choices[0].message.content


@step
def streamed_async() -> Any:
    async def work() -> str:
        text = ""
        stream = await asynchronous.chat.completions.create(
            model="sandbox/echo", messages=messages, stream=True
        )
        async for chunk in stream:
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
        await asynchronous.close()
        return text

    return asyncio.run(work())


@step
def tools() -> Any:
    answer = client.chat.completions.create(
        model="sandbox/mock-tools",
        messages=messages,
        tools=[{"type": "function", "function": {"name": "sandbox_tool", "parameters": {}}}],
    )
    (call,) = answer.choices[0].message.tool_calls or []
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


@step
def raw_headers() -> Any:
    raw = client.chat.completions.with_raw_response.create(
        model="sandbox/echo", messages=messages, extra_headers={"X-Request-ID": "mine"}
    )
    return {
        "label": raw.headers["x-request-id"],
        "generation": raw.headers["x-generation-id"],
        "provider": raw.headers["x-provider"],
    }


@step
def models() -> Any:
    return sorted(model.id for model in client.models.list() if model.id.startswith("sandbox/"))


@step
def unknown_model() -> Any:
    return client.chat.completions.create(model="no/such-model", messages=messages)


@step
def wrong_key() -> Any:
    return client.with_options(api_key="gw_test_wrong").chat.completions.create(
        model="sandbox/echo", messages=messages
    )


@step
def wrong_field() -> Any:
    return client.chat.completions.create(model="sandbox/echo", messages=messages, max_tokens=-1)


@step
def too_dear() -> Any:
    return client.chat.completions.create(
        model="sandbox/echo", messages=messages, n=128, max_tokens=2**31 - 1
    )


@step
def upstream_fails() -> Any:
    return client.chat.completions.create(model="sandbox/mock-err503", messages=messages)


@step
def upstream_throttles() -> Any:
    return client.chat.completions.create(model="sandbox/mock-err429", messages=messages)


@step
def cut_stream() -> Any:
    text = ""
    for chunk in client.chat.completions.create(
        model="sandbox/mock-n10-cut4", messages=messages, stream=True
    ):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return {"ended": "cleanly", "text": text}


print(json.dumps(seen, default=str))

"""What an application written for Anthropic does, run in a process of its own.

Prints one JSON object: name of the step → what the SDK made of our answer.
"""

import json
import os
import sys
from typing import Any

import anthropic

client = anthropic.Anthropic(
    base_url=sys.argv[1], api_key=os.environ["KEY"], max_retries=0, timeout=20
)
messages: list[Any] = [{"role": "user", "content": "good morning"}]
seen: dict[str, Any] = {}


def step(function: Any) -> None:
    try:
        seen[function.__name__] = function()
    except anthropic.APIStatusError as error:
        body: Any = error.body
        seen[function.__name__] = {
            "class": type(error).__name__,
            "status": error.status_code,
            "type": body["error"]["type"],
        }


@step
def whole() -> Any:
    answer = client.messages.create(
        model="sandbox/echo", max_tokens=100, messages=messages, system="be kind"
    )
    (block,) = answer.content
    return {
        "id": answer.id,
        "model": answer.model,
        "text": block.text,
        "stop": answer.stop_reason,
        "input": answer.usage.input_tokens,
        "output": answer.usage.output_tokens,
    }


@step
def streamed() -> Any:
    with client.messages.stream(model="sandbox/echo", max_tokens=100, messages=messages) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    return {"text": text, "stop": final.stop_reason, "output": final.usage.output_tokens}


@step
def tools() -> Any:
    answer = client.messages.create(
        model="sandbox/mock-tools",
        max_tokens=100,
        messages=messages,
        tools=[{"name": "sandbox_tool", "input_schema": {"type": "object"}}],
    )
    call = next(block for block in answer.content if block.type == "tool_use")
    return {"name": call.name, "input": call.input, "stop": answer.stop_reason}


@step
def unknown_model() -> Any:
    return client.messages.create(model="no/such", max_tokens=5, messages=messages)


@step
def wrong_key() -> Any:
    other = client.with_options(api_key="gw_test_wrong")
    return other.messages.create(model="sandbox/echo", max_tokens=5, messages=messages)


@step
def wrong_field() -> Any:
    return client.messages.create(model="sandbox/echo", max_tokens=-1, messages=messages)


@step
def upstream_fails() -> Any:
    return client.messages.create(model="sandbox/mock-err503", max_tokens=5, messages=messages)


@step
def cut_stream() -> Any:
    try:
        with client.messages.stream(
            model="sandbox/mock-n10-cut4", max_tokens=100, messages=messages
        ) as stream:
            return {"ended": "cleanly", "text": "".join(stream.text_stream)}
    except anthropic.APIStatusError:
        raise
    except anthropic.APIError as error:
        return {"class": type(error).__name__}


print(json.dumps(seen, default=str))

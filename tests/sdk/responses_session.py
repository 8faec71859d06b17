"""What an application written for OpenAI's Responses and Completions does, in its own process.

Prints one JSON object: name of the step → what the SDK made of our answer.
"""

import json
import os
import sys
from typing import Any

import openai
from openai import OpenAI

client = OpenAI(
    base_url=sys.argv[1] + sys.argv[2], api_key=os.environ["KEY"], max_retries=0, timeout=20
)
seen: dict[str, Any] = {}
TOOL: Any = {
    "type": "function",
    "name": "sandbox_tool",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


def step(function: Any) -> None:
    try:
        seen[function.__name__] = function()
    except openai.APIError as error:
        seen[function.__name__] = {
            "class": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "code": error.code,
            "param": error.param,
        }


@step
def whole() -> Any:
    answer = client.responses.create(
        model="sandbox/echo", input="good morning", instructions="be kind", max_output_tokens=100
    )
    assert answer.usage is not None
    return {
        "id": answer.id,
        "model": answer.model,
        "status": answer.status,
        "text": answer.output_text,
        "instructions": answer.instructions,
        "total": answer.usage.total_tokens,
        "cost": (answer.usage.model_extra or {})["cost"],
    }


@step
def streamed() -> Any:
    text, kinds, numbers = "", [], []
    for event in client.responses.create(
        model="sandbox/echo", input="good morning", instructions="be kind", stream=True
    ):
        kinds.append(event.type)
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            assert event.response.usage is not None
            total, said = event.response.usage.total_tokens, event.response.output_text
    return {
        "text": text,
        "said": said,
        "total": total,
        "first": kinds[0],
        "last": kinds[-1],
        "numbered": numbers == list(range(len(numbers))),
    }


@step
def streamed_by_helper() -> Any:
    with client.responses.stream(model="sandbox/echo", input="good morning") as stream:
        for _ in stream:
            pass
        return stream.get_final_response().output_text


@step
def tools() -> Any:
    answer = client.responses.create(model="sandbox/mock-tools", input="go", tools=[TOOL])
    (call,) = [item for item in answer.output if item.type == "function_call"]
    return {"name": call.name, "arguments": json.loads(call.arguments), "id": call.call_id}


@step
def tools_streamed() -> Any:
    with client.responses.stream(model="sandbox/mock-tools", input="go", tools=[TOOL]) as stream:
        for _ in stream:
            pass
        (call,) = stream.get_final_response().output
    assert call.type == "function_call"
    return {"name": call.name, "arguments": json.loads(call.arguments), "id": call.call_id}


@step
def next_turn() -> Any:
    first = client.responses.create(model="sandbox/mock-tools", input="go", tools=[TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    turns: Any = [
        {"role": "user", "content": "go"},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "done"},
        {"role": "user", "content": "good morning"},
    ]
    return client.responses.create(model="sandbox/echo", input=turns, tools=[TOOL]).output_text


@step
def unknown_model() -> Any:
    return client.responses.create(model="no/such-model", input="hello")


@step
def wrong_key() -> Any:
    other = client.with_options(api_key="gw_test_wrong")
    return other.responses.create(model="sandbox/echo", input="hello")


@step
def wrong_field() -> Any:
    return client.responses.create(model="sandbox/echo", input="hello", max_output_tokens=-1)


@step
def stored() -> Any:
    return client.responses.create(
        model="sandbox/echo", input="hello", previous_response_id="resp_1"
    )


@step
def upstream_fails() -> Any:
    return client.responses.create(model="sandbox/mock-err503", input="hello")


@step
def cut_stream() -> Any:
    kinds = []
    for event in client.responses.create(model="sandbox/mock-n10-cut4", input="hello", stream=True):
        kinds.append(event.type)
    return {"last": kinds[-1], "completed": "response.completed" in kinds}


@step
def completion() -> Any:
    answer = client.completions.create(model="sandbox/echo", prompt="good morning", max_tokens=100)
    assert answer.usage is not None
    (choice,) = answer.choices
    return {
        "id": answer.id,
        "text": choice.text,
        "finish": choice.finish_reason,
        "total": answer.usage.total_tokens,
    }


@step
def completion_streamed() -> Any:
    text, usage, finish = "", None, None
    for chunk in client.completions.create(
        model="sandbox/echo",
        prompt="good morning",
        stream=True,
        stream_options={"include_usage": True},
    ):
        for choice in chunk.choices:
            text += choice.text
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert usage is not None
    return {"text": text, "finish": finish, "total": usage.total_tokens}


@step
def completion_of_tokens() -> Any:
    return client.completions.create(model="sandbox/echo", prompt=[1, 2, 3])


@step
def completion_cut() -> Any:
    text = ""
    for chunk in client.completions.create(
        model="sandbox/mock-n10-cut4", prompt="hello", stream=True
    ):
        text += "".join(choice.text for choice in chunk.choices)
    return {"ended": "cleanly", "text": text}


print(json.dumps(seen, default=str))

"""Agents of two tool turns written with other people's frameworks, run by test_clients.py in an
environment of its own. Prints {"asked": [[name, arguments]], "last"}.
"""

import json
import os
import sys
from typing import Any

kind, url, model, streamed = sys.argv[1:5]
key = os.environ["KEY"]
stream = streamed == "stream"
asked: list[list[str]] = []


def result_of(name: str, given: Any) -> str:
    asked.append([name, json.dumps(given, ensure_ascii=False)])
    return "here it is" if name == "look" else "rain"


def langchain(chat: Any) -> str:
    from langchain_core.messages import HumanMessage, ToolMessage

    parameters = {"type": "object", "properties": {}, "additionalProperties": True}
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": name, "parameters": parameters},
        }
        for name in ("weather", "look")
    ]
    bound = chat.bind_tools(tools)
    messages: list[Any] = [HumanMessage("What is it?")]
    while True:
        if stream:
            answer = None
            for chunk in bound.stream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = bound.invoke(messages)
        if not answer.tool_calls:
            return answer.text if isinstance(answer.text, str) else answer.text()
        messages.append(answer)
        for call in answer.tool_calls:
            said = result_of(call["name"], call["args"])
            messages.append(ToolMessage(said, tool_call_id=call["id"]))


def langchain_openai() -> str:
    from langchain_openai import ChatOpenAI

    return langchain(ChatOpenAI(base_url=url + "/v1", api_key=key, model=model, max_retries=0))


def langchain_responses() -> str:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        base_url=url + "/v1", api_key=key, model=model, max_retries=0, use_responses_api=True
    )
    return langchain(chat)


def langchain_anthropic() -> str:
    from langchain_anthropic import ChatAnthropic

    return langchain(ChatAnthropic(base_url=url, api_key=key, model=model, max_retries=0))


def pydantic_ai() -> str:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(
        OpenAIChatModel(model, provider=OpenAIProvider(base_url=url + "/v1", api_key=key))
    )

    @agent.tool_plain
    def weather(city: str = "") -> str:
        return result_of("weather", {"city": city} if city else {})

    @agent.tool_plain
    def look(what: str = "") -> str:
        return result_of("look", {"what": what})

    if not stream:
        return str(agent.run_sync("What is it?").output)
    import asyncio

    async def follow(_: Any, events: Any) -> None:
        async for _ in events:
            pass

    async def work() -> str:
        return str((await agent.run("What is it?", event_stream_handler=follow)).output)

    return asyncio.run(work())


def instructor() -> str:
    import instructor as library
    from openai import OpenAI
    from pydantic import BaseModel

    class weather(BaseModel):
        city: str

    client = library.from_openai(OpenAI(base_url=url + "/v1", api_key=key, max_retries=0))
    found = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Where is it?"}],
        response_model=weather,
        max_retries=0,
    )
    asked.append(["weather", found.model_dump_json()])
    return found.city


def litellm() -> str:
    import litellm as library

    parameters = {"type": "object", "properties": {}, "additionalProperties": True}
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": name, "parameters": parameters},
        }
        for name in ("weather", "look")
    ]
    messages: list[Any] = [{"role": "user", "content": "What is it?"}]
    while True:
        answer = library.completion(
            model="openai/" + model,
            api_base=url + "/v1",
            api_key=key,
            messages=messages,
            tools=tools,
            stream=stream,
        )
        if stream:
            answer = library.stream_chunk_builder(list(answer), messages=messages)
        message = answer.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            said = result_of(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": said})


AGENTS = {
    f.__name__: f
    for f in (
        langchain_openai,
        langchain_responses,
        langchain_anthropic,
        pydantic_ai,
        instructor,
        litellm,
    )
}
last = AGENTS[kind]()
print(json.dumps({"asked": asked, "last": last}))

"""Strategies for the internal form: what each dialect can say, in the one way it says it."""

from typing import Any

import orjson
from hypothesis import strategies as st

from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    Reasoning,
    ResponseFormat,
    ToolChoice,
)
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

words = st.text(min_size=1, max_size=30)
names = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
base64s = st.binary(min_size=1, max_size=30).map(
    lambda raw: __import__("base64").b64encode(raw).decode()
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
schemas = objects.map(lambda extra: {**extra, "type": "object"})
marks = st.builds(CacheMark, st.sampled_from([None, "5m", "1h"]))
maybe_marks = st.none() | marks
web_addresses = st.from_regex(r"https://example\.com/[a-z]{1,8}", fullmatch=True)
images = st.builds(Source, st.just("data"), base64s, st.sampled_from(["image/png", "image/webp"]))
pictures = images | st.builds(Source, st.just("url"), web_addresses)
# Arguments as their text came, with the blanks and orders of other writers.
arguments = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]).flatmap(
    lambda marks: objects.map(
        lambda value: __import__("json").dumps(value, separators=marks, ensure_ascii=False)
    )
)
plain_arguments = objects.map(lambda value: orjson.dumps(value).decode())


def maybe(strategy: Any) -> Any:
    return st.none() | strategy


def _turns(user: Any, assistant: Any, result: Any) -> Any:
    """A conversation: a user begins, nobody speaks twice in a row."""

    @st.composite
    def build(draw: Any) -> tuple[Message, ...]:
        out = [Message("user", draw(user))]
        for _ in range(draw(st.integers(0, 2))):
            said = draw(assistant)
            out.append(Message("assistant", said))
            calls = [p for p in said if isinstance(p, ToolCall)]
            if calls:
                out.append(Message("tool", tuple(draw(result(call.id)) for call in calls)))
            if not calls or draw(st.booleans()):
                out.append(Message("user", draw(user)))
        return tuple(out)

    return build()


def _lists(*kinds: Any, most: int = 3) -> Any:
    return st.lists(st.one_of(kinds), min_size=1, max_size=most).map(tuple)


choices = st.one_of(
    st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    st.builds(ToolChoice, st.just("required"), names.map(lambda name: (name,))),
)
extras = st.just({}) | st.just({"x_unknown": {"of": ["a", 1]}})

# ---------------------------------------------------------------- chat completions

chat_texts = st.builds(Text, words, cache=maybe_marks)
chat_user = _lists(
    chat_texts,
    st.builds(Image, pictures, maybe(st.sampled_from(["low", "high"])), maybe_marks),
    st.builds(
        Audio,
        base64s.map(lambda data: Source("data", data, "audio/wav")),
        st.just("wav"),
        maybe_marks,
    ),
    st.builds(
        File,
        base64s.map(lambda data: Source("data", data, "application/pdf"))
        | names.map(lambda file_id: Source("id", file_id)),
        maybe(words),
        maybe_marks,
    ),
)
origins = st.sampled_from(["anthropic", "google", "openai", "xai", "other"])
chat_thoughts = st.lists(
    st.builds(Thinking, words, words, origins, maybe(names))
    | st.builds(RedactedThinking, words, origins, maybe(names)),
    max_size=2,
)
chat_calls = st.lists(
    st.builds(ToolCall, names, words, arguments)
    | st.builds(ToolCall, names, words, words, custom=st.just(True))
    | st.builds(ToolCall, names, words, arguments, signature=words, origin=st.just("google")),
    max_size=2,
    unique_by=lambda call: call.id,
)


def _said(thoughts: Any, texts: Any, refusals: Any, calls: Any) -> Any:
    whole = st.tuples(thoughts, texts, refusals, calls)
    return whole.map(lambda parts: tuple(p for part in parts for p in part)).filter(bool)


chat_assistant = _said(
    chat_thoughts,
    st.lists(chat_texts, max_size=2),
    st.lists(st.builds(Refusal, words), max_size=1),
    chat_calls,
)


def chat_result(call_id: str) -> Any:
    return st.builds(
        ToolResult,
        st.just(call_id),
        st.lists(st.builds(Text, words), min_size=1, max_size=2).map(tuple),
        name=maybe(names),
        cache=maybe_marks,
    )


_chat_system = st.lists(
    st.builds(Message, st.sampled_from(["system", "developer"]), _lists(chat_texts), maybe(names)),
    max_size=2,
).map(tuple)
_chat_tools = st.lists(
    st.builds(FunctionTool, words, maybe(words), maybe(schemas), maybe(st.booleans()))
    | st.builds(FunctionTool, words, maybe(words), maybe(schemas), cache=marks)
    | st.just(Opaque("openai_chat", {"type": "web_search", "depth": 1})),
    max_size=3,
).map(tuple)
_reasonings = st.builds(
    Reasoning,
    maybe(st.sampled_from(["low", "high", "none"])),
    maybe(st.integers(1, 100_000)),
    st.sampled_from([None, "on", "off"]),
    maybe(st.sampled_from(["omitted", "auto"])),
).filter(lambda r: r != Reasoning())
_floats = st.floats(0, 1)


@st.composite
def chat_requests(draw: Any) -> GenerationRequest:
    stream = draw(st.booleans())
    turns = draw(_turns(chat_user, chat_assistant, chat_result))
    return GenerationRequest(
        dialect="openai_chat",
        model=draw(words),
        messages=(*draw(_chat_system), *turns),
        tools=draw(_chat_tools),
        tool_choice=draw(maybe(choices | st.just(ToolChoice("auto", ("f", "g"))))),
        parallel_tools=draw(maybe(st.booleans())),
        max_output_tokens=draw(maybe(st.integers(1, 10**6))),
        temperature=draw(maybe(_floats)),
        top_p=draw(maybe(_floats)),
        top_k=draw(maybe(st.integers(0, 100))),
        stop=draw(st.lists(words, max_size=3).map(tuple)),
        seed=draw(maybe(st.integers(0, 2**40))),
        n=draw(st.integers(1, 3)),
        presence_penalty=draw(maybe(_floats)),
        frequency_penalty=draw(maybe(_floats)),
        logit_bias=draw(maybe(st.just({"50256": -100}))),
        logprobs=draw(maybe(st.booleans())),
        top_logprobs=draw(maybe(st.integers(0, 20))),
        response_format=draw(
            st.sampled_from([None, ResponseFormat("text"), ResponseFormat("json_object")])
            | st.builds(
                ResponseFormat,
                st.just("json_schema"),
                maybe(schemas),
                words,
                maybe(words),
                maybe(st.booleans()),
            )
        ),
        reasoning=draw(maybe(_reasonings)),
        verbosity=draw(maybe(st.just("low"))),
        stream=stream,
        include_usage=stream,
        user=draw(maybe(words)),
        metadata=draw(maybe(st.just({"a": "b"}))),
        service_tier=draw(maybe(st.just("auto"))),
        cache=draw(maybe_marks),
        cache_key=draw(maybe(words)),
        extras=draw(extras),
    )


# ---------------------------------------------------------------- messages

message_texts = st.builds(Text, words, extras=extras)
message_user = _lists(
    message_texts,
    st.builds(Image, pictures),
    st.builds(
        File,
        base64s.map(lambda data: Source("data", data, "application/pdf"))
        | names.map(lambda file_id: Source("id", file_id))
        | words.map(lambda text: Source("text", text, "text/plain"))
        | web_addresses.map(lambda url: Source("url", url)),
        maybe(words),
        extras=st.just({}) | st.just({"citations": {"enabled": True}, "context": "c"}),
    ),
    st.just(Opaque("anthropic", {"type": "search_result", "source": "s", "content": []})),
)
_spans = words.map(
    lambda text: {"type": "char_location", "cited_text": text, "document_title": "t"}
)
message_citations = _spans.map(
    lambda raw: Citation(title="t", cited=raw["cited_text"], dialect="anthropic", raw=raw)
)
message_thoughts = st.lists(
    st.builds(Thinking, st.text(max_size=20), words, st.just("anthropic"))
    | st.builds(RedactedThinking, words, st.just("anthropic")),
    max_size=2,
)
message_calls = st.lists(
    st.builds(ToolCall, names, names, plain_arguments),
    max_size=2,
    unique_by=lambda call: call.id,
)
_server_call = Opaque(
    "anthropic", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}
)
message_assistant = _said(
    message_thoughts,
    st.lists(
        st.builds(Text, words, st.lists(message_citations, max_size=2).map(tuple))
        | st.just(_server_call),
        max_size=2,
    ),
    st.just([]),
    message_calls,
)


def message_result(call_id: str) -> Any:
    return st.builds(
        ToolResult,
        st.just(call_id),
        st.lists(st.builds(Text, words) | st.builds(Image, pictures), max_size=2).map(tuple),
        is_error=st.booleans(),
    )


_message_tools = st.lists(
    st.builds(FunctionTool, names, maybe(words), schemas, maybe(st.booleans()), extras=extras)
    | st.just(Opaque("anthropic", {"type": "web_search_20250305", "name": "web_search"})),
    max_size=3,
).map(tuple)
_message_reasonings = st.one_of(
    st.builds(Reasoning, st.sampled_from(["low", "max"])),
    st.builds(
        Reasoning,
        maybe(st.just("high")),
        st.integers(1024, 9999),
        st.just("on"),
        maybe(st.just("omitted")),
    ),
    st.builds(Reasoning, maybe(st.just("low")), st.none(), st.sampled_from(["adaptive", "off"])),
)


@st.composite
def message_requests(draw: Any) -> GenerationRequest:
    choice = draw(maybe(choices))
    parallel = draw(maybe(st.booleans())) if choice and choice.mode != "none" else None
    system = draw(st.lists(message_texts | st.builds(Text, words, cache=marks), max_size=2))
    turns = draw(_turns(message_user, message_assistant, message_result))
    return GenerationRequest(
        dialect="anthropic",
        model="native",
        messages=(*([Message("system", tuple(system))] if system else []), *turns),
        tools=draw(_message_tools),
        tool_choice=choice,
        parallel_tools=parallel,
        max_output_tokens=draw(st.integers(1, 10**6)),
        temperature=draw(maybe(_floats)),
        top_p=draw(maybe(_floats)),
        top_k=draw(maybe(st.integers(0, 100))),
        stop=draw(st.lists(words, max_size=3).map(tuple)),
        response_format=draw(maybe(st.builds(ResponseFormat, st.just("json_schema"), schemas))),
        reasoning=draw(maybe(_message_reasonings)),
        stream=draw(st.booleans()),
        include_usage=True,
        user=draw(maybe(words)),
        metadata=draw(maybe(st.just({"a": "b"}))),
        service_tier=draw(maybe(st.just("auto"))),
        cache=draw(maybe_marks),
        headers=draw(st.just({}) | st.just({"anthropic-beta": "context-1m-2025-08-07"})),
        extras=draw(extras),
    )


# ---------------------------------------------------------------- answers

# One text in an answer of chat completions; its citations are of the whole.
_annotations = words.map(
    lambda title: Citation(
        url="https://example.com/",
        title=title,
        start=0,
        end=1,
        dialect="openai_chat",
        raw={
            "type": "url_citation",
            "url_citation": {
                "url": "https://example.com/",
                "title": title,
                "start_index": 0,
                "end_index": 1,
            },
        },
    )
)
chat_answers = _said(
    chat_thoughts,
    st.lists(st.builds(Text, words, st.lists(_annotations, max_size=2).map(tuple)), max_size=1),
    st.lists(st.builds(Refusal, words), max_size=1),
    chat_calls,
)
# A client of messages gets thoughts of any origin, sealed, and takes them back.
message_answers = _said(
    message_thoughts
    | st.lists(
        st.builds(Thinking, words, maybe(words), origins, maybe(names))
        | st.builds(RedactedThinking, words, origins, names),
        max_size=2,
    ),
    st.lists(
        st.builds(Text, words, st.lists(message_citations, max_size=2).map(tuple))
        | st.just(_server_call),
        max_size=2,
    ),
    st.just([]),
    message_calls
    | st.lists(
        st.builds(
            ToolCall, names, names, plain_arguments, signature=words, origin=st.just("google")
        ),
        max_size=1,
    ),
)


def parts_of(dialect: str) -> Any:
    return {"openai_chat": chat_answers, "anthropic": message_answers}[dialect]


def requests_of(dialect: str) -> Any:
    return {"openai_chat": chat_requests(), "anthropic": message_requests()}[dialect]


__all__ = ["Part", "parts_of", "requests_of"]

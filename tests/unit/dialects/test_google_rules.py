"""The rules of translation to and from this protocol, one by one (spec: roles, tools, thoughts)."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
    InvalidRequest,
    UpstreamAuth,
    UpstreamRejected,
    UpstreamUnavailable,
)
from gatewayz.dialects.events import ArgumentsDelta, CitationDelta
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.generation import (
    Choice,
    Finish,
    FunctionTool,
    Generation,
    GenerationRequest,
    Reasoning,
    ResponseFormat,
    ToolChoice,
)
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.read_parts import audio_format
from gatewayz.dialects.google.schema import from_json_schema, to_json_schema
from gatewayz.dialects.google.usage import read_usage, write_usage
from gatewayz.dialects.google.wire import NO_SIGNATURE, read_path, write_path
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.parts import (
    Citation,
    File,
    Image,
    Message,
    Opaque,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gatewayz.pricing.usage import Usage
from tests.unit.dialects.exchanges import REPORT, TARGET, reply

OLD, NEW = Target("gemini-2.5-flash"), Target("gemini-3-flash-preview")
USER = Message("user", (Text("hi"),))


def request(*messages: Message, dialect: str = "openai_chat", **fields: Any) -> GenerationRequest:
    return GenerationRequest(dialect, "m", messages or (USER,), **fields)


def written(asked: GenerationRequest, target: Target = NEW) -> Any:
    return orjson.loads(GOOGLE.encode_request(asked, target).body)


def read(**body: Any) -> GenerationRequest:
    return GOOGLE.decode_request({"model": "m", "contents": [{"parts": [{"text": "a"}]}], **body})


# ------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models/gemini-3-pro:generateContent", ("gemini-3-pro", "generateContent")),
        ("models/a/b:free:countTokens", ("a/b:free", "countTokens")),
        ("/v1beta/tunedModels/x:generateContent", ("tunedModels/x", "generateContent")),
        (
            "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent",
            ("google/m", "streamGenerateContent"),
        ),
        ("/v1beta1/publishers/a/models/b:free:countTokens", ("a/b:free", "countTokens")),
        ("/v1/models/publishers/a/models/b:generateContent", ("a/b", "generateContent")),
        (
            "/v1beta/models/accounts/a/models/b:generateContent",
            ("accounts/a/models/b", "generateContent"),
        ),
        ("/v1beta/models/m:embedContent", None),
        ("/v1beta/models/m", None),
        ("/v1beta/models:generateContent", None),
    ],
)
def test_a_path_names_model_and_method(path: str, expected: Any) -> None:
    assert read_path(path) == expected


def test_a_native_id_is_quoted_in_the_path() -> None:
    assert write_path(Target("a b?c"), "generateContent") == "/models/a%20b%3Fc:generateContent"
    assert write_path(Target("tunedModels/x"), "countTokens") == "/tunedModels/x:countTokens"


# ------------------------------------------------------------------ turns


def test_a_late_system_prompt_becomes_a_marked_user_text() -> None:
    body = written(
        request(
            Message("system", (Text("one"),)),
            Message("developer", (Text("two"),)),
            USER,
            Message("system", (Text("late"),)),
        )
    )
    assert body["systemInstruction"] == {"parts": [{"text": "one"}, {"text": "two"}]}
    texts = [part["text"] for content in body["contents"] for part in content["parts"]]
    assert texts == ["hi", "<system>late</system>"]


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_a_conversation_begins_with_its_user(role: Any) -> None:
    body = written(request(Message(role, (Text("x"),))))
    assert body["contents"][0] == {"role": "user", "parts": [{"text": "."}]}


def test_results_are_named_by_their_calls_and_keep_json_objects_as_they_are() -> None:
    body = written(
        request(
            USER,
            Message("assistant", (ToolCall("1", "f", '{"a" : 1}'), ToolCall("2", "g", ""))),
            Message(
                "tool",
                (
                    ToolResult("1", (Text('{"b" :2}'),)),
                    ToolResult("2", (Text("no"),), is_error=True),
                ),
            ),
            Message("user", (Text("and?"),)),
        )
    )
    calls, results, last = body["contents"][1:]
    assert [p["functionCall"] for p in calls["parts"]] == [
        {"id": "1", "name": "f", "args": {"a": 1}},
        {"id": "2", "name": "g", "args": {}},
    ]
    assert (results["role"], last["parts"]) == ("user", [{"text": "and?"}])
    assert [p["functionResponse"] for p in results["parts"]] == [
        {"id": "1", "name": "f", "response": {"b": 2}},
        {"id": "2", "name": "g", "response": {"error": "no"}},
    ]


def test_arguments_and_results_keep_their_bytes() -> None:
    call = ToolCall("1", "f", '{"b":1.0,\n "a" : 1e3}')
    sent = GOOGLE.encode_request(
        request(
            USER,
            Message("assistant", (call,)),
            Message("tool", (ToolResult("1", (Text('{"z": 1.50}'),)),)),
        ),
        NEW,
    )
    assert b'{"b":1.0,\n "a" : 1e3}' in sent.body
    assert b'{"z": 1.50}' in sent.body


def test_pictures_of_a_result_stand_in_it_or_behind_it() -> None:
    picture = Image(Source("data", "aGk=", "image/png"))
    asked = request(
        USER,
        Message("assistant", (ToolCall("1", "f", "{}"),)),
        Message("tool", (ToolResult("1", (Text("see"), picture)),)),
    )
    blob = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    beside = written(asked)["contents"][-1]["parts"]
    assert [p for p in beside if "inlineData" in p] == [blob]
    within = Target("gemini-3-x", quirks=frozenset({"result_parts", "no_call_ids"}))
    [only] = written(asked, within)["contents"][-1]["parts"]
    assert only["functionResponse"]["parts"] == [blob]
    assert "id" not in only["functionResponse"]


def test_calls_without_ids_are_matched_by_name_and_order() -> None:
    def called(name: str) -> Any:
        return {"functionCall": {"name": name, "args": {}}}

    def answered(name: str, n: int) -> Any:
        return {"functionResponse": {"name": name, "response": {"n": n}}}

    asked = read(
        contents=[
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [called("f"), called("g"), called("f")]},
            {
                "role": "function",
                "parts": [answered("f", 1), answered("f", 3), answered("g", 2), {"text": "now"}],
            },
        ]
    )
    calls = [p.id for p in asked.messages[1].parts]  # type: ignore[union-attr]
    results = [p.call_id for p in asked.messages[2].parts]  # type: ignore[union-attr]
    assert len(set(calls)) == 3
    assert results == [calls[0], calls[2], calls[1]]
    assert asked.messages[3] == Message("user", (Text("now"),))


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("get_weather", "get_weather"),
        ("a.b:c-d", "a.b:c-d"),
        ("1st", None),
        ("with blank", None),
        ("x" * 80, None),
    ],
)
def test_a_tool_keeps_its_name_for_the_caller(name: str, sent: str | None) -> None:
    out = GOOGLE.encode_request(request(tools=(FunctionTool(name),)), NEW)
    [declared] = orjson.loads(out.body)["tools"][0]["functionDeclarations"]
    assert sent is None or declared["name"] == sent
    assert len(declared["name"]) <= 64
    assert declared["name"][0].isalpha() or declared["name"][0] == "_"
    call = {"functionCall": {"name": declared["name"], "args": {}}}
    raw = orjson.dumps({"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]})
    [part] = GOOGLE.decode_answer(raw, NEW, out.notes).choices[0].parts
    assert isinstance(part, ToolCall)
    assert part.name == name
    assert part.id


# ------------------------------------------------------------------ what is dropped or refused


def test_what_does_no_harm_is_dropped_by_name() -> None:
    asked = request(
        user="u", parallel_tools=False, verbosity="low", logit_bias={"1": 1}, seed=2**40,
        metadata={"a": "b"}, cache_key="k",
    )  # fmt: skip
    dropped = set(GOOGLE.encode_request(asked, NEW).dropped)
    assert dropped == {
        "user", "parallel_tool_calls", "verbosity", "logit_bias", "seed", "metadata",
        "prompt_cache_key",
    }  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        request(stop=tuple("abcdef")),
        request(tools=(Opaque("openai_chat", {"type": "mcp"}),)),
        request(Message("user", (Image(Source("id", "file_1")),))),
        request(Message("user", (Opaque("anthropic", {"type": "container"}),))),
    ],
)
def test_what_must_not_get_lost_is_refused(asked: GenerationRequest) -> None:
    with pytest.raises(InvalidRequest) as raised:
        GOOGLE.encode_request(asked, NEW)
    assert raised.value.param


def test_a_file_of_text_and_an_address_get_a_media_type() -> None:
    parts = written(
        request(
            Message(
                "user",
                (
                    File(Source("text", "abc")),
                    Image(Source("url", "https://x/y.png?a=b")),
                    Image(Source("data", "iVBORw0KGgo=")),
                ),
            )
        )
    )["contents"][0]["parts"]
    assert parts[0] == {"inlineData": {"mimeType": "text/plain", "data": "YWJj"}}
    assert parts[1] == {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y.png?a=b"}}
    assert parts[2]["inlineData"]["mimeType"] == "image/png"


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("required", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("auto", ("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_tool_choice_is_a_calling_mode(choice: ToolChoice, config: Any) -> None:
    body = written(request(tools=(FunctionTool("f"),), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert read(toolConfig=body["toolConfig"]).tool_choice == choice
    assert "toolConfig" not in written(request(tool_choice=choice))


def test_modes_are_read_as_numbers_and_in_small_letters() -> None:
    for mode in (2, "any", "ANY"):
        config = {"function_calling_config": {"mode": mode}}
        assert read(tool_config=config).tool_choice == ToolChoice("required")


# ------------------------------------------------------------------ thoughts


@pytest.mark.parametrize(
    ("reasoning", "target", "expected"),
    [
        (Reasoning("high"), OLD, {"thinkingBudget": 16384, "includeThoughts": True}),
        (Reasoning("none"), OLD, {"thinkingBudget": 0}),
        (Reasoning("none"), Target("gemini-2.5-pro"), {"thinkingBudget": 128}),
        (Reasoning(mode="on"), OLD, {"thinkingBudget": -1, "includeThoughts": True}),
        (Reasoning("max"), OLD, {"thinkingBudget": 24576, "includeThoughts": True}),
        (
            Reasoning(budget_tokens=40_000),
            Target("gemini-2.5-pro"),
            {"thinkingBudget": 32768, "includeThoughts": True},
        ),
        (Reasoning("medium"), NEW, {"thinkingLevel": "medium", "includeThoughts": True}),
        (Reasoning("none"), NEW, {"thinkingLevel": "minimal"}),
        (Reasoning("none"), Target("gemini-3-pro-preview"), {"thinkingLevel": "low"}),
        (Reasoning("max"), NEW, {"thinkingLevel": "high", "includeThoughts": True}),
        (
            Reasoning(budget_tokens=2000, show="omitted"),
            NEW,
            {"thinkingLevel": "low", "includeThoughts": False},
        ),
        (Reasoning(mode="adaptive"), NEW, {"includeThoughts": True}),
        (
            Reasoning("low"),
            Target("x", quirks=frozenset({"thinking_budget"})),
            {"thinkingBudget": 2048, "includeThoughts": True},
        ),
    ],
)
def test_an_effort_is_a_budget_or_a_level(
    reasoning: Reasoning, target: Target, expected: Any
) -> None:
    body = written(request(reasoning=reasoning), target)
    assert body["generationConfig"]["thinkingConfig"] == expected


def test_a_model_that_does_not_think_is_not_asked_to() -> None:
    target = Target("gemini-2.0-flash", reasons=False)
    sent = GOOGLE.encode_request(request(reasoning=Reasoning("high")), target)
    assert b"thinkingConfig" not in sent.body
    assert sent.dropped == ("reasoning_effort",)
    assert GOOGLE.encode_request(request(reasoning=Reasoning("none")), target).dropped == ()


def test_a_signature_goes_only_to_its_own_family() -> None:
    said = Message(
        "assistant",
        (
            Thinking("t", "sig-a", "anthropic"),
            ToolCall("1", "f", "{}", signature="c2ln", origin="google"),
        ),
    )
    body = written(request(USER, said))
    [part] = body["contents"][1]["parts"]
    assert part["thoughtSignature"] == "c2ln"
    other = written(request(USER, said), Target("gemini-3-x", family="xai"))
    assert other["contents"][1]["parts"][0]["thoughtSignature"] == NO_SIGNATURE


def test_the_first_call_of_a_step_gets_a_stand_in_for_a_missing_signature() -> None:
    said = Message("assistant", (ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")))
    first, second = written(request(USER, said))["contents"][1]["parts"]
    assert first["thoughtSignature"] == NO_SIGNATURE
    assert "thoughtSignature" not in second
    assert NO_SIGNATURE.encode() not in GOOGLE.encode_request(request(USER, said), OLD).body


def test_a_tool_of_free_text_is_asked_for_as_a_field_and_comes_back_as_text() -> None:
    sent = GOOGLE.encode_request(request(tools=(FunctionTool("patch", custom=True),)), NEW)
    call = {"functionCall": {"name": "patch", "args": {"input": "a\nb"}}}
    raw = orjson.dumps({"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]})
    [part] = GOOGLE.decode_answer(raw, NEW, sent.notes).choices[0].parts
    assert isinstance(part, ToolCall)
    assert (part.custom, part.arguments) == (True, "a\nb")
    events = GOOGLE.stream_decoder(NEW, sent.notes).feed(b"data: " + raw + b"\n\n")
    assert [e.text for e in events if isinstance(e, ArgumentsDelta)] == ["a\nb"]


# ------------------------------------------------------------------ schemas


def test_the_older_language_of_schemas_is_read() -> None:
    older = {
        "type": "OBJECT",
        "nullable": True,
        "properties": {
            "any_of": {"type": "STRING", "enum": ["a"], "nullable": True},
            "n": {"type": 3, "min_items": "2"},
        },
        "propertyOrdering": ["n"],
        "required": ["n"],
    }
    assert to_json_schema(older) == {
        "type": ["object", "null"],
        "properties": {
            "any_of": {"type": ["string", "null"], "enum": ["a", None]},
            "n": {"type": "integer", "minItems": 2},
        },
        "required": ["n"],
    }


def test_the_older_language_of_schemas_is_written_for_targets_that_have_no_other() -> None:
    schema = {
        "$schema": "x",
        "type": "object",
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "number"}}}},
        "properties": {
            "p": {"$ref": "#/$defs/P"},
            "kind": {"const": "a"},
            "maybe": {"type": ["string", "null"], "format": "uri"},
            "one": {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            "all": {"allOf": [{"type": "string"}, {"minLength": 2}]},
            "list": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["p"],
        "additionalProperties": False,
    }
    assert from_json_schema(schema) == {
        "type": "OBJECT",
        "properties": {
            "p": {"type": "OBJECT", "properties": {"x": {"type": "NUMBER"}}},
            "kind": {"type": "STRING", "enum": ["a"]},
            "maybe": {"type": "STRING", "nullable": True},
            "one": {"nullable": True, "anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
            "all": {"type": "STRING", "minLength": 2},
            "list": {"type": "ARRAY", "items": {"type": "INTEGER"}},
        },
        "required": ["p"],
    }


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#/$defs/N", "$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}}}}}
    assert orjson.dumps(from_json_schema(schema))


def test_a_format_and_a_tool_are_written_in_either_language() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    asked = request(
        tools=(FunctionTool("f", "d", schema), FunctionTool("g", parameters={"type": "object"})),
        response_format=ResponseFormat("json_schema", schema, "name"),
    )
    newer = written(asked)
    assert newer["generationConfig"]["responseJsonSchema"] == schema
    assert newer["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == schema
    older = written(asked, Target("m", quirks=frozenset({"openapi_schema"})))
    assert older["generationConfig"]["responseSchema"]["type"] == "OBJECT"
    first, second = older["tools"][0]["functionDeclarations"]
    assert first["parameters"]["properties"] == {"a": {"type": "STRING"}}
    assert second == {"name": "g"}


# ------------------------------------------------------------------ strict reading


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"generationConfig": {"temperature": True}}, "generationConfig.temperature"),
        ({"generation_config": {"top_p": 2}}, "generationConfig.topP"),
        ({"generationConfig": {"maxOutputTokens": "5"}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        (
            {"generationConfig": {"topK": 1, "top_k": 1}},
            "generationConfig.topK",
        ),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": -2}}},
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"serviceTier": "flex"}, "serviceTier"),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]},
            "contents[0].parts[0].inlineData.data",
        ),
    ],
)
def test_F52_what_is_wrong_is_named(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(**body)
    assert raised.value.param == param


def test_one_part_may_stand_without_a_list() -> None:
    asked = read(
        systemInstruction={"parts": {"text": "s"}},
        contents={"role": "user", "parts": {"text": "u"}},
    )
    assert asked.messages == (Message("system", (Text("s"),)), Message("user", (Text("u"),)))


def test_a_format_that_is_no_json_travels_untouched() -> None:
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING"}}
    asked = read(generationConfig=config)
    assert asked.response_format is None
    assert written(asked)["generationConfig"] == config


# ------------------------------------------------------------------ answers


def test_what_came_in_the_answer_beyond_the_form_goes_back_to_its_own_clients() -> None:
    candidate = {
        "content": {"parts": [{"text": "a"}, {"executableCode": {"code": "1"}}], "role": "model"},
        "finishReason": "SAFETY",
        "index": 0,
        "safetyRatings": [{"category": "C", "probability": "HIGH"}],
        "avgLogprobs": -0.5,
        "citationMetadata": {"citations": [{"uri": "https://x/", "endIndex": 1}]},
    }
    raw = orjson.dumps({"candidates": [candidate], "modelStatus": {"a": 1}})
    generation = GOOGLE.decode_answer(raw, TARGET)
    again = orjson.loads(GOOGLE.encode_answer(generation, reply(), REPORT))
    assert again["candidates"] == [candidate]
    assert again["modelStatus"] == {"a": 1}
    finish = generation.choices[0].finish
    assert finish is not None
    assert (finish.reason, finish.native) == ("content_filter", "SAFETY")
    assert finish.details == {"safetyRatings": candidate["safetyRatings"]}


def test_sources_are_counted_in_characters_here_and_in_bytes_there() -> None:
    text = "Öl ist teuer. Nein."
    support = {
        "segment": {"startIndex": 0, "endIndex": len("Öl ist teuer.".encode()), "text": "Öl"},
        "groundingChunkIndices": [0, 9],
    }
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a/", "title": "A"}}],
        "groundingSupports": [support],
    }
    candidate = {
        "content": {"parts": [{"text": text}]},
        "finishReason": "STOP",
        "groundingMetadata": grounding,
    }
    raw = orjson.dumps({"candidates": [candidate]})
    [part] = GOOGLE.decode_answer(raw, TARGET).choices[0].parts
    assert isinstance(part, Text)
    [citation] = part.citations
    assert (citation.url, citation.title, citation.start, citation.end) == (
        "https://a/",
        "A",
        0,
        13,
    )
    events = GOOGLE.stream_decoder(TARGET).feed(b"data: " + raw + b"\n\n")
    [streamed] = [e.citation for e in events if isinstance(e, CitationDelta)]
    assert streamed == citation
    foreign = Text(text, (Citation("https://a/", "A", start=0, end=13), Citation(title="B")))
    generation = Generation("anthropic", (Choice((foreign,), Finish("stop")),))
    back = orjson.loads(GOOGLE.encode_answer(generation, reply(), REPORT))["candidates"][0]
    first, second = back["groundingMetadata"]["groundingSupports"]
    assert first["segment"] == {"endIndex": 14, "text": "Öl ist teuer."}
    assert second["segment"]["text"] == text
    assert back["groundingMetadata"]["groundingChunks"] == [
        {"web": {"uri": "https://a/", "title": "A"}},
        {"retrievedContext": {"title": "B"}},
    ]


def test_logprobs_go_both_ways() -> None:
    chosen = [{"token": "Hé", "logProbability": -0.5}]
    top = [{"candidates": [{"token": "Hé", "logProbability": -0.5}]}]
    candidate = {
        "content": {"parts": [{"text": "Hé"}], "role": "model"},
        "finishReason": "STOP",
        "index": 0,
        "logprobsResult": {"chosenCandidates": chosen, "topCandidates": top},
    }
    raw = orjson.dumps({"candidates": [candidate]})
    generation = GOOGLE.decode_answer(raw, TARGET)
    logprobs = generation.choices[0].logprobs
    assert logprobs is not None
    assert logprobs["content"][0]["bytes"] == list("Hé".encode())
    again = orjson.loads(GOOGLE.encode_answer(generation, reply(), REPORT))
    assert again["candidates"] == [candidate]


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        (Finish("stop", "stop"), {"finishReason": "STOP"}),
        (Finish("length", "max_tokens"), {"finishReason": "MAX_TOKENS"}),
        (Finish("tool_calls", "tool_use"), {"finishReason": "STOP"}),
        (
            Finish("content_filter", "guardrail_intervened"),
            {"finishReason": "SAFETY", "finishMessage": "guardrail_intervened"},
        ),
        (Finish("content_filter", "RECITATION"), {"finishReason": "RECITATION"}),
        (Finish("error"), {"finishReason": "OTHER"}),
        (Finish("context", None), {"finishReason": "MAX_TOKENS"}),
    ],
)
def test_a_finish_reason_is_one_of_this_protocol(finish: Finish, expected: Any) -> None:
    generation = Generation("x", (Choice((), finish),))
    [candidate] = orjson.loads(GOOGLE.encode_answer(generation, reply(), REPORT))["candidates"]
    assert {k: v for k, v in candidate.items() if k.startswith("finish")} == expected


# ------------------------------------------------------------------ usage


def _detail(modality: str, count: int) -> Any:
    return {"modality": modality, "tokenCount": count}


def test_every_class_is_counted_once() -> None:
    raw = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 30,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 50,
        "thoughtsTokenCount": 11,
        "totalTokenCount": 168,
        "promptTokensDetails": [_detail("TEXT", 60), _detail("AUDIO", 25), _detail("IMAGE", 15)],
        "cacheTokensDetails": [_detail("AUDIO", 5), _detail("TEXT", 25)],
        "candidatesTokensDetails": [_detail("IMAGE", 40), _detail("AUDIO", 4)],
    }
    usage = read_usage(raw)
    assert usage == Usage(
        {
            "input": 57, "cache_read": 30, "audio_in": 20, "output": 6, "reasoning": 11,
            "audio_out": 4, "image_out": 40,
        }
    )  # fmt: skip
    assert usage.input_tokens + usage.output_tokens == 168


def test_thoughts_that_are_inside_after_all_are_not_counted_twice() -> None:
    raw = {"promptTokenCount": 5, "candidatesTokenCount": 9, "thoughtsTokenCount": 4}
    assert read_usage({**raw, "totalTokenCount": 14}) == Usage(
        {"input": 5, "output": 5, "reasoning": 4}
    )
    assert read_usage({**raw, "totalTokenCount": 18}) == Usage(
        {"input": 5, "output": 9, "reasoning": 4}
    )


@pytest.mark.parametrize(
    "raw", [{"promptTokenCount": -1}, {"promptTokenCount": 1.5}, {"a": 1}, {"totalTokenCount": "7"}]
)
def test_F36_counts_that_cannot_be_true_are_refused(raw: Any) -> None:
    with pytest.raises(InvalidUsage):
        read_usage(raw)
    body = {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": raw}
    generation = GOOGLE.decode_answer(orjson.dumps(body), TARGET)
    assert (generation.usage, generation.raw_usage) == (None, raw)


def test_counts_of_other_providers_add_up_for_clients() -> None:
    usage = Usage({"input": 5, "cache_read": 3, "audio_in": 2, "output": 4, "reasoning": 6})
    shown = write_usage(usage, UsageReport(1000, 0, 0, upstream_cost_nanos=7))
    assert orjson.loads(orjson.dumps(shown)) == {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 3,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 6,
        "totalTokenCount": 20,
        "promptTokensDetails": [_detail("TEXT", 8), _detail("AUDIO", 2)],
        "cost": 0.000001,
        "costDetails": {"upstreamInferenceCost": 0.000000007},
    }
    assert read_usage(shown) == usage


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "API key not valid. Please pass one."}, UpstreamAuth),
        (400, {"message": "x", "details": [{"reason": "API_KEY_INVALID"}]}, UpstreamAuth),
        (400, {"message": "User location is not supported for the API use."}, UpstreamAuth),
        (400, {"message": "The text says: API key not valid."}, UpstreamRejected),
        (503, {"message": "overloaded", "status": "UNAVAILABLE"}, UpstreamUnavailable),
    ],
)
def test_our_own_account_is_never_the_callers_fault(
    status: int, error: Any, expected: type[Exception]
) -> None:
    body = orjson.dumps({"error": {"code": status, **error}})
    for raw in (body, b"[" + body + b"]"):
        assert type(GOOGLE.decode_error(TARGET, status, {}, raw)) is expected


def test_a_prompt_that_is_too_long_is_told_as_such() -> None:
    message = "The input token count (1200000) exceeds the maximum number of tokens allowed."
    body = orjson.dumps({"error": {"code": 400, "message": message}})
    assert GOOGLE.decode_error(TARGET, 400, {}, body).code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("mime", "short"),
    [("audio/mpeg", "mp3"), ("audio/L16;codec=pcm;rate=24000", "pcm16"), ("audio/x-wav", "wav")],
)
def test_a_kind_of_audio_has_a_short_name(mime: str, short: str) -> None:
    assert audio_format(mime) == short

from typing import Any

import pytest

from gatewayz.routing.needs import read_needs


def needs(**body: Any) -> Any:
    return read_needs(body, prompt_tokens=10)


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({"temperature": 1, "max_completion_tokens": 5, "stream": True, "user": "u"},
         {"temperature", "max_tokens"}),
        ({"tools": [{"type": "function"}], "tool_choice": "auto"}, {"tools", "tool_choice"}),
        ({"tools": [], "tool_choice": "none"}, set()),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {"response_format"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}},
         {"response_format", "structured_outputs"}),
        ({"text": {"format": {"type": "json_schema"}, "verbosity": "low"}},
         {"response_format", "structured_outputs", "verbosity"}),
        ({"output_config": {"format": {"type": "json_schema"}}},
         {"response_format", "structured_outputs"}),
        ({"thinking": {"type": "enabled"}, "stop_sequences": ["x"]}, {"reasoning", "stop"}),
        ({"generationConfig": {"topK": 3, "responseMimeType": "application/json"}},
         {"top_k", "response_format"}),
    ],
)  # fmt: skip
def test_what_a_request_uses_is_read_in_every_dialect(
    body: dict[str, Any], parameters: set[str]
) -> None:
    assert needs(**body).parameters == parameters


def said(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({"messages": said({"type": "text"}, {"type": "image_url"})}, {"image"}),
        ({"messages": said({"type": "input_audio"}, {"type": "file"})}, {"audio", "file"}),
        ({"messages": said({"type": "image"}, {"type": "document"})}, {"image", "file"}),
        ({"messages": said({"type": "tool_result", "content": [{"type": "image"}]})}, {"image"}),
        ({"input": said({"type": "input_image"}, {"type": "input_file"})}, {"image", "file"}),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "video/mp4"}},
                                  {"fileData": {"mimeType": "application/pdf"}}]}]},
         {"video", "file"}),
        ({"messages": [{"role": "user", "content": "image_url"}], "input": "x"}, set()),
        ({"messages": [3, {"content": [None, {"type": 3}]}], "contents": [None]}, set()),
    ],
)  # fmt: skip
def test_what_a_request_shows_is_read_in_every_dialect(
    body: dict[str, Any], kinds: set[str]
) -> None:
    assert needs(**body).input_modalities == kinds


def test_what_is_to_be_made() -> None:
    assert needs(modalities=["text", "audio"]).output_modalities == {"audio"}
    assert needs(generationConfig={"responseModalities": ["TEXT", "IMAGE"]}).output_modalities == {
        "image"
    }

"""What may be asked to be embedded, and what each provider is sent for it."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.embeddings import wires
from gatewayz.dialects.embeddings.call import EmbeddingsCall
from gatewayz.dialects.moderations.call import ModerationsCall
from gatewayz.dialects.one_shot import WIRES, Place
from gatewayz.dialects.parts import Source
from gatewayz.dialects.rerank import wires as rerank_wires
from tests.unit.dialects.places import REPLY, place

PIXEL = "data:image/png;base64,iVBORw0KGgo="
MIXED = {
    "content": [
        {"type": "text", "text": "a cat"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
}


def sent(where: Place, *, form: str = "openai", **body: Any) -> tuple[str, dict[str, Any], Any]:
    """Path, body and what is named as dropped of a request at an offer."""
    call = EmbeddingsCall(form, {"model": "maker/model", **body})
    call.check(where)
    request = call.exchange(where, REPLY).request
    return request.path, orjson.loads(request.body), request.dropped


def refused(where: Place | None = None, *, form: str = "openai", **body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        sent(where or place("openai"), form=form, **body)
    return refusal.value


BAD: list[tuple[str, dict[str, Any]]] = [
    ("input", {}),
    ("input", {"input": None}),
    ("input", {"input": ""}),
    ("input", {"input": []}),
    ("input", {"input": 7}),
    ("input", {"input": {"text": "x"}}),
    ("input[1]", {"input": ["a", ""]}),
    ("input[1]", {"input": ["a", None]}),
    ("input[0]", {"input": [[]]}),
    ("input[0]", {"input": [True]}),
    ("input", {"input": ["a"] * 2049}),
    ("input", {"input": [1, -1]}),
    ("input", {"input": [1, 2**31]}),
    ("input[1]", {"input": [[1], [2, "x"]]}),
    ("input[1]", {"input": [[1], [2.5]]}),
    ("input[0].content", {"input": [{}]}),
    ("input[0].content", {"input": [{"content": []}]}),
    ("input[0].content[0].type", {"input": [{"content": [{"type": "input_audio"}]}]}),
    ("input[0].content[0].text", {"input": [{"content": [{"type": "text", "text": ""}]}]}),
    (
        "input[0].content[0].image_url",
        {"input": [{"content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
    ),
    ("encoding_format", {"input": "x", "encoding_format": "int8"}),
    ("encoding_format", {"input": "x", "encoding_format": 1}),
    ("output_dtype", {"input": "x", "output_dtype": "int4"}),
    ("output_dtype", {"input": "x", "output_dtype": 8}),
    ("dimensions", {"input": "x", "dimensions": 0}),
    ("dimensions", {"input": "x", "dimensions": 1.5}),
    ("dimensions", {"input": "x", "dimensions": "256"}),
    ("dimensions", {"input": "x", "dimensions": 10**9}),
    ("input_type", {"input": "x", "input_type": 3}),
    ("user", {"input": "x", "user": "u" * 513}),
    ("model", {"input": "x", "model": ""}),
    ("model", {"input": "x", "model": None}),
]


@pytest.mark.parametrize(("param", "body"), BAD, ids=lambda v: str(v)[:40])
def test_a_wrong_field_is_named(param: str, body: dict[str, Any]) -> None:
    error = refused(**body)
    assert (error.status, error.param) == (400, param)


def test_every_form_of_input_goes_on_as_it_came() -> None:
    for value in ("one", ["one", "two"], [[1, 2], [3]], [100257]):
        path, body, dropped = sent(place("openai"), input=value)
        expected = [value] if value == [100257] else value
        assert (path, body, dropped) == (
            "/embeddings",
            {"model": "native", "input": expected},
            (),
        )


def test_what_nobody_knows_travels_and_what_steers_a_gateway_does_not() -> None:
    _, body, _ = sent(place("openai"), input="x", new_field=1, api_key="stolen", base_url="x")
    assert body == {"model": "native", "input": "x", "new_field": 1}


def test_each_provider_gets_its_own_words() -> None:
    asked: dict[str, Any] = {
        "input": ["a", "b"],
        "dimensions": 256,
        "input_type": "search_query",
        "encoding_format": "base64",
        "user": "me",
    }
    path, body, dropped = sent(place("openai"), **asked)
    assert (path, dropped) == ("/embeddings", ("input_type",))
    assert body == {
        "model": "native", "input": ["a", "b"], "dimensions": 256, "user": "me",
        "encoding_format": "base64",
    }  # fmt: skip
    path, body, dropped = sent(place("cohere"), **asked)
    assert (path, dropped) == ("/v2/embed", ("user",))
    assert body == {
        "model": "native", "texts": ["a", "b"], "input_type": "search_query",
        "embedding_types": ["base64"], "output_dimension": 256,
    }  # fmt: skip
    path, body, dropped = sent(place("voyage"), **asked)
    assert (path, dropped) == ("/embeddings", ("user",))
    assert body == {
        "model": "native", "input": ["a", "b"], "input_type": "query", "output_dimension": 256,
        "encoding_format": "base64",
    }  # fmt: skip
    path, body, dropped = sent(place("jina"), **asked)
    assert body == {
        "model": "native", "input": ["a", "b"], "task": "retrieval.query", "dimensions": 256,
        "encoding_format": "base64",
    }  # fmt: skip
    path, body, dropped = sent(place("mistral"), **asked)
    assert dropped == ("input_type", "user")
    assert body == {
        "model": "native", "input": ["a", "b"], "output_dimension": 256,
        "encoding_format": "base64",
    }  # fmt: skip
    path, body, dropped = sent(place("google", native_id="gemini-embedding-001"), **asked)
    assert path == "/models/gemini-embedding-001:batchEmbedContents"
    assert dropped == ("user",)
    assert body["requests"][1] == {
        "model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]},
        "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256,
    }  # fmt: skip
    # No base64 there: asked for as numbers, written as base64 by us.
    _, body, _ = sent(place("deepinfra"), **asked)
    assert "encoding_format" not in body


def test_a_document_is_what_no_one_calls_a_query() -> None:
    _, body, _ = sent(place("cohere"), input="x")
    assert body["input_type"] == "search_document"
    _, body, _ = sent(place("google"), input="x")
    assert "taskType" not in body["requests"][0]
    _, body, _ = sent(place("nvidia-nim"), input="x", input_type="document")
    assert body["input_type"] == "passage"


def test_images_go_where_they_are_taken() -> None:
    _, body, _ = sent(place("cohere"), input=["text", MIXED])
    assert body["inputs"] == [{"content": [{"type": "text", "text": "text"}]}, MIXED]
    _, body, _ = sent(place("google"), input=[MIXED])
    assert body["requests"][0]["content"]["parts"] == [
        {"text": "a cat"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ]
    path, body, _ = sent(place("voyage", native_id="voyage-multimodal-3"), input=["t", MIXED])
    assert path == "/multimodalembeddings"
    assert body["inputs"][0] == {"content": [{"type": "text", "text": "t"}]}
    assert body["inputs"][1]["content"][1] == {"type": "image_base64", "image_base64": PIXEL}
    only_image = {"content": [MIXED["content"][1]]}
    _, body, _ = sent(place("jina"), input=["t", only_image])
    assert body["input"] == ["t", {"image": "iVBORw0KGgo="}]
    assert refused(place("jina"), input=[MIXED]).param == "input[0].content[0]"
    # Text parts alone are a text, which every model takes.
    _, body, _ = sent(place("openai"), input=[{"content": [{"type": "text", "text": "x"}]}])
    assert body["input"] == "x"


def test_an_image_that_is_not_taken_is_named() -> None:
    for where in (place("openai"), place("cohere", inputs=("text",))):
        error = refused(where, input=["x", MIXED])
        assert (error.code, error.param) == ("unsupported_parameter", "input[1].content[1]")


def test_addresses_of_images_are_fetched_for_those_who_take_only_bytes() -> None:
    url = "https://pictures.example/cat.png"
    body = {"model": "m", "input": [{"content": [{"type": "image_url", "image_url": url}]}]}
    call = EmbeddingsCall("openai", body)
    assert call.media(place("voyage")) == ()
    (medium,) = call.media(place("cohere"))
    assert call.place(medium) == "input[0].content[0]"
    call.embed({url: Source("data", "QUJD", "image/png")})
    written = orjson.loads(call.exchange(place("cohere"), REPLY).request.body)
    assert written["inputs"][0]["content"][0]["image_url"]["url"] == "data:image/png;base64,QUJD"
    assert call.media(place("cohere")) == ()


def test_token_ids_go_only_where_they_mean_something() -> None:
    error = refused(place("cohere"), input=[[1, 2]])
    assert (error.code, error.param) == ("unsupported_parameter", "input")


def test_more_inputs_than_one_call_takes_are_several_calls_in_order() -> None:
    texts = [f"text {number}" for number in range(200)]
    call = EmbeddingsCall("openai", {"model": "m", "input": texts, "dimensions": 256})
    call.check(place("cohere"))
    made: Any = call.exchange(place("cohere"), REPLY)
    bodies = [orjson.loads(branch.request.body) for branch in made.branches]
    assert [len(body["texts"]) for body in bodies] == [96, 96, 8]
    assert [text for body in bodies for text in body["texts"]] == texts
    assert {body["output_dimension"] for body in bodies} == {256}
    # What fits in one call is one.
    call = EmbeddingsCall("openai", {"model": "m", "input": texts[:96]})
    assert not hasattr(call.exchange(place("cohere"), REPLY), "branches")


def test_the_owners_cloud_has_words_of_its_own() -> None:
    where = place("google-vertex", native_id="text-embedding-005")
    asked: dict[str, Any] = {"input": ["a", "b"], "dimensions": 256, "input_type": "query"}
    path, body, dropped = sent(where, user="me", **asked)
    assert (path, dropped) == ("/models/text-embedding-005:predict", ("user",))
    assert body == {
        "instances": [
            {"content": "a", "task_type": "RETRIEVAL_QUERY"},
            {"content": "b", "task_type": "RETRIEVAL_QUERY"},
        ],
        "parameters": {"outputDimensionality": 256},
    }
    _, body, _ = sent(where, form="cohere", texts=["a"], truncate="NONE")
    assert body["parameters"] == {"autoTruncate": False}
    newer = place("google-vertex", native_id="gemini-embedding-001")
    made: Any = EmbeddingsCall("openai", {"model": "m", **asked}).exchange(newer, REPLY)
    assert len(made.branches) == 2
    assert refused(where, input=[MIXED]).param == "input[0].content[1]"


def test_numbers_that_are_no_floats_are_asked_of_who_has_them() -> None:
    for kind in ("int8", "uint8", "binary", "ubinary"):
        asked: dict[str, Any] = {"input": ["a"], "output_dtype": kind, "encoding_format": "base64"}
        _, body, _ = sent(place("cohere"), **asked)
        assert body["embedding_types"] == [kind]
        for slug in ("voyage", "mistral"):
            _, body, _ = sent(place(slug), **asked)
            assert body["output_dtype"] == kind
            assert "encoding_format" not in body
        for slug in ("openai", "google", "google-vertex"):
            error = refused(place(slug), **asked)
            assert (error.code, error.param) == ("unsupported_parameter", "output_dtype")
    _, body, _ = sent(place("jina"), input="a", output_dtype="ubinary")
    assert body["embedding_type"] == "ubinary"
    assert refused(place("jina"), input="a", output_dtype="int8").param == "output_dtype"
    _, body, _ = sent(place("openai"), input="a", output_dtype="float")
    assert body == {"model": "native", "input": "a"}


def test_several_kinds_of_numbers_at_once_only_where_one_call_gives_them() -> None:
    asked: dict[str, Any] = {"texts": ["a"], "embedding_types": ["float", "int8", "base64"]}
    _, body, _ = sent(place("cohere"), form="cohere", **asked)
    assert body["embedding_types"] == ["float", "int8"]
    error = refused(place("voyage"), form="cohere", **asked)
    assert (error.code, error.param) == ("unsupported_parameter", "embedding_types")
    both = {"texts": ["a"], "embedding_types": ["float", "base64"]}
    assert sent(place("openai"), form="cohere", **both)[1] == {"model": "native", "input": "a"}


def test_dimensions_are_checked_against_the_model() -> None:
    up_to = place("openai", lengths=(1536,))
    assert sent(up_to, input="x", dimensions=700)[1]["dimensions"] == 700
    assert "at most 1536" in refused(up_to, input="x", dimensions=1537).message
    some = place("cohere", lengths=(1536, 256, 512, 1024))
    assert sent(some, input="x", dimensions=512)[1]["output_dimension"] == 512
    assert "one of 256, 512, 1024, 1536" in refused(some, input="x", dimensions=500).message
    fixed = place("openai", lengths=(1536,), resizes=False)
    error = refused(fixed, input="x", dimensions=256)
    assert (error.code, error.param) == ("unsupported_parameter", "dimensions")
    # What it gives anyway may be asked for, and is not sent: old models refuse the field.
    assert "dimensions" not in sent(fixed, input="x", dimensions=1536)[1]


def test_an_input_that_cannot_fit_is_refused_and_one_that_may_be_cut_is_not() -> None:
    small = place("cohere", context_tokens=512)
    error = refused(small, input=["short", "long words " * 2000])
    assert (error.code, error.param) == ("context_length_exceeded", "input")
    long = {"texts": ["long words " * 2000], "form": "cohere"}
    assert sent(small, **long)[1].get("truncate") == "END"
    assert refused(small, truncate="NONE", **long).param == "texts"
    # Each of many inputs has the context to itself.
    assert len(sent(small, input=["a few words"] * 90)[1]["texts"]) == 90


def test_the_second_form_of_asking_is_read_and_checked() -> None:
    asked: dict[str, Any] = {
        "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"],
        "output_dimension": 256, "truncate": "NONE", "priority": 1,
    }  # fmt: skip
    path, body, dropped = sent(place("cohere"), form="cohere", **asked)
    assert (path, body, dropped) == ("/v2/embed", {"model": "native", **asked}, ())
    _, body, dropped = sent(place("openai"), form="cohere", **asked)
    assert body == {"model": "native", "input": "a", "dimensions": 256}
    assert dropped == ("input_type", "priority")
    for param, wrong in (
        ("texts", {}),
        ("texts", {"texts": ["a"], "images": [PIXEL]}),
        ("texts", {"texts": []}),
        ("texts[0]", {"texts": [""]}),
        ("images[0]", {"images": ["nowhere"]}),
        ("inputs[0].content", {"inputs": ["a"]}),
        ("embedding_types", {"texts": ["a"], "embedding_types": ["int4"]}),
        ("embedding_types", {"texts": ["a"], "embedding_types": "float"}),
        ("output_dimension", {"texts": ["a"], "output_dimension": 0}),
        ("truncate", {"texts": ["a"], "truncate": "middle"}),
    ):
        assert refused(form="cohere", **wrong).param == param


def test_the_estimate_covers_every_input() -> None:
    call = EmbeddingsCall("openai", {"model": "m", "input": ["hello world", "again"]})
    assert (call.prompts, call.prompt_tokens >= 3) == (2, True)
    assert EmbeddingsCall("openai", {"model": "m", "input": [1, 2, 3]}).prompt_tokens == 3
    assert EmbeddingsCall("openai", {"model": "m", "input": [MIXED]}).prompt_tokens > 1000


def test_rows_name_only_wires_that_there_are() -> None:
    assert set(WIRES["embeddings"]) == set(wires.WIRES)
    assert set(WIRES["rerank"]) == set(rerank_wires.WIRES)
    assert ModerationsCall.kind in WIRES

"""Vectors on their way back: every recorded answer, both encodings, every kind of nonsense."""

import base64
import json
import math
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import UpstreamAuth, UpstreamBroken, UpstreamRejected
from gatewayz.dialects.embeddings.call import EmbeddingsCall
from gatewayz.dialects.one_shot import OneShotExchange, Place
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage
from tests.unit.dialects.places import REPLY, REPORT, place

KEPT = Path(__file__).resolve().parents[2] / "recordings" / "embeddings"


def exchange(where: Place, *, reply: Reply = REPLY, **body: Any) -> OneShotExchange[Any]:
    form = body.pop("form", "openai")
    made: Any = EmbeddingsCall(form, {"model": "maker/model", **body}).exchange(where, reply)
    return made  # type: ignore[no-any-return]


def recorded(name: str) -> tuple[Any, int, bytes]:
    stored = json.loads((KEPT / f"{name}.json").read_text())
    response = stored["response"]
    return stored["request"]["body"], response["status"], orjson.dumps(response["body"])


def floats(text: str) -> list[float]:
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@pytest.mark.parametrize(
    ("name", "provider", "length", "tokens"),
    [
        ("mistral__embeddings", "mistral", 1024, 10),
        ("sambanova__embeddings", "sambanova", 4096, 16),
        ("voyage__embeddings", "voyage", 512, 12),
    ],
)
def test_a_recorded_answer_gives_the_same_vectors_in_either_encoding(
    name: str, provider: str, length: int, tokens: int
) -> None:
    request, _, raw = recorded(name)
    where = place(provider)
    shown = {}
    for encoding in ("float", "base64"):
        made = exchange(where, input=request["input"], encoding_format=encoding)
        answer = made.read_answer(raw)
        body = orjson.loads(made.render_answer(answer, REPORT))
        count = 1 if isinstance(request["input"], str) else len(request["input"])
        assert [entry["index"] for entry in body["data"]] == list(range(count))
        assert (body["object"], body["model"]) == ("list", "maker/model")
        assert answer.counted() == Usage({"input": tokens})
        shown[encoding] = [entry["embedding"] for entry in body["data"]]
    assert [len(vector) for vector in shown["float"]] == [length] * len(shown["float"])
    for plain, packed in zip(shown["float"], shown["base64"], strict=True):
        assert floats(packed) == pytest.approx(plain, rel=1e-6)


def test_vectors_pass_through_bit_for_bit_when_both_sides_say_base64() -> None:
    request, _, raw = recorded("voyage__embeddings")
    made = exchange(place("voyage"), input=request["input"], encoding_format="base64")
    body = orjson.loads(made.render_answer(made.read_answer(raw), REPORT))
    original = orjson.loads(raw)
    assert [d["embedding"] for d in body["data"]] == [d["embedding"] for d in original["data"]]


def test_an_answer_in_another_form_than_asked_for_is_broken() -> None:
    """A recorded answer in whole numbers of one byte: no vector of floats."""
    request, _, raw = recorded("cohere__embeddings")
    with pytest.raises(UpstreamBroken):
        exchange(place("cohere"), input=request["texts"]).read_answer(raw)


@pytest.mark.parametrize(
    ("name", "provider", "kind"),
    [
        ("openai__error_400", "openai", UpstreamRejected),
        ("openai__error_401", "openai", UpstreamAuth),
        ("google-gemini__error_400", "google", UpstreamAuth),
    ],
)
def test_a_recorded_refusal_has_its_class(name: str, provider: str, kind: Any) -> None:
    _, status, raw = recorded(name)
    error = exchange(place(provider), input="x").decode_error(status, {}, raw)
    assert type(error) is kind
    assert (error.provider, error.upstream_status) == (provider, status)


def test_a_vendor_status_of_its_own_is_understood() -> None:
    made = exchange(place("cohere"), input="x")
    assert type(made.decode_error(498, {}, b'{"message": "invalid token"}')) is UpstreamAuth


def test_usage_has_the_classes_that_the_price_knows() -> None:
    both = place("cohere", priced=("input", "image_in"))
    image = {"content": [{"type": "image_url", "image_url": "data:image/png;base64,QQ=="}]}
    answer = {
        "embeddings": {"float": [[1.0, 2.0], [3.0, 4.0]]},
        "meta": {"billed_units": {"input_tokens": 3, "image_tokens": 400}},
    }
    asked = {"input": ["a", image]}
    raw = orjson.dumps(answer)
    assert exchange(both, **asked).read_answer(raw).counted() == Usage(
        {"input": 3, "image_in": 400}
    )
    plain = exchange(place("cohere"), **asked).read_answer(raw)
    assert plain.counted() == Usage({"input": 403})
    google = {
        "embeddings": [{"values": [1.0]}, {"values": [2.0]}],
        "usageMetadata": {
            "promptTokenCount": 260,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 2},
                {"modality": "IMAGE", "tokenCount": 258},
            ],
        },
    }
    read = exchange(place("google", priced=("input", "image_in")), **asked)
    assert read.read_answer(orjson.dumps(google)).counted() == Usage({"input": 2, "image_in": 258})


def openai_answer(**more: Any) -> bytes:
    return orjson.dumps({"data": [{"index": 0, "embedding": [1.0, 2.0]}], **more})


def test_no_usage_and_a_zero_that_cannot_be_true_are_estimated_and_nonsense_is_told() -> None:
    made = exchange(place("openai"), input="hello")
    assert made.read_answer(openai_answer()).counted() is None
    zero = {"prompt_tokens": 0, "total_tokens": 0}
    assert made.read_answer(openai_answer(usage=zero)).counted() is None
    for wrong in (-1, "7", 2**60, 1.5):
        answer = made.read_answer(openai_answer(usage={"prompt_tokens": wrong}))
        with pytest.raises(InvalidUsage):
            answer.counted()


def test_a_stated_cost_is_kept_for_comparison() -> None:
    usage = {"prompt_tokens": 3, "estimated_cost": 0.000003}
    made = exchange(place("deepinfra"), input="hello")
    assert made.read_answer(openai_answer(usage=usage)).stated_cost == 0.000003


def test_answers_come_in_the_order_of_their_inputs() -> None:
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    made = exchange(place("openai"), input=["a", "b"])
    answer = made.read_answer(orjson.dumps({"data": data}))
    assert answer.shown("float") == [[1.0], [2.0]]


def test_recorded_vectors_of_whole_numbers_are_told_as_they_are() -> None:
    request, _, raw = recorded("cohere__embeddings")
    original = orjson.loads(raw)["embeddings"]["int8"]
    made = exchange(place("cohere"), input=request["texts"], output_dtype="int8")
    body = orjson.loads(made.render_answer(made.read_answer(raw), REPORT))
    assert [entry["embedding"] for entry in body["data"]] == original
    types = {"texts": request["texts"], "form": "cohere", "embedding_types": ["int8"]}
    made = exchange(place("cohere"), **types)
    body = orjson.loads(made.render_answer(made.read_answer(raw), REPORT))
    assert body["embeddings"] == {"int8": original}


def test_every_kind_that_was_asked_for_is_there_and_floats_in_both_forms() -> None:
    types = ["float", "binary", "base64"]
    made = exchange(
        place("cohere"), form="cohere", texts=["a"], embedding_types=types, output_dimension=16
    )
    vector = [float(number) for number in range(16)]
    raw = orjson.dumps({"embeddings": {"float": [vector], "binary": [[-3, 7]]}})
    shown = orjson.loads(made.render_answer(made.read_answer(raw), REPORT))["embeddings"]
    assert list(shown) == types
    assert (shown["float"], shown["binary"]) == ([vector], [[-3, 7]])
    assert floats(shown["base64"][0]) == vector
    # Eight dimensions are one byte: another length is another vector.
    for wrong in ([[-3]], [[1.5, 2.5]], [["x", "y"]], [[True, False]]):
        raw = orjson.dumps({"embeddings": {"float": [vector], "binary": wrong}})
        with pytest.raises(UpstreamBroken):
            made.read_answer(raw)


def test_answers_of_several_calls_are_one_list_with_one_sum() -> None:
    texts = [f"{number}" for number in range(200)]
    made: Any = exchange(place("cohere"), input=texts)

    def part(start: int, count: int, **more: Any) -> Any:
        vectors = [[float(number)] for number in range(start, start + count)]
        body = {"embeddings": {"float": vectors}, **more}
        return made.branches[start // 96].read_answer(orjson.dumps(body))

    def billed(tokens: Any) -> Any:
        return {"meta": {"billed_units": {"input_tokens": tokens}}}

    answers = [part(0, 96, **billed(10)), part(96, 96, **billed(20)), part(192, 8, **billed(3))]
    joined = made.join(answers)
    body = orjson.loads(made.render_answer(joined, REPORT))
    assert [entry["embedding"] for entry in body["data"]] == [[float(n)] for n in range(200)]
    assert [entry["index"] for entry in body["data"]] == list(range(200))
    assert joined.counted().units == {"input": 33}
    # A sum that lacks one is none, and with one that cannot be true it cannot be true.
    assert made.join([*answers[:2], part(192, 8)]).counted() is None
    with pytest.raises(InvalidUsage):
        made.join([*answers[:2], part(192, 8, **billed(-1))]).counted()
    other = {"embeddings": {"float": [[1.0, 2.0]] * 8}}
    longer = made.branches[2].read_answer(orjson.dumps(other))
    with pytest.raises(UpstreamBroken):
        made.join([*answers[:2], longer])


def test_predictions_of_the_owners_cloud_are_read_with_their_counts() -> None:
    made = exchange(place("google-vertex", native_id="text-embedding-005"), input=["a", "b"])
    predictions = [
        {"embeddings": {"values": [float(n)], "statistics": {"token_count": 2, "truncated": False}}}
        for n in range(2)
    ]
    answer = made.read_answer(orjson.dumps({"predictions": predictions}))
    assert answer.shown("float") == [[0.0], [1.0]]
    assert answer.counted() == Usage({"input": 4})
    del predictions[0]["embeddings"]["statistics"]
    assert made.read_answer(orjson.dumps({"predictions": predictions})).counted() is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": [7]}',
        b'{"data": [{"embedding": []}]}',
        b'{"data": [{"embedding": ["x"]}]}',
        b'{"data": [{"embedding": [1, null]}]}',
        b'{"data": [{"embedding": {"0": 1}}]}',
        b'{"data": [{"embedding": "no base64"}]}',
        b'{"data": [{"embedding": "QUJD"}]}',
        b'{"data": [{"embedding": ""}]}',
        b'{"data": [{"embedding": [1.0]}, {"embedding": [1.0]}]}',
        b'{"data": [{"index": 5, "embedding": [1.0]}]}',
        b'{"data": [{"index": "0", "embedding": [1.0]}]}',
    ],
)
def test_what_is_no_vector_is_a_broken_answer(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        exchange(place("openai"), input="x").read_answer(body)


def test_vectors_of_unequal_or_of_another_length_than_asked_are_broken() -> None:
    unequal = {"data": [{"embedding": [1.0, 2.0]}, {"embedding": [1.0]}]}
    with pytest.raises(UpstreamBroken):
        exchange(place("openai"), input=["a", "b"]).read_answer(orjson.dumps(unequal))
    with pytest.raises(UpstreamBroken):
        exchange(place("openai"), input="a", dimensions=3).read_answer(openai_answer())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["data", "embeddings", "usage", "meta", "results", "error", "object"])


@given(st.dictionaries(FIELDS, JSON, max_size=4), st.sampled_from(["openai", "cohere", "google"]))
def test_junk_is_a_failed_attempt_and_never_a_crash(body: dict[str, Any], provider: str) -> None:
    from gatewayz.core.errors import UpstreamError

    made = exchange(place(provider), input="x")
    try:
        answer = made.read_answer(json.dumps(body).encode())
    except UpstreamError:
        return
    made.render_answer(answer, REPORT)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_both_encodings_say_the_same_number(vector: list[float]) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    for given_as in (vector, packed):
        raw = orjson.dumps({"data": [{"embedding": given_as}]})
        seen = {}
        for encoding in ("float", "base64"):
            made = exchange(place("openai"), input="x", encoding_format=encoding)
            body = orjson.loads(made.render_answer(made.read_answer(raw), REPORT))
            seen[encoding] = body["data"][0]["embedding"]
        assert floats(seen["base64"]) == vector
        assert all(math.isclose(a, b) for a, b in zip(seen["float"], vector, strict=True))


def test_each_mount_writes_its_own_form() -> None:
    raw = openai_answer(usage={"prompt_tokens": 11})
    made = exchange(place("openai"), input="x")
    usage = {
        "prompt_tokens": 11, "total_tokens": 11, "cost": 0.00123,
        "cost_details": {"upstream_inference_cost": None},
    }  # fmt: skip
    data = [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}]
    plain = {"object": "list", "data": data, "model": "maker/model", "usage": usage}
    assert orjson.loads(made.render_answer(made.read_answer(raw), REPORT)) == plain
    routed = Reply(REPLY.request_id, "maker/model", "Maker", "openrouter")
    made = exchange(place("openai"), reply=routed, input="x")
    assert orjson.loads(made.render_answer(made.read_answer(raw), REPORT)) == plain | {
        "id": "gen-01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "provider": "Maker",
        "usage": usage | {"is_byok": False},
    }
    made = exchange(place("openai"), form="cohere", texts=["x"])
    body = orjson.loads(made.render_answer(made.read_answer(raw), REPORT))
    assert body["embeddings"] == {"float": [[1.0, 2.0]]}
    assert body["texts"] == ["x"]
    assert body["meta"]["billed_units"] == {"input_tokens": 11}

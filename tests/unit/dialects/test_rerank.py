"""Reranking: what may be asked, what each provider is sent, what its answer means and costs."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest, UpstreamBroken, UpstreamError
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.one_shot import OneShotExchange, Place
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.rerank.call import RerankCall
from gatewayz.dialects.rerank.form import search_units
from gatewayz.pricing.usage import Usage
from tests.unit.dialects.places import REPLY, place

DOCUMENTS = ["green grass", "the blue sky", "a red car"]
ASKED: dict[str, Any] = {"model": "maker/model", "query": "sky", "documents": DOCUMENTS}
BY_SEARCH = UsageReport(
    cost_nanos=2_000_000, prompt_tokens=0, completion_tokens=0, units={"search": 1}
)


def at(provider: str, **more: Any) -> Place:
    return place(provider, "rerank", **more)


def exchange(where: Place, *, form: str = "openai", **body: Any) -> OneShotExchange[Any]:
    call = RerankCall(form, ASKED | body)
    call.check(where)
    return call.exchange(where, REPLY)


def sent(where: Place, **body: Any) -> tuple[str, Any, tuple[str, ...]]:
    request = exchange(where, **body).request
    return request.path, orjson.loads(request.body), request.dropped


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("model", {"model": ""}),
        ("model", {"model": 7}),
        ("query", {"query": ""}),
        ("query", {"query": None}),
        ("documents", {"documents": None}),
        ("documents", {"documents": []}),
        ("documents", {"documents": "one"}),
        ("documents", {"documents": ["x"] * 10_001}),
        ("documents[1]", {"documents": ["x", ""]}),
        ("documents[0]", {"documents": [3]}),
        ("documents[0]", {"documents": [{"title": "x"}]}),
        ("documents[0].text", {"documents": [{"text": 1}]}),
        ("documents[0].image", {"documents": [{"image": "cat.png"}]}),
        ("top_n", {"top_n": 0}),
        ("top_n", {"top_n": 1.5}),
        ("top_k", {"top_n": 1, "top_k": -1}),
        ("return_documents", {"return_documents": "yes"}),
        ("max_tokens_per_doc", {"max_tokens_per_doc": 0}),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_wrong_field_is_named(param: str, body: dict[str, Any]) -> None:
    for form in ("openai", "cohere"):
        with pytest.raises(InvalidRequest) as refusal:
            RerankCall(form, ASKED | body)
        assert (refusal.value.status, refusal.value.param) == (400, param)


def test_each_provider_gets_its_own_words() -> None:
    more = {"top_n": 2, "max_tokens_per_doc": 100, "instruct": "rank"}
    path, body, dropped = sent(at("cohere"), **more)
    assert (path, dropped) == ("/v2/rerank", ("instruct",))
    assert body == {
        "model": "native", "query": "sky", "documents": DOCUMENTS, "top_n": 2,
        "max_tokens_per_doc": 100,
    }  # fmt: skip
    path, body, dropped = sent(at("voyage"), **more)
    assert (path, dropped) == ("/rerank", ("instruct", "max_tokens_per_doc"))
    assert body == {
        "model": "native", "query": "sky", "documents": DOCUMENTS, "top_k": 2,
        "truncation": True,
    }  # fmt: skip
    path, body, dropped = sent(at("jina"), **more)
    assert (path, dropped) == ("/rerank", ())
    assert body == {
        "model": "native", "query": "sky", "documents": DOCUMENTS, "top_n": 2,
        "max_tokens_per_doc": 100, "instruct": "rank", "return_documents": False,
    }  # fmt: skip
    path, body, _ = sent(at("deepinfra", native_id="Qwen/Qwen3-Reranker-8B"), **more)
    assert path == "/inference/Qwen/Qwen3-Reranker-8B"
    assert body == {"queries": ["sky"] * 3, "documents": DOCUMENTS}
    path, body, _ = sent(at("tei"), **more)
    assert (path, body["texts"], "model" in body) == ("/rerank", DOCUMENTS, False)


def test_pictures_go_where_they_are_read_and_are_named_elsewhere() -> None:
    documents = ["text", {"image": "https://x.example/a.png"}]
    _, body, _ = sent(at("jina"), documents=documents)
    assert body["documents"] == documents
    for where in (at("cohere"), at("jina", inputs=("text",))):
        with pytest.raises(InvalidRequest) as refusal:
            exchange(where, documents=documents)
        assert refusal.value.param == "documents[1].image"


def test_too_many_documents_for_one_call_are_refused_with_the_number() -> None:
    with pytest.raises(InvalidRequest, match="at most 1000 documents"):
        exchange(at("voyage"), documents=["x"] * 1001)


ANSWERS: list[tuple[str, Any, Usage | None]] = [
    (
        "cohere",
        {
            "id": "x",
            "results": [
                {"index": 1, "relevance_score": 0.9},
                {"index": 2, "relevance_score": 0.5},
                {"index": 0, "relevance_score": 0.1},
            ],
            "meta": {"billed_units": {"search_units": 1}},
        },
        Usage({"search": 1}),
    ),
    (
        "voyage",
        {
            "object": "list",
            "data": [
                {"index": 1, "relevance_score": 0.9},
                {"index": 2, "relevance_score": 0.5},
                {"index": 0, "relevance_score": 0.1},
            ],
            "usage": {"total_tokens": 26},
        },
        Usage({"input": 26}),
    ),
    (
        "jina",
        {
            # Not every server sorts.
            "results": [
                {"index": 0, "relevance_score": 0.1, "document": {"text": "theirs"}},
                {"index": 1, "relevance_score": 0.9},
                {"index": 2, "relevance_score": 0.5},
            ],
            "usage": {"total_tokens": 26, "prompt_tokens": 25},
        },
        Usage({"input": 25}),
    ),
    (
        "deepinfra",
        {"scores": [0.1, 0.9, 0.5], "input_tokens": 31, "inference_status": {"cost": 0.0001}},
        Usage({"input": 31}),
    ),
    ("tei", [{"index": i, "score": s} for i, s in ((1, 0.9), (2, 0.5), (0, 0.1))], None),
]


@pytest.mark.parametrize(("provider", "answer", "usage"), ANSWERS, ids=lambda v: str(v)[:12])
def test_every_wire_gives_the_same_ranking(provider: str, answer: Any, usage: Usage | None) -> None:
    priced = ("search",) if provider == "cohere" else ("input",)
    for top_n in (1, 3, 50):
        made = exchange(at(provider, priced=priced), top_n=top_n)
        read = made.read_answer(orjson.dumps(answer))
        assert [(r.position, r.score) for r in read.results] == [(1, 0.9), (2, 0.5), (0, 0.1)][
            :top_n
        ]
        assert read.counted() == usage


def test_a_price_by_tokens_is_never_billed_by_searches_nor_the_reverse() -> None:
    results = [{"index": i, "relevance_score": 0.5} for i in range(3)]
    meta = {"billed_units": {"search_units": 1, "input_tokens": 40}}
    raw = orjson.dumps({"results": results, "meta": meta})
    assert exchange(at("cohere")).read_answer(raw).counted() == Usage({"input": 40})
    searched = exchange(at("cohere", priced=("search",)))
    assert searched.read_answer(raw).counted() == Usage({"search": 1})
    unstated = orjson.dumps({"results": results, "usage": {"total_tokens": 9}})
    assert searched.read_answer(unstated).counted() is None


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [7],
        [{"index": 0, "relevance_score": 1}],
        [{"index": i, "relevance_score": None} for i in range(3)],
        [{"index": i, "relevance_score": True} for i in range(3)],
        [{"index": 0, "relevance_score": 1}] * 3,
        [{"index": i, "relevance_score": 1} for i in (0, 1, 3)],
        [{"index": i, "relevance_score": 1} for i in (0, 1, -1)],
    ],
)
def test_what_is_no_ranking_is_a_broken_answer(results: Any) -> None:
    with pytest.raises(UpstreamBroken):
        exchange(at("jina")).read_answer(orjson.dumps({"results": results}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["results", "data", "scores", "usage", "meta", "index", "error"])


@given(
    st.dictionaries(FIELDS, JSON, max_size=4) | JSON,
    st.sampled_from(["jina", "cohere", "deepinfra", "tei", "voyage"]),
)
def test_junk_is_a_failed_attempt_and_never_a_crash(body: Any, provider: str) -> None:
    made = exchange(at(provider))
    try:
        answer = made.read_answer(json.dumps(body).encode())
    except UpstreamError:
        return
    made.render_answer(answer, BY_SEARCH)


def rendered(form: str, style: Any, **body: Any) -> Any:
    where = at("cohere", priced=("search",))
    made = RerankCall(form, ASKED | body).exchange(
        where, Reply(REPLY.request_id, "maker/model", "Maker", style)
    )
    return orjson.loads(
        made.render_answer(made.read_answer(orjson.dumps(ANSWERS[0][1])), BY_SEARCH)
    )


def test_documents_are_repeated_where_the_protocol_does_so_or_the_caller_asks() -> None:
    first = rendered("openai", "openai", top_n=1)
    assert first["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "the blue sky"}}
    ]
    assert rendered("openai", "openai", top_n=1, return_documents=False)["results"] == [
        {"index": 1, "relevance_score": 0.9}
    ]
    assert rendered("cohere", "openai", top_n=1)["results"] == [
        {"index": 1, "relevance_score": 0.9}
    ]
    asked = [{"text": d, "title": "kept"} for d in DOCUMENTS]
    echoed = rendered("openai", "openai", top_n=1, documents=asked)["results"][0]["document"]
    assert echoed == {"text": "the blue sky", "title": "kept"}


def test_each_mount_writes_its_own_form() -> None:
    usage = {
        "search_units": 1, "total_tokens": 0, "cost": 0.002,
        "cost_details": {"upstream_inference_cost": None},
    }  # fmt: skip
    plain = rendered("openai", "openai", top_n=1)
    assert plain["usage"] == usage
    assert (plain["id"], plain["model"]) == ("gen-01ARZ3NDEKTSV4RRFFQ69G5FAV", "maker/model")
    assert "provider" not in plain
    assert rendered("openai", "openrouter")["provider"] == "Maker"
    assert rendered("cohere", "openai")["meta"] == {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
    }


def test_a_search_is_a_hundred_documents_of_usual_length() -> None:
    assert search_units(10, [20] * 100) == 1
    assert search_units(10, [20] * 101) == 2
    # A long document counts as several, each with the query.
    assert search_units(100, [400, 401]) == 1
    assert search_units(100, [400] * 50 + [401] * 50) == 2
    assert search_units(600, [1]) == 1


def test_the_estimate_covers_the_query_with_every_document() -> None:
    call = RerankCall("openai", ASKED)
    assert call.prompts == 3
    assert call.prompt_tokens >= 3 + 8
    assert call.units == {"search": 1}

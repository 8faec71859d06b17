"""Moderation: what may be asked, what goes on, what comes back and what it costs."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.moderations.call import ModerationsCall
from gatewayz.dialects.moderations.form import DEFAULT_MODEL
from gatewayz.dialects.one_shot import OneShotExchange
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage
from tests.unit.dialects.places import REPLY, place

FREE = UsageReport(
    cost_nanos=0, prompt_tokens=5, completion_tokens=0, estimated=True, units={"input": 5}
)
PARTS = [
    {"type": "text", "text": "look"},
    {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
]


def exchange(provider: str = "openai", **body: Any) -> OneShotExchange[Any]:
    call = ModerationsCall("openai", {"model": "maker/model", **body})
    where = place(provider, "moderations")
    call.check(where)
    return call.exchange(where, REPLY)


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("input", {}),
        ("input", {"input": []}),
        ("input", {"input": 7}),
        ("input", {"input": ["x", 7]}),
        ("input", {"input": ["x", PARTS[0]]}),
        ("input", {"input": ["x"] * 2049}),
        ("input[0].type", {"input": [{"type": "audio"}]}),
        ("input[0].text", {"input": [{"type": "text"}]}),
        ("input[0].image_url.url", {"input": [{"type": "image_url", "image_url": {}}]}),
        ("model", {"input": "x", "model": ""}),
        ("model", {"input": "x", "model": 1}),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_wrong_field_is_named(param: str, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        ModerationsCall("openai", body)
    assert (refusal.value.status, refusal.value.param) == (400, param)


def test_the_input_goes_on_as_it_came() -> None:
    for value in ("one", ["one", "two"], PARTS, ["one"], ""):
        request = exchange(input=value).request
        assert request.path == "/moderations"
        assert orjson.loads(request.body) == {"model": "native", "input": value}


def test_without_a_model_the_usual_one_is_asked() -> None:
    assert ModerationsCall("openai", {"input": "x"}).model == DEFAULT_MODEL


def test_pictures_are_named_where_they_are_not_judged() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        exchange("mistral", input=PARTS)
    assert refusal.value.param == "input[0]"


def result(**more: Any) -> dict[str, Any]:
    return {"categories": {"hate": False, "harm": True}, "category_scores": {"hate": 0.1}} | more


def test_judgements_come_back_as_they_are_and_summed_up_where_they_were_not() -> None:
    stated = result(flagged=False, category_applied_input_types={"hate": ["text"]})
    made = exchange(input=["a", "b"])
    raw = orjson.dumps({"id": "theirs", "model": "theirs", "results": [stated, result()]})
    body = orjson.loads(made.render_answer(made.read_answer(raw), FREE))
    assert body["results"] == [stated, result(flagged=True)]
    assert (body["id"], body["model"]) == ("modr-01ARZ3NDEKTSV4RRFFQ69G5FAV", "maker/model")
    assert body["usage"] == {
        "prompt_tokens": 5, "total_tokens": 5, "estimated": True, "cost": 0,
        "cost_details": {"upstream_inference_cost": None},
    }  # fmt: skip


def test_usage_is_read_where_it_is_stated() -> None:
    made = exchange(input="a")
    raw = {"results": [result(flagged=True)]}
    assert made.read_answer(orjson.dumps(raw)).counted() is None
    stated = made.read_answer(orjson.dumps(raw | {"usage": {"prompt_tokens": 4}}))
    assert stated.counted() == Usage({"input": 4})


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [7],
        [{}],
        [result(), result()],
        [{"categories": {"hate": "no"}, "category_scores": {}}],
        [{"categories": [], "category_scores": {}}],
    ],
)
def test_what_is_no_judgement_is_a_broken_answer(results: Any) -> None:
    with pytest.raises(UpstreamBroken):
        exchange(input="x").read_answer(orjson.dumps({"results": results}))


def test_the_other_mount_has_its_own_id_and_the_providers_name() -> None:
    call = ModerationsCall("openai", {"input": "x"})
    reply = Reply(REPLY.request_id, "maker/model", "Maker", "openrouter")
    made = call.exchange(place("openai", "moderations"), reply)
    raw = orjson.dumps({"results": [result(flagged=True)]})
    body = orjson.loads(made.render_answer(made.read_answer(raw), FREE))
    assert (body["id"], body["provider"]) == ("gen-01ARZ3NDEKTSV4RRFFQ69G5FAV", "Maker")

"""Vectors as a client reads them: OpenAI's list, OpenRouter's, Cohere's object."""

import orjson

from gatewayz.core.ids import public_id
from gatewayz.core.money import usd_number
from gatewayz.dialects.embeddings.form import EmbeddingsRequest, Vectors
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.protocol import Reply


def write_openai(
    answer: Vectors, request: EmbeddingsRequest, reply: Reply, report: UsageReport
) -> bytes:
    """The list object of /v1/embeddings; /api/v1 adds id and provider."""
    body: JsonObject = {"object": "list"}
    if reply.style == "openrouter":
        body |= {"id": public_id(reply.request_id, "gen-"), "provider": reply.provider}
    body["data"] = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(answer.shown(request.types[0]))
    ]
    body["model"] = reply.model
    body["usage"] = usage_object(report, reply.style)
    return orjson.dumps(body)


def write_cohere(
    answer: Vectors, request: EmbeddingsRequest, reply: Reply, report: UsageReport
) -> bytes:
    """The object of /v2/embed. Its receipt stands in `meta`, as its clients expect it."""
    images = report.units.get("image_in", 0)
    billed: JsonObject = {"input_tokens": report.prompt_tokens - images}
    if images:
        billed["image_tokens"] = images
    texts = [item for item in request.items if type(item) is str]
    body: JsonObject = {
        "id": public_id(reply.request_id, "gen-"),
        "response_type": "embeddings_by_type",
        "embeddings": {kind: answer.shown(kind) for kind in request.types},
        "texts": texts,
        "meta": {"api_version": {"version": "2"}, "billed_units": billed},
        "model": reply.model,
        "usage": usage_object(report, reply.style),
    }
    return orjson.dumps(body)


def usage_object(report: UsageReport, style: Style) -> JsonObject:
    """`usage` of a kind that writes nothing: what was read, what it cost."""
    usage: JsonObject = {
        "prompt_tokens": report.prompt_tokens,
        "total_tokens": report.prompt_tokens,
    }
    images = report.units.get("image_in", 0)
    if images:
        usage["prompt_tokens_details"] = {
            "text_tokens": report.prompt_tokens - images,
            "image_tokens": images,
        }
    return usage | money_fields(report, style)


def money_fields(report: UsageReport, style: Style) -> JsonObject:
    """What an answer's `usage` says of money, in USD."""
    upstream = report.upstream_cost_nanos
    fields: JsonObject = {"estimated": True} if report.estimated else {}
    if style == "openrouter":
        fields["is_byok"] = report.byok
    fields["cost"] = usd_number(report.cost_nanos)
    fields["cost_details"] = {
        "upstream_inference_cost": None if upstream is None else usd_number(upstream)
    }
    return fields

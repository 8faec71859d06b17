"""A client's rerank request as a call: its sizes, what it becomes at a provider, its answer."""

from collections.abc import Mapping

import orjson

from gatewayz.core.errors import GatewayError, InvalidRequest
from gatewayz.core.ids import public_id
from gatewayz.dialects.cohere.write_error import encode_cohere_error
from gatewayz.dialects.embeddings.write_answer import money_fields
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.one_shot import OneShotExchange, Place, WithoutMedia
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.rerank.form import Document, Ranking, search_units
from gatewayz.dialects.rerank.read_request import read_request
from gatewayz.dialects.rerank.wires import WIRES
from gatewayz.pricing.estimate import IMAGE_TOKENS, text_tokens


class RerankCall(WithoutMedia):
    """One request. `v2`: by Cohere's second version, with its errors, documents unasked never."""

    kind = "rerank"
    prompts: int

    def __init__(self, form: str, body: JsonObject) -> None:
        self._v2 = form == "cohere"
        self._request = request = read_request(body, with_documents=not self._v2)
        query = text_tokens(request.query)
        sizes = [_tokens(document) for document in request.documents]
        self.model = request.model
        self.prompts = len(sizes)
        # Some read the query with every document, and bill it as often.
        self.prompt_tokens = query * len(sizes) + sum(sizes)
        self.units: Mapping[str, int] = {"search": search_units(query, sizes)}
        self.end_user = request.user
        self.session = request.session

    def check(self, place: Place) -> None:
        request, most = self._request, place.endpoint.max_items
        if most is not None and len(request.documents) > most:
            raise InvalidRequest(
                f"'{place.model}' takes at most {most} documents, not {len(request.documents)}.",
                param="documents",
            )
        if "image" in place.inputs and WIRES[place.endpoint.wire].images:
            return
        for position, document in enumerate(request.documents):
            if document.image is not None:
                raise place.refuse(f"documents[{position}].image", "images")

    def exchange(self, place: Place, reply: Reply) -> OneShotExchange[Ranking]:
        request, wire = self._request, WIRES[place.endpoint.wire]
        return OneShotExchange(
            wire.write(request, place),
            place.target,
            lambda body: wire.read(body, request, place),
            lambda answer, report: self._write(answer, reply, report),
        )

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        encode = encode_cohere_error if self._v2 else encode_error
        return encode(error, style=style, request_id=request_id)

    def _write(self, answer: Ranking, reply: Reply, report: UsageReport) -> bytes:
        """OpenRouter's object with Cohere's receipt (`meta`) besides: clients of both read it."""
        searches = report.units.get("search", 0)
        usage: JsonObject = {"total_tokens": report.prompt_tokens}
        billed: JsonObject = {"input_tokens": report.prompt_tokens}
        if searches:
            usage = {"search_units": searches, **usage}
            billed = {"search_units": searches}
        body: JsonObject = {"id": public_id(reply.request_id, "gen-"), "model": reply.model}
        if reply.style == "openrouter":
            body["provider"] = reply.provider
        body["results"] = [self._result(result.position, result.score) for result in answer.results]
        body["usage"] = usage | money_fields(report, reply.style)
        version = "2" if self._v2 else "1"
        body["meta"] = {"api_version": {"version": version}, "billed_units": billed}
        return orjson.dumps(body)

    def _result(self, index: int, score: float) -> JsonObject:
        result: JsonObject = {"index": index, "relevance_score": score}
        if self._request.with_documents:
            raw = self._request.documents[index].raw
            result["document"] = {"text": raw} if isinstance(raw, str) else raw
        return result


def _tokens(document: Document) -> int:
    image = IMAGE_TOKENS if document.image is not None else 0
    return image + text_tokens(document.text or "")

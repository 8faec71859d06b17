"""Offers as the wires of embeddings, rerank and moderations see them, from the rows that ship."""

from collections.abc import Collection
from functools import cache

from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.one_shot import Place
from gatewayz.dialects.protocol import Reply
from gatewayz.providers.config import load_providers
from gatewayz.providers.provider import Provider

REPORT = UsageReport(
    cost_nanos=1_230_000, prompt_tokens=11, completion_tokens=0, units={"input": 11}
)
REPLY = Reply("req_01ARZ3NDEKTSV4RRFFQ69G5FAV", "maker/model", "Maker", "openai")


@cache
def _rows() -> dict[str, Provider]:
    return dict(load_providers(sandbox_url="http://127.0.0.1:1/v1"))


def place(
    provider: str,
    kind: str = "embeddings",
    *,
    native_id: str = "native",
    priced: Collection[str] = ("input",),
    inputs: tuple[str, ...] = ("text", "image"),
    lengths: tuple[int, ...] = (),
    resizes: bool = True,
    context_tokens: int | None = None,
) -> Place:
    row = _rows()[provider]
    target = Target(native_id, provider=provider, usage=row.usage, errors=row.errors, dialect=kind)
    return Place(
        target, row.kinds[kind], frozenset(priced), "maker/model", inputs, lengths, resizes,
        context_tokens,
    )  # fmt: skip

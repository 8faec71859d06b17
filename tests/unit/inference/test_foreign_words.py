"""Words of providers and callers never reach the ledger or an answer's head as they came."""

from dataclasses import dataclass

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer
from gatewayz.inference.finish import bill
from gatewayz.inference.job import MAX_DROPPED, served_headers
from gatewayz.pricing.price import Price
from gatewayz.pricing.usage import Usage
from gatewayz.providers.config import load_providers


@dataclass
class Said:
    finish: str | None
    stated_cost: float | None = None
    output_tokens_estimate: int = 1

    def counted(self) -> Usage | None:
        return Usage({"input": 1, "output": 1})


def test_a_finish_reason_with_a_nul_or_without_end_is_written_short_and_printable() -> None:
    offer = Offer("o", "m", "p", "n", Price("v", {"input": 1, "output": 1}))
    for word in ("st\x00op", "x" * 10_000, "a\r\nb"):
        charge = ChargeMessage("req_1", "a", "k", "m", False, 0)
        bill(charge, Said(word), offer, prompt_tokens=1, hold_nanos=1, outcome="completed")
        assert charge.finish is not None
        assert charge.finish.isprintable() and len(charge.finish) <= 64


def test_dropped_parameters_cannot_break_the_answers_head() -> None:
    @dataclass
    class Request:
        dropped: tuple[str, ...]

    @dataclass
    class Exchange:
        request: Request

    names = ("x\r\nset-cookie: evil=1", *[f"p{i}" for i in range(500)])
    provider = load_providers()["groq"]
    headers = dict(served_headers(provider, Exchange(Request(names))))  # type: ignore[arg-type]
    shown = headers[b"x-gatewayz-dropped-params"]
    assert b"\r" not in shown and b"\n" not in shown
    assert len(shown.split(b", ")) <= MAX_DROPPED

"""The state of one Stripe account: objects, events, the clock. Everything else acts on it."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.fakes.stripe.errors import missing

API_VERSION = "2026-10-28.endive"
SHAPES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("shapes.json").read_text())
PREFIXES = {
    "balance_transaction": "txn", "billing_portal.session": "bps", "charge": "ch",
    "checkout.session": "cs_test", "customer": "cus", "dispute": "dp", "event": "evt",
    "invoice": "in", "invoice_payment": "inpay", "invoiceitem": "ii", "item": "li",
    "line_item": "il", "payment_intent": "pi", "payment_method": "pm", "price": "price",
    "product": "prod", "radar.early_fraud_warning": "issfr", "refund": "re",
    "setup_intent": "seti", "subscription": "sub", "subscription_item": "si",
    "test_helpers.test_clock": "clock", "webhook_endpoint": "we",
}  # fmt: skip
Object = dict[str, Any]


def shaped(kind: str, **fields: Any) -> Object:
    """Every field the documented object has; those not given are empty of the same sort."""
    shape = SHAPES[kind]
    unknown = set(fields) - set(shape)
    assert not unknown, f"{kind} has no {unknown}"
    out: Object = _filled(shape, fields)
    out["metadata"] = fields.get("metadata") or {}
    if "metadata" not in shape:
        del out["metadata"]
    out["object"] = kind
    return out


def _filled(sample: Object, given: Object) -> Object:
    out = dict(given)
    for name, example in sample.items():
        if name not in given:
            out[name] = [] if isinstance(example, list) else None
        elif isinstance(example, dict) and isinstance(given[name], dict):
            out[name] = _filled(example, given[name])
    return out


def completed(made: Any) -> Any:
    """A copy in which every object, however deep, has every field that is documented for it."""
    if isinstance(made, list):
        return [completed(one) for one in made]
    if not isinstance(made, dict):
        return made
    kind = made.get("object")
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    whole = _filled(shape, made) if shape else made
    return {name: completed(held) for name, held in whole.items()}


def listed(data: list[Object], url: str, *, more: bool = False) -> Object:
    return {"object": "list", "data": data, "has_more": more, "url": url}


class Stripe:
    """One account. `now_s` moves only when somebody moves it or says how much real time passed."""

    def __init__(self, *, now_s: int = 1_790_000_000, livemode: bool = False) -> None:
        self.now_s = now_s
        self.livemode = livemode
        self.objects: dict[str, dict[str, Object]] = {kind: {} for kind in SHAPES}
        self.events: list[Object] = []
        self.numbers = 0

    def new_id(self, kind: str) -> str:
        self.numbers += 1
        number = self.numbers
        noise = hashlib.sha256(f"{kind}{number}".encode()).hexdigest()[:16]
        return f"{PREFIXES[kind]}_{number:06d}{noise}"

    def time_of(self, customer: str | None) -> int:
        """A customer on a test clock lives in that clock's time."""
        if customer:
            clock = self.objects["customer"].get(customer, {}).get("test_clock")
            if clock:
                return int(self.find("test_helpers.test_clock", clock)["frozen_time"])
        return self.now_s

    def make(self, kind: str, **fields: Any) -> Object:
        made = shaped(kind, **fields)
        made["id"] = fields.get("id") or self.new_id(kind)
        if "created" in made and made["created"] is None:
            made["created"] = self.time_of(made.get("customer"))
        if "livemode" in made:
            made["livemode"] = self.livemode
        self.objects[kind][made["id"]] = made
        return made

    def find(self, kind: str, given: Any, param: str = "id") -> Object:
        found = self.objects[kind].get(given)
        if found is None:
            raise missing(kind.rpartition(".")[2], str(given), param)
        return found

    def all(self, kind: str, **where: Any) -> list[Object]:
        """In the order in which they were made."""
        return [
            held
            for held in self.objects[kind].values()
            if all(held.get(name) == value for name, value in where.items())
        ]

    def emit(self, kind: str, subject: Object, *, before: Object | None = None) -> Object:
        """An event with the object as it is now; `before` holds what an update replaced."""
        data: Object = {"object": completed(copy.deepcopy(subject))}
        if before is not None:
            data["previous_attributes"] = before
        event = self.make(
            "event",
            type=kind,
            data=data,
            api_version=API_VERSION,
            pending_webhooks=1,
            request={"id": None, "idempotency_key": None},
        )
        self.events.append(event)
        return event

    def update(self, subject: Object, kind: str | None = None, **fields: Any) -> Object:
        """Change fields and, when `kind` is given, tell of it."""
        before = {n: copy.deepcopy(subject[n]) for n, v in fields.items() if subject[n] != v}
        subject.update(fields)
        if kind and before:
            self.emit(kind, subject, before=before)
        return subject

"""Lists, searches and expansions: the reading half of Stripe's API."""

import re
from typing import Any

from tests.fakes.stripe.account import Object, Stripe
from tests.fakes.stripe.errors import missing, wrong
from tests.fakes.stripe.forms import whole

MOST = 100
# Filters of lists that name a field of the object.
FILTERS = (
    "customer", "status", "type", "payment_intent", "charge", "subscription", "price", "product",
    "active", "email", "invoice",
)  # fmt: skip
_TERM = re.compile(
    r"""\s*(?P<not>-)?(?P<field>[a-z_]+)(?:\[['"](?P<key>[^'"]+)['"]\])?"""
    r"""(?P<op>[:~<>]=?)\s*(?:'(?P<a>[^']*)'|"(?P<b>[^"]*)"|(?P<c>\w+))\s*"""
)
# Which field of which object names another object.
LINKS = {
    "customer": "customer", "latest_charge": "charge", "payment_intent": "payment_intent",
    "charge": "charge", "invoice": "invoice", "latest_invoice": "invoice",
    "subscription": "subscription", "payment_method": "payment_method", "product": "product",
    "balance_transaction": "balance_transaction", "default_payment_method": "payment_method",
    "setup_intent": "setup_intent",
}  # fmt: skip


def list_page(stripe: Stripe, kind: str, params: dict[str, Any], url: str) -> Object:
    """Newest first; `starting_after` and `ending_before` are ids of the page before."""
    found = [o for o in reversed(stripe.all(kind)) if _suits(o, kind, params)]
    limit = whole(params, "limit", 10)
    if not 1 <= limit <= MOST:
        raise wrong("Invalid integer: limit must be between 1 and 100", "limit")
    ids = [one["id"] for one in found]
    if params.get("starting_after"):
        found = found[_place(ids, params["starting_after"], kind) + 1 :]
    elif params.get("ending_before"):
        before = found[: _place(ids, params["ending_before"], kind)]
        return _page(before[-limit:], url, more=len(before) > limit)
    return _page(found[:limit], url, more=len(found) > limit)


def search_page(stripe: Stripe, kind: str, params: dict[str, Any], url: str) -> Object:
    """https://docs.stripe.com/search: terms joined by AND or OR, not both."""
    query = params.get("query") or ""
    either = " OR " in query
    terms = [_term(text) for text in re.split(r"\s+(?:AND|OR)\s+", query) if text.strip()]
    if not terms:
        raise wrong("We were unable to parse your search query.", "query")
    join = any if either else all
    found = [o for o in reversed(stripe.all(kind)) if join(_matches(o, *term) for term in terms)]
    limit = whole(params, "limit", 10)
    start = int(params.get("page") or 0)
    page = found[start : start + limit]
    more = len(found) > start + limit
    return {
        "object": "search_result",
        "url": url,
        "has_more": more,
        "data": page,
        "next_page": str(start + limit) if more else None,
    }


def expanded(stripe: Stripe, answer: Object, paths: Any) -> Object:
    """The answer with ids replaced by what they name; the stored objects stay as they are."""
    for path in paths or []:
        answer = _expand(stripe, answer, path.split("."))
    return answer


def _expand(stripe: Stripe, held: Any, path: list[str]) -> Any:
    if isinstance(held, list):
        return [_expand(stripe, one, path) for one in held]
    if not path or not isinstance(held, dict):
        return held
    name, rest = path[0], path[1:]
    inner = held.get(name)
    if name == "payments" and held.get("object") == "invoice":
        data = stripe.all("invoice_payment", invoice=held["id"])
        inner = _page(data, f"/v1/invoice_payments?invoice={held['id']}", more=False)
    elif isinstance(inner, str) and name in LINKS:
        inner = stripe.objects[LINKS[name]].get(inner, inner)
    elif inner is None and name not in held:
        raise wrong(f"This property cannot be expanded ({name}).", "expand")
    return held | {name: _expand(stripe, inner, rest)}


def _page(data: list[Object], url: str, *, more: bool) -> Object:
    return {"object": "list", "url": url, "has_more": more, "data": data}


def _place(ids: list[str], given: str, kind: str) -> int:
    if given not in ids:
        raise missing(kind, given, "starting_after")
    return ids.index(given)


def _suits(held: Object, kind: str, params: dict[str, Any]) -> bool:
    for name in FILTERS:
        if name not in params or params[name] == "all":
            continue
        if name in held and str(held[name]).lower() != params[name].lower():
            return False
    if kind == "subscription" and "status" not in params and held["status"] == "canceled":
        return False
    types = params.get("types")
    if types and held["type"] not in types:
        return False
    return _in_time(held, params.get("created"))


def _in_time(held: Object, wanted: Any) -> bool:
    if wanted is None:
        return True
    at = held["created"]
    if not isinstance(wanted, dict):
        return bool(at == int(wanted))
    checks = {
        "gte": lambda edge: at >= edge,
        "gt": lambda edge: at > edge,
        "lte": lambda edge: at <= edge,
        "lt": lambda edge: at < edge,
    }
    return all(checks[name](int(edge)) for name, edge in wanted.items())


def _term(text: str) -> tuple[bool, str, str | None, str, str]:
    found = _TERM.fullmatch(text)
    if found is None:
        raise wrong("We were unable to parse your search query.", "query")
    value = next((v for v in (found["a"], found["b"], found["c"]) if v is not None), "")
    return bool(found["not"]), found["field"], found["key"], found["op"], value


def _matches(held: Object, negated: bool, field: str, key: str | None, op: str, value: str) -> bool:
    actual = held.get(field)
    if key is not None:
        actual = (actual or {}).get(key)
    if op == ":":
        hit = actual is not None and str(actual).lower() == value.lower()
    elif op == "~":
        hit = value.lower() in str(actual or "").lower()
    else:
        number = actual or 0
        hit = {
            ">": number > int(value),
            "<": number < int(value),
            ">=": number >= int(value),
            "<=": number <= int(value),
        }[op]
    return hit != negated

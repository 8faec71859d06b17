"""The HTTP face: Stripe's routes, its keys, its idempotency, and levers for tests under /_test."""

import asyncio
import hmac
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.stripe import reversals
from tests.fakes.stripe.account import Object, Stripe, completed
from tests.fakes.stripe.checkout import Checkout
from tests.fakes.stripe.deliveries import Deliveries, Endpoint, Manners
from tests.fakes.stripe.errors import StripeFault, missing, wrong
from tests.fakes.stripe.forms import decode_form, needed, truth, whole
from tests.fakes.stripe.pages import pay_page, portal_page
from tests.fakes.stripe.payments import Payments
from tests.fakes.stripe.reading import expanded, list_page, search_page
from tests.fakes.stripe.subscriptions import Subscriptions

Params = dict[str, Any]
Act = Callable[..., Any]
# Path of a collection → kind of its objects, for lists, look-ups and searches.
COLLECTIONS = {
    "balance_transactions": "balance_transaction",
    "charges": "charge",
    "checkout/sessions": "checkout.session",
    "customers": "customer",
    "disputes": "dispute",
    "events": "event",
    "invoice_payments": "invoice_payment",
    "invoiceitems": "invoiceitem",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "prices": "price",
    "products": "product",
    "radar/early_fraud_warnings": "radar.early_fraud_warning",
    "refunds": "refund",
    "setup_intents": "setup_intent",
    "subscription_items": "subscription_item",
    "subscriptions": "subscription",
    "test_helpers/test_clocks": "test_helpers.test_clock",
    "webhook_endpoints": "webhook_endpoint",
}


@dataclass
class Kept:
    """What an idempotency key stands for."""

    asked: tuple[str, str]
    status: int
    body: bytes


class FakeStripe:
    """The account, its parts and its mail. `url` is where its own pages are reached."""

    def __init__(
        self,
        *,
        url: str = "http://127.0.0.1:12111",
        key: str = "sk_test_fake",
        livemode: bool = False,
        now_s: int = 1_790_000_000,
    ) -> None:
        self.key = key
        self.stripe = Stripe(now_s=now_s, livemode=livemode)
        self.payments = Payments(self.stripe)
        self.subscriptions = Subscriptions(self.stripe, self.payments)
        self.checkout = Checkout(self.stripe, self.payments, self.subscriptions, url=url)
        self.deliveries = Deliveries(self.stripe)
        self.requests: list[tuple[str, str, Params]] = []
        # Told of every change, when somebody keeps the account.
        self.on_change: Callable[[], None] = lambda: None
        self._kept: dict[str, Kept] = {}
        self._posts = self._acts()
        self.app = Starlette(
            routes=[
                Route("/v1/{path:path}", self._serve, methods=["GET", "POST", "DELETE"]),
                Route("/pay/{session}", self._pay, methods=["GET", "POST"]),
                Route("/portal/{customer}", self._portal),
                Route("/_test/{lever:path}", self._pull, methods=["POST"]),
            ]
        )

    # ------------------------------------------------------------------ the API

    async def _serve(self, request: Request) -> Response:
        auth = request.headers.get("authorization", "")
        if not hmac.compare_digest(auth.encode(), f"Bearer {self.key}".encode()):
            return _refusal(StripeFault(401, "Invalid API Key provided."))
        path = request.path_params["path"].rstrip("/")
        text = request.url.query if request.method == "GET" else (await request.body()).decode()
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if key and key in self._kept:
            kept = self._kept[key]
            if kept.asked != (path, text):
                return _refusal(
                    StripeFault(
                        400,
                        "Keys for idempotent requests can only be used with the same parameters "
                        "they were first used with.",
                        type="idempotency_error",
                    )
                )
            headers = {"idempotent-replayed": "true"}
            return Response(kept.body, kept.status, headers, media_type="application/json")
        answer = self._answer(request.method, path, text)
        # What was refused before anything was tried is not remembered.
        if key and (answer.status_code < 400 or answer.status_code == 402):
            self._kept[key] = Kept((path, text), answer.status_code, bytes(answer.body))
        self._mail()
        return answer

    def _answer(self, method: str, path: str, text: str) -> Response:
        try:
            params = decode_form(text)
            self.requests.append((method, path, params))
            expand = params.pop("expand", None)
            made = self._act(method, path, params)
            return JSONResponse(completed(expanded(self.stripe, made, expand)))
        except StripeFault as fault:
            return _refusal(fault)

    def _act(self, method: str, path: str, params: Params) -> Object:
        if method == "GET":
            return self._read(path, params)
        for verb, pattern, act in self._posts:
            found = pattern.fullmatch(path)
            if verb == method and found:
                made: Object = act(*found.groups(), params)
                return made
        raise StripeFault(404, f"Unrecognized request URL ({method}: /v1/{path}).")

    def _read(self, path: str, params: Params) -> Object:
        url = f"/v1/{path}"
        if path in COLLECTIONS:
            self.checkout.expire_due()
            return list_page(self.stripe, COLLECTIONS[path], params, url)
        collection, _, given = path.rpartition("/")
        if given == "search" and collection in COLLECTIONS:
            return search_page(self.stripe, COLLECTIONS[collection], params, url)
        if given == "line_items":
            data = self.checkout.line_items(collection.rpartition("/")[2])
            return {"object": "list", "url": url, "has_more": False, "data": data}
        if given == "payment_methods" and collection.startswith("customers/"):
            return self.checkout.cards_of(collection.rpartition("/")[2])
        if path == "balance":
            return self._balance()
        kind = COLLECTIONS.get(collection)
        if kind is None:
            raise StripeFault(404, f"Unrecognized request URL (GET: /v1/{path}).")
        if kind == "customer" and given not in self.stripe.objects[kind]:
            gone = any(
                e["type"] == "customer.deleted" and e["data"]["object"]["id"] == given
                for e in self.stripe.events
            )
            if gone:
                return {"id": given, "object": "customer", "deleted": True}
        self.checkout.expire_due()
        return self.stripe.find(kind, given)

    def _balance(self) -> Object:
        amount = sum(one["net"] for one in self.stripe.all("balance_transaction"))
        part = [{"amount": amount, "currency": "usd", "source_types": {"card": amount}}]
        return {"object": "balance", "available": part, "pending": [], "livemode": False}

    def _acts(self) -> list[tuple[str, re.Pattern[str], Act]]:
        pay, subs, out = self.payments, self.subscriptions, self.checkout
        table: dict[str, Act] = {
            "POST customers": out.create_customer,
            "POST customers/ID": out.update_customer,
            "DELETE customers/ID": lambda given, _: out.delete_customer(given),
            "POST products": subs.create_product,
            "POST prices": subs.create_price,
            "POST checkout/sessions": out.create_session,
            "POST checkout/sessions/ID/expire": lambda given, _: out.expire(given),
            "POST billing_portal/sessions": out.create_portal,
            "POST payment_intents": pay.create_intent,
            "POST payment_intents/ID": self._change_intent,
            "POST payment_intents/ID/confirm": pay.confirm,
            "POST payment_intents/ID/cancel": lambda given, p: pay.cancel(
                given, p.get("cancellation_reason")
            ),
            "POST payment_methods/ID/attach": lambda given, p: pay.attach(
                given, needed(p, "customer")
            ),
            "POST payment_methods/ID/detach": lambda given, _: pay.detach(given),
            "POST setup_intents": pay.create_setup,
            "POST setup_intents/ID/confirm": pay.confirm_setup,
            "POST refunds": lambda p: reversals.refund(self.stripe, p),
            "POST refunds/ID": lambda given, p: reversals.update_refund(self.stripe, given, p),
            "POST disputes/ID/close": lambda given, _: reversals.close_dispute(
                self.stripe, given, won=False
            ),
            "POST subscriptions": subs.create,
            "POST subscriptions/ID": subs.update,
            "POST subscriptions/ID/resume": lambda given, _: subs.resume(given),
            "DELETE subscriptions/ID": lambda given, _: subs.cancel(given),
            "POST test_helpers/test_clocks": subs.create_clock,
            "POST test_helpers/test_clocks/ID/advance": lambda given, p: subs.advance_clock(
                given, whole(p, "frozen_time")
            ),
            "POST webhook_endpoints": self._add_endpoint,
        }
        acts = []
        for name, act in table.items():
            verb, path = name.split(" ")
            acts.append((verb, re.compile(path.replace("ID", "([^/]+)")), act))
        return acts

    def _change_intent(self, given: str, params: Params) -> Object:
        intent = self.stripe.find("payment_intent", given, "intent")
        plain: Params = {k: params[k] for k in ("description", "receipt_email") if k in params}
        if "metadata" in params:
            plain["metadata"] = intent["metadata"] | params["metadata"]
        if "amount" in params:
            if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
                raise wrong("The amount cannot be changed any more.", "amount")
            plain["amount"] = whole(params, "amount")
        return self.stripe.update(intent, **plain)

    def _add_endpoint(self, params: Params) -> Object:
        made = self.stripe.make(
            "webhook_endpoint",
            url=needed(params, "url"),
            enabled_events=params.get("enabled_events") or ["*"],
            status="enabled",
            metadata=dict(params.get("metadata") or {}),
        )
        secret = f"whsec_{made['id']}"
        types = tuple(made["enabled_events"])
        self.deliveries.endpoints.append(Endpoint(made["url"], secret, types))
        # Shown once, as Stripe does.
        return made | {"secret": secret}

    # -------------------------------------------------------------------- pages

    async def _pay(self, request: Request) -> Response:
        session = self.stripe.objects["checkout.session"].get(request.path_params["session"])
        if session is None:
            return HTMLResponse("No such session.", 404)
        if request.method == "GET":
            return HTMLResponse(pay_page(session))
        card = decode_form((await request.body()).decode()).get("card", "pm_card_visa")
        try:
            self.checkout.pay(session["id"], card, email=session["customer_email"])
        except StripeFault as fault:
            return HTMLResponse(pay_page(session, str(fault)), fault.status)
        finally:
            self._mail()
        to = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
        return RedirectResponse(to, 303)

    async def _portal(self, request: Request) -> Response:
        customer = self.stripe.objects["customer"].get(request.path_params["customer"])
        if customer is None:
            return HTMLResponse("No such customer.", 404)
        held = self.stripe.all("subscription", customer=customer["id"])
        sessions = self.stripe.all("billing_portal.session", customer=customer["id"])
        back = sessions[-1]["return_url"] if sessions else "/"
        return HTMLResponse(portal_page(customer, held, back or "/"))

    # ------------------------------------------------------------------- levers

    async def _pull(self, request: Request) -> Response:
        """What the world does: people, banks, time. Parameters as in the API's form."""
        params = decode_form((await request.body()).decode())
        try:
            made = await self.pull(request.path_params["lever"], params)
        except StripeFault as fault:
            return _refusal(fault)
        self._mail()
        return JSONResponse(made)

    async def pull(self, lever: str, params: Params) -> Any:
        pay, out = self.payments, self.checkout
        name, _, given = lever.partition("/")
        levers: dict[str, Callable[[], Any]] = {
            "pay": lambda: out.pay(given, params.get("card", "pm_card_visa")),
            "settle": lambda: out.settle(given, paid=truth(params, "paid", True)),
            "authenticate": lambda: pay.authenticate(given, passed=truth(params, "passed", True)),
            "dispute": lambda: reversals.open_dispute(self.stripe, given),
            "close_dispute": lambda: reversals.close_dispute(
                self.stripe, given, won=truth(params, "won")
            ),
            "fail_refund": lambda: reversals.fail_refund(self.stripe, given),
            "warn_of_fraud": lambda: reversals.warn_of_fraud(self.stripe, given),
            "pause": lambda: self.subscriptions.pause(given),
            "advance": lambda: self._advance(whole(params, "seconds")),
            "manners": lambda: self._set_manners(params),
        }
        if name == "deliver":
            async with httpx.AsyncClient(timeout=30) as client:
                done = await self.deliveries.deliver(client)
            return {"attempts": [vars(one) for one in done]}
        if name not in levers:
            raise missing("lever", name)
        return levers[name]()

    def _advance(self, seconds: int) -> Object:
        self.subscriptions.advance(self.stripe.now_s + seconds)
        self.checkout.expire_due()
        return {"now": self.stripe.now_s}

    def _set_manners(self, params: Params) -> Object:
        seed = params.get("shuffle_seed")
        self.deliveries.manners = Manners(
            copies=whole(params, "copies", 1),
            shuffle_seed=int(seed) if seed else None,
            hold=truth(params, "hold"),
        )
        return vars(self.deliveries.manners)

    # --------------------------------------------------------------------- mail

    _posting: asyncio.Task[None] | None = None

    def _mail(self) -> None:
        """Send in the background, one round at a time, unless the mail is held back."""
        self.on_change()
        if self.deliveries.manners.hold or not self.deliveries.endpoints:
            return
        if self._posting is None or self._posting.done():
            self._posting = asyncio.get_running_loop().create_task(self._post())

    async def _post(self) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
            for pause_s in (0.0, 0.2, 1.0, 3.0, 10.0, 30.0):
                await asyncio.sleep(pause_s)
                while self.deliveries.due:
                    done = await self.deliveries.deliver(client)
                    if any(a.status is None or a.status >= 300 for a in done):
                        break
                else:
                    return


def _refusal(fault: StripeFault) -> Response:
    return Response(json.dumps({"error": fault.error}), fault.status, media_type="application/json")

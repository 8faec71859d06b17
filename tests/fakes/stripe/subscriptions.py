"""Products, prices, subscriptions and their invoices, moved by clocks."""

from datetime import UTC, datetime
from typing import Any

from tests.fakes.stripe.account import Object, Stripe, listed
from tests.fakes.stripe.errors import StripeFault, wrong
from tests.fakes.stripe.forms import merged_metadata, needed, truth, whole
from tests.fakes.stripe.invoices import Invoices, item_of
from tests.fakes.stripe.payments import Payments

# Stripe tells of the next invoice this long before.
UPCOMING_S = 3 * 86400
LIVE = ("active", "trialing", "past_due", "unpaid", "paused")


class Subscriptions:
    def __init__(self, stripe: Stripe, payments: Payments) -> None:
        self._stripe = stripe
        self._invoices = Invoices(stripe, payments)
        self._announced: set[tuple[str, int]] = set()

    # ------------------------------------------------------------ the catalogue

    def create_product(self, params: dict[str, Any]) -> Object:
        if params.get("id") in self._stripe.objects["product"]:
            raise wrong("Product already exists.", "id", "resource_already_exists")
        made = self._stripe.make(
            "product",
            name=needed(params, "name"),
            active=True,
            type="service",
            description=params.get("description"),
            metadata=dict(params.get("metadata") or {}),
            updated=self._stripe.now_s,
            **({"id": params["id"]} if params.get("id") else {}),
        )
        self._stripe.emit("product.created", made)
        return made

    def create_price(self, params: dict[str, Any]) -> Object:
        product = self._stripe.find("product", needed(params, "product"), "product")
        amount = whole(params, "unit_amount")
        recurring = params.get("recurring")
        if recurring:
            recurring = {
                "interval": needed(recurring, "interval"),
                "interval_count": whole(recurring, "interval_count", 1),
                "usage_type": "licensed",
                "meter": None,
                "trial_period_days": None,
            }
        made = self._stripe.make(
            "price",
            product=product["id"],
            unit_amount=amount,
            unit_amount_decimal=str(amount),
            currency=needed(params, "currency").lower(),
            recurring=recurring or None,
            type="recurring" if recurring else "one_time",
            billing_scheme="per_unit",
            active=True,
            nickname=params.get("nickname"),
            lookup_key=params.get("lookup_key"),
            tax_behavior="unspecified",
            metadata=dict(params.get("metadata") or {}),
        )
        self._stripe.emit("price.created", made)
        return made

    # ------------------------------------------------------------ subscriptions

    def create(self, params: dict[str, Any]) -> Object:
        customer = self._stripe.find("customer", needed(params, "customer"), "customer")
        price = self._price_of((params.get("items") or [{}])[0])
        now_s = self._stripe.time_of(customer["id"])
        trial_days = whole(params, "trial_period_days", 0)
        card = params.get("default_payment_method") or self._invoices.default_card(customer)
        made = self._stripe.make(
            "subscription",
            customer=customer["id"],
            status="trialing" if trial_days else "incomplete",
            currency=price["currency"],
            billing_cycle_anchor=now_s,
            start_date=now_s,
            collection_method="charge_automatically",
            cancel_at_period_end=False,
            default_payment_method=card,
            metadata=dict(params.get("metadata") or {}),
            automatic_tax={"enabled": False, "liability": None, "disabled_reason": None},
            trial_start=now_s if trial_days else None,
            trial_end=now_s + trial_days * 86400 if trial_days else None,
            test_clock=customer["test_clock"],
            cancellation_details={"comment": None, "feedback": None, "reason": None},
        )
        end_s = made["trial_end"] or _later(now_s, price["recurring"])
        made["items"] = listed(
            [self._item(made, price, whole((params.get("items") or [{}])[0], "quantity", 1))],
            f"/v1/subscription_items?subscription={made['id']}",
        )
        _set_period(made, now_s, end_s)
        self._stripe.emit("customer.subscription.created", made)
        if not trial_days:
            self._invoices.bill(made, "subscription_create")
            if made["status"] == "incomplete" and params.get("payment_behavior") == (
                "error_if_incomplete"
            ):
                del self._stripe.objects["subscription"][made["id"]]
                raise StripeFault(402, "Your card was declined.", code="card_declined")
        return made

    def update(self, given: str, params: dict[str, Any]) -> Object:
        held = self._stripe.find("subscription", given, "subscription")
        if held["status"] in ("canceled", "incomplete_expired"):
            raise wrong("A canceled subscription can only update its cancellation_details.")
        before = {"items": held["items"]} if params.get("items") else {}
        changes: dict[str, Any] = {"metadata": merged_metadata(held["metadata"], params)}
        if "cancel_at_period_end" in params:
            changes |= self._end_at_period(held, truth(params, "cancel_at_period_end"))
        if "default_payment_method" in params:
            changes["default_payment_method"] = params["default_payment_method"] or None
        if "pause_collection" in params:
            paused = params["pause_collection"] or None
            changes["pause_collection"] = paused
        replaced = {name: held[name] for name, value in changes.items() if held[name] != value}
        held |= changes
        prorated: list[tuple[int, str]] = []
        if params.get("items"):
            prorated = self._swap(held, params["items"][0])
        if before or replaced:
            self._stripe.emit("customer.subscription.updated", held, before=before | replaced)
        how = params.get("proration_behavior", "create_prorations")
        if prorated and how == "always_invoice":
            self._invoices.bill(held, "subscription_update", prorated)
        elif prorated and how == "create_prorations":
            for amount, text in prorated:
                self._add_item(held, amount, text)
        return held

    def cancel(self, given: str) -> Object:
        held = self._stripe.find("subscription", given, "subscription")
        if held["status"] == "canceled":
            raise wrong("No such active subscription", "subscription", "resource_missing")
        return self._end(held, "cancellation_requested")

    def pause(self, given: str) -> Object:
        """A trial that ended with no card, as Stripe pauses it."""
        held = self._stripe.find("subscription", given)
        held["status"] = "paused"
        self._stripe.emit("customer.subscription.paused", held)
        return held

    def resume(self, given: str) -> Object:
        held = self._stripe.find("subscription", given, "subscription")
        if held["status"] != "paused":
            raise wrong("This subscription cannot be resumed: it is not paused.")
        held["status"] = "active"
        self._stripe.emit("customer.subscription.resumed", held)
        return held

    # ------------------------------------------------------------------- clocks

    def create_clock(self, params: dict[str, Any]) -> Object:
        return self._stripe.make(
            "test_helpers.test_clock",
            frozen_time=whole(params, "frozen_time"),
            name=params.get("name"),
            status="ready",
            deletes_after=whole(params, "frozen_time") + 30 * 86400,
        )

    def advance_clock(self, given: str, to_s: int) -> Object:
        clock = self._stripe.find("test_helpers.test_clock", given)
        if to_s <= clock["frozen_time"]:
            raise wrong("A test clock can only be advanced into the future.", "frozen_time")
        self._pass_time(given, to_s)
        self._stripe.emit("test_helpers.test_clock.ready", clock)
        return clock

    def advance(self, to_s: int) -> None:
        """Move the account's own time: everything due until then happens, in order."""
        self._pass_time(None, to_s)

    def _pass_time(self, clock: str | None, to_s: int) -> None:
        while True:
            due = [
                (at_s, number, work)
                for number, held in enumerate(self._stripe.all("subscription", test_clock=clock))
                for at_s, work in self._next(held)
                if at_s <= to_s
            ]
            if not due:
                break
            at_s, _, work = min(due, key=lambda one: one[:2])
            self._set_time(clock, max(at_s, self._time(clock)))
            work()
        self._set_time(clock, to_s)

    def _time(self, clock: str | None) -> int:
        if clock is None:
            return self._stripe.now_s
        return int(self._stripe.find("test_helpers.test_clock", clock)["frozen_time"])

    def _set_time(self, clock: str | None, at_s: int) -> None:
        if clock is None:
            self._stripe.now_s = at_s
        else:
            self._stripe.find("test_helpers.test_clock", clock)["frozen_time"] = at_s

    def _next(self, held: Object) -> list[tuple[int, Any]]:
        """What happens to this subscription next, and when."""
        if held["status"] not in LIVE:
            return []
        end_s = item_of(held)["current_period_end"]
        out: list[tuple[int, Any]] = []
        unpaid = self._invoices.unpaid(held)
        if unpaid is not None and unpaid["next_payment_attempt"]:
            out.append((unpaid["next_payment_attempt"], lambda: self._retry(held, unpaid)))
        if held["status"] in ("unpaid", "paused"):
            return out
        if (held["id"], end_s) not in self._announced and not held["cancel_at_period_end"]:
            out.append((end_s - UPCOMING_S, lambda: self._announce(held, end_s)))
        out.append((end_s, lambda: self._renew(held)))
        return out

    def _announce(self, held: Object, end_s: int) -> None:
        self._announced.add((held["id"], end_s))
        invoice = self._invoices.draft(held, "upcoming", [])
        del self._stripe.objects["invoice"][invoice["id"]]
        self._stripe.emit("invoice.upcoming", invoice)

    def _renew(self, held: Object) -> None:
        if held["cancel_at_period_end"]:
            self._end(held, "cancellation_requested")
            return
        item = item_of(held)
        start_s = item["current_period_end"]
        before = {"items": held["items"], "status": held["status"]}
        _set_period(held, start_s, _later(start_s, item["price"]["recurring"]))
        if held["status"] == "trialing":
            held["status"] = "active"
        self._stripe.emit("customer.subscription.updated", held, before=before)
        if not held["pause_collection"]:
            self._invoices.bill(held, "subscription_cycle")

    def _retry(self, held: Object, invoice: Object) -> None:
        if self._invoices.collect(held, invoice):
            return
        if invoice["next_payment_attempt"] is None:
            self._end(held, "payment_failed")

    def _end(self, held: Object, reason: str) -> Object:
        now_s = self._stripe.time_of(held["customer"])
        held |= {"status": "canceled", "canceled_at": now_s, "ended_at": now_s}
        held["cancellation_details"] = {"comment": None, "feedback": None, "reason": reason}
        self._stripe.emit("customer.subscription.deleted", held)
        return held

    # -------------------------------------------------------------------- parts

    def _item(self, held: Object, price: Object, quantity: int) -> Object:
        return self._stripe.make(
            "subscription_item",
            price=price,
            quantity=quantity,
            subscription=held["id"],
        )

    def _swap(self, held: Object, wanted: dict[str, Any]) -> list[tuple[int, str]]:
        """Another price from now on; what the rest of the period is worth at both."""
        item = item_of(held)
        if wanted.get("id") not in (None, item["id"]):
            raise wrong(f"No such subscription_item: '{wanted['id']}'", "items[0][id]")
        price = self._price_of(wanted) if wanted.get("price") else item["price"]
        quantity = whole(wanted, "quantity", item["quantity"])
        if price["id"] == item["price"]["id"] and quantity == item["quantity"]:
            return []
        now_s = self._stripe.time_of(held["customer"])
        start_s, end_s = item["current_period_start"], item["current_period_end"]
        left, length = max(0, end_s - now_s), max(1, end_s - start_s)
        old = item["price"]["unit_amount"] * item["quantity"] * left // length
        new = price["unit_amount"] * quantity * left // length
        item |= {"price": price, "quantity": quantity}
        return [(-old, "Unused time"), (new, "Remaining time")]

    def _add_item(self, held: Object, amount: int, text: str) -> None:
        made = self._stripe.make(
            "invoiceitem",
            amount=amount,
            net_amount=amount,
            currency=held["currency"],
            customer=held["customer"],
            description=text,
            proration=True,
            date=self._stripe.time_of(held["customer"]),
            quantity=1,
        )
        self._stripe.emit("invoiceitem.created", made)

    def _price_of(self, wanted: dict[str, Any]) -> Object:
        price = self._stripe.find("price", needed(wanted, "price"), "items[0][price]")
        if not price["recurring"]:
            raise wrong("The price specified is not recurring.", "items[0][price]")
        return price

    def _end_at_period(self, held: Object, wanted: bool) -> dict[str, Any]:
        end_s = item_of(held)["current_period_end"]
        now_s = self._stripe.time_of(held["customer"])
        return {
            "cancel_at_period_end": wanted,
            "cancel_at": end_s if wanted else None,
            "canceled_at": now_s if wanted else None,
        }


def _set_period(held: Object, start_s: int, end_s: int) -> None:
    item_of(held).update(current_period_start=start_s, current_period_end=end_s)


def _later(at_s: int, recurring: dict[str, Any]) -> int:
    """One period on: months keep their day where the month has it."""
    count: int = recurring["interval_count"]
    days = {"day": 1, "week": 7}.get(recurring["interval"])
    if days:
        return at_s + days * count * 86400
    months = count * (12 if recurring["interval"] == "year" else 1)
    at = datetime.fromtimestamp(at_s, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    for day in range(at.day, 0, -1):
        try:
            return int(at.replace(year=year, month=month + 1, day=day).timestamp())
        except ValueError:
            continue
    raise AssertionError("every month has a 28th")

"""The pages a person sees: paying, and what Stripe's portal would show. Plain, no scripts."""

from html import escape

from tests.fakes.stripe.account import Object

STYLE = (
    "body{font:16px system-ui;max-width:34rem;margin:4rem auto;padding:0 1rem}"
    "button{font:inherit;padding:.6rem 1rem;margin:.3rem 0;width:100%}"
    ".total{font-size:2rem}.note{color:#555}"
)
CHOICES = (
    ("pm_card_visa", "Pay with 4242 (succeeds)"),
    ("pm_card_threeDSecure2Required", "Pay with 3220 (asks the bank, then succeeds)"),
    ("pm_card_visa_chargeDeclined", "Pay with 0002 (is declined)"),
    ("pm_usBankAccount_success", "Pay by bank debit (comes later)"),
)


def _page(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )


def pay_page(session: Object, problem: str = "") -> str:
    """The checkout of one session; every button says what will happen."""
    amount = session["amount_total"] or 0
    total = f"{amount / 100:,.2f} {(session['currency'] or 'usd').upper()}"
    if session["status"] != "open":
        return _page("Test checkout", f"<p>This session is {escape(session['status'])}.</p>")
    buttons = "".join(
        f"<button name=card value='{card}'>{escape(text)}</button>" for card, text in CHOICES
    )
    note = f"<p role=alert><b>{escape(problem)}</b></p>" if problem else ""
    cancel = escape(session["cancel_url"] or "/")
    return _page(
        "Test checkout",
        f"<p class=note>A stand-in for Stripe: no card, no money.</p><p class=total>{total}</p>"
        f"{note}<form method=post>{buttons}</form><p><a href='{cancel}'>Cancel</a></p>",
    )


def portal_page(customer: Object, subscriptions: list[Object], back: str) -> str:
    rows = "".join(
        f"<li>{escape(one['id'])}: {escape(one['status'])}</li>" for one in subscriptions
    )
    return _page(
        "Test billing portal",
        f"<p>{escape(customer['email'] or customer['id'])}</p><ul>{rows or '<li>none</li>'}</ul>"
        f"<p><a href='{escape(back)}'>Back</a></p>",
    )

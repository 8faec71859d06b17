"""A Stripe for tests and for trying the product without an account: enough of its API for the
genuine SDK, its webhooks, its clocks and its failures. State lives in memory; time is virtual.

Start with `Stripe` (the account), `app` (its HTTP face), `deliveries` (what it sends out).
"""

"""Stripe: its signatures, its API, what its events mean. The only place that imports its SDK."""

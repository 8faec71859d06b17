"""Bytes in and out: the HTTP client, request bodies, event streams. Knows no dialect."""

"""The kinds of request: each has four parts, estimate, encode, read usage, render (D39)."""

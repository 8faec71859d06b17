"""Secrets by name: provider credentials and the like, from the environment of this function."""

import os


class Secrets:
    """`find("GROQ_API_KEY")`; the value never appears in a repr, a log or an error."""

    def find(self, name: str) -> str | None:
        return os.environ.get(name) or None

"""Secrets by name: provider credentials and the like, from the environment of this function.

Never shows a value in a repr, a log or an error. `stores/secrets_aws.py` has them from AWS.
"""

import os

import orjson

from gatewayz.core.settings import SettingsError

# One variable that holds many: a JSON object of names and values, as AWS keeps them.
BUNDLE = "GATEWAYZ_CREDENTIALS"


def parse_bundle(text: str | bytes, where: str) -> dict[str, str]:
    """Names and values of a JSON object of strings; SettingsError names the place, no value."""
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise SettingsError(f"{where} is not a JSON object of names and texts")
    return {name: value for name, value in values.items() if value}


class Secrets:
    """`find("GROQ_API_KEY")`: the variable of that name, else the bundle's entry."""

    def __init__(self) -> None:
        self._bundle: tuple[str, dict[str, str]] = ("", {})

    def find(self, name: str) -> str | None:
        if value := os.environ.get(name):
            return value
        text = os.environ.get(BUNDLE, "")
        if text != self._bundle[0]:
            self._bundle = (text, parse_bundle(text, BUNDLE))
        return self._bundle[1].get(name)

    async def refresh(self) -> bool:
        """Read again after a credential was refused; True when something changed."""
        return False

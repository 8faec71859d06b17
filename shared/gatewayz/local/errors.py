"""The one error of the local stack: a sentence for the person at the terminal."""


class LocalError(Exception):
    """Something on this machine is not as needed; the one-line message says how to mend it."""

"""The one error of the local stack: a sentence for the person at the terminal."""


class LocalError(Exception):
    """Something on this machine is not as needed; the message is one line that says how to mend it."""

"""Entry of `python -m gatewayz.cli`. Guarantees that what a person can mend is one line."""

import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> int:
    """Run the command; the exit code."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = ".".join(map(str, sys.version_info[:2]))
        return _complain(f"Gatewayz needs Python 3.11, 3.12 or 3.13; this is {found}.")
    try:
        from gatewayz.cli.app import run
    except ModuleNotFoundError as error:
        return _complain(
            f"The package {error.name} is missing:"
            " python -m pip install --require-hashes -r layers/local/requirements.txt"
        )
    return run()


def _complain(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

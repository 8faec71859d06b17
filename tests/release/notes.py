"""The notes of a release: what its commits say, from the tag before.

    python -m tests.release.notes v1.2.3 FILE

Refuses a tag that is not the version of the tree.
"""

import sys
from pathlib import Path

from gatewayz import VERSION
from gatewayz.cli.release import changes

ROOT = Path(__file__).resolve().parents[2]


def notes_of(tag: str, root: Path = ROOT) -> str:
    """Markdown; ValueError when the tag and the tree disagree."""
    if tag != f"v{VERSION}":
        raise ValueError(f"The tag is {tag}, the tree's version is {VERSION}.")
    for version, _, subjects in changes(root):
        if version in (VERSION, "Unreleased"):
            return "".join(f"- {subject}\n" for subject in subjects)
    raise ValueError(f"There are no commits for {tag}.")


def main(tag: str, file: str) -> None:
    Path(file).write_text(notes_of(tag))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except (ValueError, TypeError) as problem:
        sys.exit(str(problem))

"""The API document on the command line: `gatewayz openapi`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def openapi(
    out: Annotated[Path | None, typer.Option(help="Write to this file, not to the output.")] = None,
) -> None:
    """Print the OpenAPI document of every function."""
    from gatewayz.api.openapi import build_document, write

    text = write(build_document(), indent=True) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text)
        print(f"{out} written")

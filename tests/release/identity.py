"""A short-lived identity of the workflow that runs us, for the cloud that trusts it by OIDC.

    python -m tests.release.identity FILE

Writes the token that AWS_WEB_IDENTITY_TOKEN_FILE names; an empty file where no workflow gives one,
so that a deploy by hand uses the credentials of the machine.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

AUDIENCE = "sts.amazonaws.com"
TIMEOUT_S = 20


def fetch_token(url: str, bearer: str) -> str:
    """The workflow's own token for the audience; OSError when it cannot be had."""
    request = urllib.request.Request(
        f"{url}&audience={AUDIENCE}", headers={"Authorization": f"Bearer {bearer}"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return str(json.load(answer)["value"])


def main(file: str) -> None:
    target = Path(file)
    target.touch(mode=0o600)
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    token = fetch_token(url, os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]) if url else ""
    target.write_text(token)


if __name__ == "__main__":
    main(sys.argv[1])

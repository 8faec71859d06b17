"""`gatewayz verify receipt` on receipts of a running gateway."""

import subprocess
import sys
from pathlib import Path

import orjson

from tests.usage.test_api import asked, get
from tests.world import World


def verified(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gatewayz.cli", "verify", "receipt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_receipts_are_verified_by_anybody_with_the_published_keys(
    world: World, tmp_path: Path
) -> None:
    account = await world.account()
    files = []
    for number, id in enumerate(await asked(world, account, 2)):
        answer = await world.client.get(f"/v1/receipts/{id}", headers=account.headers)
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(answer.content)
    names = [str(file) for file in files]
    done = verified(*names, "--keys", world.url + "/v1/receipts/keys")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "valid"
    keys = tmp_path / "keys.json"
    keys.write_bytes(orjson.dumps(await get(world, account, "/v1/receipts/keys")))
    body = orjson.loads(files[0].read_bytes())
    head, text, signature = body["data"]["jws"].split(".")
    forged = tmp_path / "forged"
    forged.write_text(f"{head}.{text}.{signature[:-4]}AAAA")
    refused = verified(str(forged), "--keys", str(keys))
    assert refused.returncode == 1
    assert "its signature is not over this text" in refused.stderr
    nothing = verified(str(keys), "--keys", str(keys))
    assert nothing.returncode == 1
    assert "This is not a receipt." in nothing.stderr

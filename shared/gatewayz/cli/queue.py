"""The queue of charges on the command line: how full it is, and its dead letters sent again."""

import asyncio
import dataclasses
import sys
from typing import Annotated

import typer

queue = typer.Typer(help="The queue of charges.", no_args_is_help=True)
IN_SQS = """The queue is in SQS, which sends its dead letters again itself:
    aws sqs start-message-move-task --source-arn ARN_OF_THE_DEAD_LETTER_QUEUE"""


@queue.command()
def depth(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what waits, what is in work and what is dead."""
    import orjson

    from gatewayz.billing.settlement import CHARGES
    from gatewayz.cli.target import find_target, with_stores

    found = asyncio.run(with_stores(find_target(), lambda stores: stores.queue.depth(CHARGES)))
    if as_json:
        print(orjson.dumps(dataclasses.asdict(found), option=orjson.OPT_INDENT_2).decode())
        return
    print(f"waiting  {found.waiting}\nin work  {found.inflight}\ndead     {found.dead}")
    if found.oldest_ms is None:
        print("oldest   told by CloudWatch alone: ApproximateAgeOfOldestMessage")
    elif found.oldest_ms:
        print(f"oldest   {found.oldest_ms / 1000:.1f} s")


@queue.command()
def send() -> None:
    """Send the charge message that stands on the input, as an ERROR line kept it. Once is enough,
    twice is harmless."""
    import orjson

    from gatewayz.billing.settlement import CHARGES, readable
    from gatewayz.cli.target import find_target, with_stores
    from gatewayz.local.errors import LocalError

    try:
        message = orjson.loads(sys.stdin.buffer.read())
        if not readable(message):
            raise LocalError("This is no charge message of a version that is known here.")
        request_id = message["request_id"]
    except (orjson.JSONDecodeError, AttributeError, KeyError):
        raise LocalError("This is no charge message.") from None
    asyncio.run(
        with_stores(find_target(), lambda stores: stores.queue.send(CHARGES, request_id, message))
    )
    print(f"{request_id} is queued.")


@queue.command()
def redrive() -> None:
    """Send dead letters again, after what killed them was mended. Twice is harmless."""
    from gatewayz.billing.settlement import CHARGES
    from gatewayz.cli.target import find_target, with_stores
    from gatewayz.local.errors import LocalError

    target = find_target()
    if target.settings.stores.sqs_charges_url:
        raise LocalError(IN_SQS)
    row = asyncio.run(
        with_stores(target, lambda stores: stores.postgres.rpc("redrive", {"queue": CHARGES}))
    )
    print(f"{row['redriven']} dead letters wait again.")

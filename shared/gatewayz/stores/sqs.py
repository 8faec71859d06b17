"""The queue on SQS, signed and sent by ourselves: 220 ms and 30 MB of SDK are not loaded.

Group commit in batches of ten. On Lambda the platform receives; `receive` is for a process of
ours. Poison messages stand aside by the queue's own redrive policy.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

import orjson

from gatewayz.core.errors import GatewayError, StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.stores.aws import AwsClient
from gatewayz.stores.group_commit import GroupCommit
from gatewayz.stores.queue import WORKER_TIMEOUT_S, Depth, Received

log = get_log(__name__)

MAX_BATCH = 10
# The limit that every region and emulator has; AWS has raised its own since.
MAX_BATCH_BYTES = 256 * 1024
# Per entry: its names and quotes in the request.
ENTRY_BYTES = 64
NOT_THERE = "QueueDoesNotExist"


class SqsQueue:
    """`urls` names each queue's address. `poll_s`: how long a receive waits for a message."""

    in_ledger = False

    def __init__(
        self,
        client: AwsClient,
        urls: Mapping[str, str],
        *,
        timeout_s: float,
        poll_s: int = 2,
    ) -> None:
        self._client = client
        self._urls = urls
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._commits: GroupCommit[str] = GroupCommit(
            self._write, max_messages=MAX_BATCH, max_bytes=MAX_BATCH_BYTES
        )

    async def send(self, queue: str, message_id: str, body: dict[str, Any]) -> None:
        text = orjson.dumps(body).decode()
        await self._commits.add(queue, text, len(text.encode()) + ENTRY_BYTES)

    async def _write(self, queue: str, batch: Sequence[str]) -> Mapping[int, GatewayError]:
        entries = [{"Id": str(at), "MessageBody": text} for at, text in enumerate(batch)]
        answer = await self._call(
            self._url(queue), "SendMessageBatch", self._timeout_s, Entries=entries
        )
        errors: dict[int, GatewayError] = {}
        stored = {str(entry["Id"]) for entry in answer.get("Successful") or ()}
        failed = {str(entry["Id"]): entry for entry in answer.get("Failed") or ()}
        for at in range(len(batch)):
            if str(at) in stored:
                continue
            code = str(failed.get(str(at), {}).get("Code", "missing"))
            log.warning("message_refused", queue=queue, code=code)
            errors[at] = StoreUnavailable("The queue refuses a message.")
        return errors

    async def receive(self, queue: str, limit: int, *, visible_s: float) -> list[Received]:
        answer = await self._call(
            self._url(queue),
            "ReceiveMessage",
            WORKER_TIMEOUT_S + self._poll_s,
            MaxNumberOfMessages=min(limit, MAX_BATCH),
            VisibilityTimeout=round(visible_s),
            WaitTimeSeconds=self._poll_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        received: list[Received] = []
        for message in answer.get("Messages") or ():
            try:
                body = orjson.loads(message["Body"])
            except orjson.JSONDecodeError:
                continue  # never done, so it ends in the dead letters
            receives = int(message["Attributes"]["ApproximateReceiveCount"])
            received.append(Received(message["ReceiptHandle"], body, receives))
        return received

    async def acknowledge(self, queue: str, ids: list[str]) -> None:
        for start in range(0, len(ids), MAX_BATCH):
            entries = [
                {"Id": str(at), "ReceiptHandle": handle}
                for at, handle in enumerate(ids[start : start + MAX_BATCH])
            ]
            answer = await self._call(
                self._url(queue), "DeleteMessageBatch", WORKER_TIMEOUT_S, Entries=entries
            )
            if answer.get("Failed"):
                raise StoreTimeout("The queue kept a message that is done.")

    async def depth(self, queue: str) -> Depth:
        """SQS tells the age of the oldest message to CloudWatch only."""
        counts = await self._attributes(self._url(queue))
        dead = 0
        if policy := counts.get("RedrivePolicy"):
            arn = str(orjson.loads(policy)["deadLetterTargetArn"])
            dead = await self._dead(queue, arn)
        return Depth(
            waiting=int(counts.get("ApproximateNumberOfMessages", 0))
            + int(counts.get("ApproximateNumberOfMessagesDelayed", 0)),
            inflight=int(counts.get("ApproximateNumberOfMessagesNotVisible", 0)),
            dead=dead,
            oldest_ms=None,
        )

    async def _dead(self, queue: str, arn: str) -> int:
        """Messages in the dead-letter queue, which is an account's neighbour of `queue`."""
        url = self._url(queue).rpartition("/")[0] + "/" + arn.rpartition(":")[2]
        try:
            counts = await self._attributes(url)
        except StoreUnavailable as error:
            if str(error.metadata.get("code", "")).endswith(NOT_THERE):
                return 0
            raise
        return int(counts.get("ApproximateNumberOfMessages", 0))

    async def _attributes(self, url: str) -> Mapping[str, str]:
        answer = await self._call(
            url, "GetQueueAttributes", self._timeout_s, AttributeNames=["All"]
        )
        attributes: Mapping[str, str] = answer.get("Attributes") or {}
        return attributes

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            raise StoreUnavailable(f"There is no address of the queue {queue!r}.")
        return self._urls[queue]

    async def _call(
        self, url: str, action: str, timeout_s: float, **payload: Any
    ) -> dict[str, Any]:
        """Actions are called at the root of the queue's host; the queue stands in the payload."""
        payload["QueueUrl"] = url
        return await self._client.call(
            urljoin(url, "/"), f"AmazonSQS.{action}", payload, timeout_s=timeout_s
        )

"""Exactly once for requests that carry a key of the caller's: one runs, its twins get its bytes.

Guarantees one execution and one charge per account, key and body while Redis or Postgres
remembers; another body is refused; a failure before the first token is forgotten. Who sends no key
pays nothing (D32).
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson

from gatewayz.core import clock
from gatewayz.core.errors import Conflict, DependencyError, GatewayError
from gatewayz.core.ids import ulid
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.inference.recording import Recording
from gatewayz.inference.witness import KEEP_MS, Witness, blob_of
from gatewayz.net.asgi import Call
from gatewayz.stores.open import Stores
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

SCRIPT = "replay_v1"
# Who joined a running twin without a key has read it by then.
COALESCED_MS = 60_000
# An owner that wrote nothing for so long is dead, or as good as dead.
SILENT_MS = 60_000
# Frames go to Redis this often, or when so many bytes wait.
FLUSH_S = 0.25
FLUSH_BYTES = 16 * 1024
BEAT_S = 10.0
# What is beyond this in one answer goes to a blob when it is over.
MAX_LISTED_BYTES = 4 * 1024 * 1024
POLL_S = 0.1
REPLAYED = (b"idempotent-replayed", b"true")
Work = Callable[[Call], Awaitable[None]]
Whose = tuple[str, str | None]  # account, and the caller's key if it sent one


def digest_of(call: Call, raw: bytes) -> str:
    """What makes two requests the same: path, and the body as JSON in canonical order."""
    with suppress(orjson.JSONDecodeError, TypeError):
        raw = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(f"{call.method} {call.path}?{call.query}\n".encode())
    digest.update(raw)
    return digest.hexdigest()


class Replays:
    """One per process. `spawn` runs a task that is waited for when the process stops."""

    def __init__(self, stores: Stores, spawn: Callable[[Any], "asyncio.Task[None]"]) -> None:
        self._stores = stores
        self._spawn = spawn
        self._witness = Witness(stores)
        self._running: dict[str, Recording] = {}

    async def serve(
        self, account: str, key: str | None, digest: str, call: Call, work: Work
    ) -> None:
        """Run `work`, or give the caller what a twin got. Without a key only a running twin with
        the same body is joined. Conflict: another body, or an owner that fell silent."""
        name = f"{{{account}}}:{key if key is not None else 'body.' + digest}"
        while True:
            mine = self._running.get(name)
            if mine is not None:
                if mine.digest != digest:
                    raise _other_body()
                if await mine.follow(call, REPLAYED):
                    metric("cache_hits", kind="replay")
                    return
                if self._running.get(name) is mine:
                    del self._running[name]  # it failed, and is only not yet put away
                continue
            recording = Recording(digest, ulid())
            # At once, before any wait: a twin in this process joins and asks nobody.
            self._running[name] = recording
            try:
                state, known = await self._claim(name, recording, anew=key is None)
                blob = ""
                if state == "OWN" and key is not None:
                    state, blob = await self._witnessed(name, recording, account, key)
                if state == "OWN":
                    return await self._own(name, recording, call, work, (account, key))
            except BaseException:
                recording.drop()
                raise
            finally:
                if self._running.get(name) is recording:
                    del self._running[name]
            recording.drop()
            if state == "OTHER":
                raise _other_body()
            if state in ("SILENT", "RUNS"):
                raise _in_progress()
            if state == "KEPT":
                await self._tell_kept(blob, call)
            elif not await self._follow_shared(name, known, call):
                continue
            metric("cache_hits", kind="replay")
            return

    async def _witnessed(
        self, name: str, recording: Recording, account: str, key: str
    ) -> tuple[str, str]:
        """OWN when Postgres knows of no other run either: what Redis does not know may have been
        while it was away, or before it forgot. Else (what is true, where the answer is)."""
        told = await self._witness.claim(
            account, key, digest=recording.digest, owner=recording.owner, life_ms=KEEP_MS,
            alone=recording.alone,
        )  # fmt: skip
        if told.state == "OWN":
            return "OWN", ""
        if not recording.alone:
            with suppress(DependencyError):
                await self._call("drop", name, recording.owner)
        known = {"OTHER": "OTHER", "DONE": "KEPT", "RUNNING": "RUNS"}
        return known[told.state], told.blob

    async def _tell_kept(self, blob: str, call: Call) -> None:
        if not blob:
            raise _lost()
        await self._witness.tell(blob, call, REPLAYED)

    async def _claim(self, name: str, recording: Recording, *, anew: bool) -> tuple[str, str]:
        try:
            reply = await self._call(
                "claim", name, recording.owner, recording.digest, KEEP_MS, SILENT_MS, int(anew)
            )
        except DependencyError as error:
            # Twins of this process still find each other.
            log.warning("replay_alone", error=error.metric)
            recording.alone = True
            return "OWN", recording.owner
        return reply[0], reply[1]

    # ------------------------------------------------------------ the one that runs

    async def _own(
        self, name: str, recording: Recording, call: Call, work: Work, whose: Whose
    ) -> None:
        """The work goes on when its caller leaves: a twin may come for the answer."""
        recording.attach(call)
        task = self._spawn(self._run(name, recording, call, work, whose))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
            # Twins may still come, so it stays findable until it is over.
            self._running[name] = recording
            task.add_done_callback(lambda _: self._running.pop(name, None))
            raise

    async def _run(
        self, name: str, recording: Recording, call: Call, work: Work, whose: Whose
    ) -> None:
        flushing = None
        if not recording.alone:
            flushing = asyncio.create_task(self._flush(name, recording))
        try:
            await work(call)
        finally:
            if flushing is not None:
                flushing.cancel()
                with suppress(asyncio.CancelledError):
                    await flushing
            failed = call.failed or not recording.complete or recording.status >= 400
            if failed:
                recording.drop()
            else:
                recording.finish()
            account, key = whose
            kept = not recording.alone and await self._close(
                name, recording, failed=failed, keyed=key is not None
            )
            if key is not None:
                answer = None if kept or failed else recording.whole()
                await self._witness.close(
                    account, key, recording.owner, failed=failed, answer=answer
                )

    async def _flush(self, name: str, recording: Recording) -> None:
        """Append what was sent, and a sign of life in between."""
        beat_s = clock.monotonic_s()
        while True:
            await recording.wait(FLUSH_BYTES, FLUSH_S)
            frames = recording.take(MAX_LISTED_BYTES)
            if not frames and clock.monotonic_s() - beat_s < BEAT_S:
                continue
            beat_s = clock.monotonic_s()
            try:
                reply = await self._call(
                    "append", name, recording.owner, KEEP_MS, *map(_packed, frames)
                )
            except DependencyError:
                recording.give_back(frames)
                continue
            if reply[0] == "LOST":
                return

    async def _close(self, name: str, recording: Recording, *, failed: bool, keyed: bool) -> bool:
        """Does Redis have all of it?"""
        blob = ""
        try:
            if failed:
                await self._call("drop", name, recording.owner)
                return True
            frames = recording.take(MAX_LISTED_BYTES)
            rest = recording.rest()
            if rest:
                blob = blob_of(recording.owner)
                await self._stores.blobs.put(blob, rest)
            life_ms = KEEP_MS if keyed else COALESCED_MS
            done = await self._call(
                "finish", name, recording.owner, life_ms, blob, *map(_packed, frames)
            )
        except GatewayError as error:
            log.warning("replay_not_kept", error=error.metric)
            return False
        return bool(done[0] != "LOST")

    # ------------------------------------------------------------ twins elsewhere

    async def _follow_shared(self, name: str, owner: str, call: Call) -> bool:
        """Give the caller what another process sends; False when that was a failure."""
        place = 0
        while True:
            state, blob, *frames = await self._call("read", name, owner, place, SILENT_MS)
            if state == "gone" and place == 0:
                return False
            for frame in map(_unpacked, frames):
                if place == 0:
                    head = orjson.loads(frame)
                    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in head[1]]
                    await call.start(head[0], [*headers, REPLAYED])
                else:
                    await call.write(frame)
                place += 1
            if state == "done":
                if blob:
                    await call.write(await self._stores.blobs.get(blob))
                await call.end()
                return True
            if state != "run":
                if not call.started:
                    raise _in_progress()
                return True  # cut where its owner died: not ended, so no client takes it for whole
            await asyncio.sleep(POLL_S)

    async def _call(self, operation: str, name: str, owner: str, *rest: str | int) -> list[Any]:
        redis: RedisScripts = self._stores.redis
        key = f"replay:{name}"
        reply: list[Any] = await redis.script(
            SCRIPT, [key, f"{key}:{owner}"], [operation, 0, owner, *rest]
        )
        return reply


def _packed(frame: bytes) -> str:
    return base64.b64encode(frame).decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text)


def _other_body() -> Conflict:
    return Conflict(
        "This Idempotency-Key was used for another request.", code="idempotency_key_reused"
    )


def _lost() -> Conflict:
    return Conflict(
        "This Idempotency-Key was used: its request was served, and the answer is not kept.",
        code="idempotency_key_reused",
    )


def _in_progress() -> Conflict:
    return Conflict(
        "The request with this Idempotency-Key has not come to an end.",
        code="idempotency_in_progress",
    )

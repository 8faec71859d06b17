"""The shape of functions/chat made of FastAPI, httpx and the vendors' SDKs: only a yardstick.

Does per request what the data plane does (key, hold, upstream, charge message, hold freed) with as
many calls to the stores, and less of everything else: no failover, no limits, no checkpoints, no
dialects, no receipts. So its figures are a lower bound for that choice of libraries.
"""

import asyncio
import hashlib
import hmac
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import boto3
import httpx
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict
from upstash_redis.asyncio import Redis

from supabase import create_client

HOLD = """
local held = redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
return held
"""
FREE = """
redis.call('HDEL', KEYS[2], ARGV[2])
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""
KEPT_S = 60.0
HOLD_NANOS = 1_000_000
PRICES = (250_000_000, 1_250_000_000)

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
redis = Redis(
    url=os.environ["UPSTASH_REDIS_REST_URL"],
    token=os.environ["UPSTASH_REDIS_REST_TOKEN"],
    rest_encoding=None,
    rest_retries=0,
    allow_telemetry=False,
)
sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
# Leases would come from here; a warm request does not call it, so it only weighs.
supabase = create_client("https://project.example", "sb_secret_none")
upstream = httpx.AsyncClient(base_url=os.environ["GATEWAYZ_SANDBOX_URL"], timeout=60)
known: dict[str, tuple[float, str]] = {}


class Message(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: str
    content: Any = None


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[Message]
    stream: bool = False
    max_tokens: int | None = None


async def caller(authorization: str = Header(default="")) -> str:
    """The account of a key: from memory, else from Redis."""
    key = authorization.removeprefix("Bearer ").encode()
    digest = hmac.new(os.environ["GATEWAYZ_KEY_PEPPER"].encode(), key, hashlib.sha256).hexdigest()
    kept = known.get(digest)
    if kept is None or kept[0] < time.monotonic():
        await redis.get(f"principal:{digest}")
        if not key:
            raise HTTPException(401, "no key")
        kept = known[digest] = (time.monotonic() + KEPT_S, digest[:16])
    return kept[1]


@app.get("/healthz")
async def ready() -> str:
    return "ok"


@app.post("/v1/chat/completions")
async def chat(request: ChatRequest, account: str = Depends(caller)) -> Any:
    request_id = str(uuid.uuid4())
    keys = [f"held:{account}", f"holds:{account}"]
    arguments = [str(HOLD_NANOS), request_id]
    await redis.eval(HOLD, keys, arguments)
    body = request.model_dump(exclude_none=True)
    body["model"] = request.model.removeprefix("sandbox/")
    if request.stream:
        body["stream_options"] = {"include_usage": True}
        relay = stream(body, request_id, account, keys, arguments)
        return StreamingResponse(relay, media_type="text/event-stream")
    answer = (await upstream.post("/chat/completions", json=body)).json()
    await settle(answer["usage"], request_id, account, keys, arguments)
    return JSONResponse(answer)


async def stream(
    body: Any, request_id: str, account: str, keys: list[str], arguments: list[str]
) -> AsyncIterator[bytes]:
    async with upstream.stream("POST", "/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if usage := chunk.get("usage"):
                await settle(usage, request_id, account, keys, arguments)
            yield f"data: {json.dumps(chunk)}\n\n".encode()
    yield b"data: [DONE]\n\n"


async def settle(
    usage: Any, request_id: str, account: str, keys: list[str], arguments: list[str]
) -> None:
    """Charge by message before the answer ends, then free the hold."""
    units = (usage["prompt_tokens"], usage["completion_tokens"])
    nanos = -(-sum(u * p for u, p in zip(units, PRICES, strict=True)) // 1_000_000)
    usage["cost"] = nanos / 1e9
    message = {"request_id": request_id, "account": account, "charge_nanos": nanos, "units": units}
    await asyncio.to_thread(
        sqs.send_message, QueueUrl=os.environ["SQS_CHARGES_URL"], MessageBody=json.dumps(message)
    )
    await redis.eval(FREE, keys, arguments)

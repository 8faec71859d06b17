"""A Supabase project: its gateway before the real PostgREST, and a Storage in memory.

As the platform does, the gateway knows requests by `apikey`: it hands the secret key's on as
service_role, the publishable key's as anon or as the signed-in user's token, and no others.
"""

import base64
import hmac
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from gatewayz.local import process
from tests.fakes.tools import postgrest

SECRET_KEY = "sb_secret_test-key-of-the-project"
PUBLISHABLE_KEY = "sb_publishable_test-key-of-the-project"
JWT_SECRET = "a-secret-for-tokens-of-tests-that-is-long-enough"
AUTHENTICATOR = "authenticator"
PASSWORD = "authenticator-of-tests"
START_S = 15.0
# Before the template's own roles, as Supabase brings them.
ROLES = f"""
do $$ begin
  create role {AUTHENTICATOR} noinherit login password '{PASSWORD}';
exception when duplicate_object then null;
end $$;
grant anon, authenticated, service_role to {AUTHENTICATOR};
"""


def token(role: str, **claims: Any) -> str:
    """A signed token of the project."""

    def encoded(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    text = encoded({"alg": "HS256", "typ": "JWT"}) + b"." + encoded({"role": role, **claims})
    digest = hmac.digest(JWT_SECRET.encode(), text, "sha256")
    return (text + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


class Postgrest:
    """The real program on a database; `url` is its own address, without the platform's paths."""

    def __init__(self, database_url: str, folder: Path, ports: tuple[int, int]) -> None:
        server = database_url.rpartition("@")[2]
        settings = {
            "DB_URI": f"postgresql://{AUTHENTICATOR}:{PASSWORD}@{server}",
            "DB_SCHEMAS": "api",
            "DB_ANON_ROLE": "anon",
            "DB_POOL": "8",
            "DB_CHANNEL_ENABLED": "false",
            "JWT_SECRET": JWT_SECRET,
            "SERVER_HOST": process.LOOPBACK,
            "SERVER_PORT": str(ports[0]),
            "ADMIN_SERVER_PORT": str(ports[1]),
        }
        environment = {f"PGRST_{name}": value for name, value in settings.items()}
        log = folder / "postgrest.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [postgrest()],
                env=environment | {"PATH": os.environ["PATH"]},
                stdout=out,
                stderr=out,
                preexec_fn=process.die_with_parent(signal.SIGTERM),
            )
        self.url = f"http://{process.LOOPBACK}:{ports[0]}"
        ready = f"http://{process.LOOPBACK}:{ports[1]}/ready"
        if not process.wait_until(lambda: self._is_ready(ready), timeout_s=START_S):
            self.stop()
            raise AssertionError(log.read_text())

    def _is_ready(self, url: str) -> bool:
        assert self._process.poll() is None, "PostgREST ended"
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        process.stop(self._process, signal.SIGTERM)


class SupabaseGateway:
    """An ASGI application: /rest/v1 goes on to PostgREST, /storage/v1 is answered here."""

    def __init__(self, rest_url: str) -> None:
        self._rest_url = rest_url
        self._http: httpx.AsyncClient | None = None
        self.storage = Storage()
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        self.requests += 1
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        role = _role_of(headers)
        if role is None:
            return await _answer(send, 401, {"message": "Invalid API key"})
        path = scope["path"]
        if path.startswith("/storage/v1/"):
            if role != token("service_role"):
                return await _answer(send, 403, _storage_error(403, "Unauthorized", "no access"))
            place = unquote(path.removeprefix("/storage/v1/"))
            return await self.storage.serve(scope["method"], place, headers, body, send)
        if not path.startswith("/rest/v1/"):
            return await _answer(send, 404, {"message": "no Route matched with those values"})
        return await self._forward(scope, path.removeprefix("/rest/v1"), headers, role, body, send)

    async def _forward(
        self, scope: Any, path: str, headers: dict[str, str], role: str, body: bytes, send: Any
    ) -> None:
        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False, timeout=60)
        kept = ("content-type", "accept", "content-profile", "accept-profile", "prefer")
        sent = {name: headers[name] for name in kept if name in headers}
        if role:
            sent["authorization"] = f"Bearer {role}"
        query = scope["query_string"].decode()
        url = self._rest_url + path + ("?" + query if query else "")
        try:
            answer = await self._http.request(scope["method"], url, headers=sent, content=body)
        except httpx.HTTPError:
            return await _answer(send, 502, None)
        await _send(send, answer.status_code, answer.content)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            stopping = message["type"] == "lifespan.shutdown"
            if stopping and self._http is not None:
                await self._http.aclose()
            await send({"type": f"{message['type']}.complete"})
            if stopping:
                return


def _role_of(headers: dict[str, str]) -> str | None:
    """The token for PostgREST, "" for none; None when the key is not the project's."""
    key, bearer = headers.get("apikey"), headers.get("authorization", "").removeprefix("Bearer ")
    if key == SECRET_KEY:
        return token("service_role")
    if key == PUBLISHABLE_KEY:
        return "" if bearer in ("", key) else bearer
    return None


class Storage:
    """One project's buckets, by the documented interface of Supabase Storage."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {"blobs": {}}

    async def serve(
        self, method: str, place: str, headers: dict[str, str], body: bytes, send: Any
    ) -> None:
        kind, _, rest = place.partition("/")
        listing = rest.startswith("list-v2/")
        bucket_name, _, key = rest.removeprefix("list-v2/").partition("/")
        bucket = self.buckets.get(bucket_name)
        if kind != "object" or bucket is None:
            return await _answer(send, 400, _storage_error(404, "Bucket not found", "not_found"))
        if listing:
            return await _answer(send, 200, _page(bucket, json.loads(body)))
        if method == "DELETE" and not key:
            gone = [name for name in json.loads(body)["prefixes"] if bucket.pop(name, None)]
            return await _answer(send, 200, [{"name": name} for name in gone])
        if method == "POST":
            if key in bucket and headers.get("x-upsert") != "true":
                return await _answer(send, 400, _storage_error(409, "Duplicate", "exists"))
            bucket[key] = _file_of(headers["content-type"], body)
            return await _answer(send, 200, {"Key": f"{bucket_name}/{key}", "Id": "1"})
        if key not in bucket:
            return await _answer(send, 400, _storage_error(404, "Object not found", "not_found"))
        await _send(send, 200, bucket[key], b"application/octet-stream")


def _page(bucket: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
    keys = sorted(key for key in bucket if key.startswith(asked.get("prefix", "")))
    start = int(asked.get("cursor") or 0)
    end = start + asked.get("limit", 100)
    at = "2026-11-01T00:00:00Z"
    rows = [
        {"id": key, "name": key.rpartition("/")[2], "key": key, "created_at": at,
         "updated_at": at, "metadata": {"size": len(bucket[key])}}
        for key in keys[start:end]
    ]  # fmt: skip
    more = end < len(keys)
    return {
        "hasNext": more,
        "folders": [],
        "objects": rows,
        "nextCursor": str(end) if more else None,
    }


def _file_of(content_type: str, body: bytes) -> bytes:
    """The file of a multipart form: its part that has a content type of its own."""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    for part in body.split(boundary):
        head, _, data = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return data.removesuffix(b"\r\n")
    raise AssertionError("an upload without a file")


def _storage_error(status: int, message: str, error: str) -> dict[str, str]:
    return {"statusCode": str(status), "error": error, "message": message}


async def _answer(send: Any, status: int, body: Any) -> None:
    await _send(send, status, b"<html>bad gateway</html>" if body is None else
                json.dumps(body).encode())  # fmt: skip


async def _send(
    send: Any, status: int, body: bytes, content_type: bytes = b"application/json"
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Addresses that a blob store signs itself: good for one blob, without a key."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gatewayz.core.errors import InvalidRequest
from gatewayz.stores.blobs import DirectoryBlobs
from gatewayz.stores.blobs_s3 import S3Blobs
from gatewayz.stores.supabase_client import SupabaseBlobs
from tests.managed import REGION, Aws, aws, moto_server

__all__ = ["aws", "moto_server"]


async def test_s3_signs_a_link_that_gives_the_file_and_ends(aws: Aws) -> None:
    client = aws.client("s3")
    client.create_bucket(Bucket="exp", CreateBucketConfiguration={"LocationConstraint": REGION})
    client.close()
    blobs = S3Blobs("exp", region=REGION, endpoint_url=aws.url)
    try:
        await blobs.put("exports/a/part-0001.csv", b"id\r\n")
        link = await blobs.link("exports/a/part-0001.csv", ttl_s=60)
    finally:
        await blobs.close()
    assert link is not None
    async with httpx.AsyncClient() as plain:
        assert (await plain.get(link)).content == b"id\r\n"
    asked = parse_qs(urlsplit(link).query)
    assert asked.get("X-Amz-Expires") == ["60"] or "Expires" in asked


async def test_a_folder_signs_nothing_and_no_store_signs_what_is_no_key(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    assert await blobs.link("a/b", ttl_s=60) is None
    for store in (blobs, S3Blobs("none")):
        with pytest.raises(InvalidRequest):
            await store.link("../secret", ttl_s=60)


async def test_supabase_is_asked_for_its_own_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stand-in signs nothing: what is sent to the SDK's bucket is what counts here."""

    class Bucket:
        async def create_signed_url(self, key: str, ttl_s: int) -> dict[str, str]:
            return {"signedURL": f"https://x.example/sign/{key}?ttl={ttl_s}"}

    blobs = SupabaseBlobs.__new__(SupabaseBlobs)

    async def run(work: object) -> object:
        return await work(Bucket())  # type: ignore[operator]

    monkeypatch.setattr(blobs, "_run", run)
    assert await blobs.link("a/b", ttl_s=60) == "https://x.example/sign/a/b?ttl=60"

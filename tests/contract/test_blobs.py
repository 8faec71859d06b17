"""The blob port: a directory, S3 and Supabase Storage keep the same bytes under the same keys."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gatewayz.core.errors import DependencyError, InvalidRequest, NotFound, StoreUnavailable
from gatewayz.stores.blobs import MAX_KEY_CHARS, Blobs, DirectoryBlobs, checked_key
from gatewayz.stores.blobs_s3 import S3Blobs
from gatewayz.stores.supabase_client import SupabaseBlobs, SupabaseClient
from tests.fakes.supabase import PUBLISHABLE_KEY, SECRET_KEY
from tests.managed import REGION, Supabase, aws, moto_server, storage

__all__ = ["aws", "moto_server", "storage"]

KINDS = ["directory", "S3", "Supabase"]


@pytest.fixture(params=KINDS)
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    opened: Blobs
    match request.param:
        case "directory":
            opened = DirectoryBlobs(tmp_path / "blobs")
        case "S3":
            account = request.getfixturevalue("aws")
            s3 = account.client("s3")
            s3.create_bucket(
                Bucket="blobs", CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            s3.close()
            opened = S3Blobs("blobs", region=REGION, endpoint_url=account.url)
        case _:
            project = request.getfixturevalue("storage")
            opened = SupabaseBlobs(SupabaseClient(project.url, SECRET_KEY), "blobs")
    yield opened
    await opened.close()


async def test_bytes_come_back_as_they_were_put(blobs: Blobs) -> None:
    for data in (b"", b"text", bytes(range(256)) * 100, b"\r\n--boundary\r\n"):
        await blobs.put("batches/b1/input.jsonl", data, content_type="application/jsonl")
        assert await blobs.get("batches/b1/input.jsonl") == data


async def test_putting_again_replaces(blobs: Blobs) -> None:
    await blobs.put("a", b"old")
    await blobs.put("a", b"new")
    assert await blobs.get("a") == b"new"
    assert await blobs.list_keys("") == ["a"]


async def test_what_is_not_there_is_not_found_and_deleting_it_is_no_error(blobs: Blobs) -> None:
    with pytest.raises(NotFound) as missing:
        await blobs.get("nobody/put/it")
    assert missing.value.code == "blob_not_found"
    await blobs.delete("nobody/put/it")
    await blobs.put("a/b", b"x")
    await blobs.delete("a/b")
    with pytest.raises(NotFound):
        await blobs.get("a/b")


async def test_a_blob_and_a_folder_may_have_one_name(blobs: Blobs) -> None:
    await blobs.put("a", b"1")
    await blobs.put("a/b", b"2")
    await blobs.put("a/b/c", b"3")
    assert [await blobs.get(key) for key in ("a", "a/b", "a/b/c")] == [b"1", b"2", b"3"]
    assert await blobs.list_keys("") == ["a", "a/b", "a/b/c"]


async def test_listing_gives_the_keys_that_begin_so_in_order(blobs: Blobs) -> None:
    keys = ["batches/b1/in", "batches/b1/out", "batches/b10/in", "batches/b2/in", "replay/r1"]
    for key in reversed(keys):
        await blobs.put(key, b"x")
    assert await blobs.list_keys("") == keys
    assert await blobs.list_keys("batches/b1") == keys[:3]
    assert await blobs.list_keys("batches/b1/") == keys[:2]
    assert await blobs.list_keys("nothing/") == []
    assert await blobs.list_keys("", limit=2) == keys[:2]


BAD_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.hidden",
    "a b", "a\\b", "a\0b", "a\nb", "ä", "a+b", "a?b", "a#b", "a%2e", "x" * (MAX_KEY_CHARS + 1),
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_could_lead_elsewhere_is_refused_before_any_store(
    tmp_path: Path, key: str
) -> None:
    nowhere = [
        DirectoryBlobs(tmp_path / "blobs"),
        S3Blobs("blobs", endpoint_url="http://127.0.0.1:1"),
        SupabaseBlobs(SupabaseClient("http://127.0.0.1:1", SECRET_KEY), "blobs"),
    ]
    for blobs in nowhere:
        for call in (blobs.put(key, b"x"), blobs.get(key), blobs.delete(key)):
            with pytest.raises(InvalidRequest):
                await call
        if key not in ("", "a/"):
            with pytest.raises(InvalidRequest):
                await blobs.list_keys(key)
    assert not (tmp_path / "blobs").exists()


def test_usual_keys_are_keys() -> None:
    for key in ("a", "A-b_c.d=1", "req_01M88012/part.0", "x" * MAX_KEY_CHARS):
        assert checked_key(key) == key


async def test_many_at_once_do_not_disturb_each_other(blobs: Blobs) -> None:
    await asyncio.gather(*[blobs.put(f"n/{n}", b"%d" % n) for n in range(20)])
    found = await asyncio.gather(*[blobs.get(f"n/{n}") for n in range(20)])
    assert found == [b"%d" % n for n in range(20)]


async def test_a_directory_keeps_no_unfinished_blob(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("a/b", b"x")
    (tmp_path / "a+" / ".draft").write_bytes(b"a killed process left this")
    assert await blobs.list_keys("") == ["a/b"]


async def test_a_store_that_is_away_is_an_outage(storage: Supabase, aws: None) -> None:
    away: list[Blobs] = [
        S3Blobs("blobs", region=REGION, endpoint_url="http://127.0.0.1:1"),
        SupabaseBlobs(SupabaseClient("http://127.0.0.1:1", SECRET_KEY), "blobs"),
    ]
    refused: list[Blobs] = [
        SupabaseBlobs(SupabaseClient(storage.url, PUBLISHABLE_KEY), "blobs"),
        SupabaseBlobs(SupabaseClient(storage.url, SECRET_KEY), "no-such-bucket"),
    ]
    for blobs in away + refused:
        with pytest.raises(DependencyError) as failed:
            await blobs.put("a", b"x")
        assert isinstance(failed.value, StoreUnavailable)
        with pytest.raises(DependencyError):
            await blobs.get("a")
        await blobs.close()

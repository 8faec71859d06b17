"""Secrets and ports of the home are made once, kept, and readable by their owner only."""

import socket
from pathlib import Path

import pytest

from gatewayz.local.errors import LocalError
from gatewayz.local.files import choose_port, keep_secret, make_folder, write_private


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    secret = keep_secret(tmp_path / "pepper")
    assert len(secret) >= 32
    assert keep_secret(tmp_path / "pepper") == secret
    assert (tmp_path / "pepper").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["pepper"]


def test_a_secret_that_cannot_be_read_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "pepper").mkdir()
    with pytest.raises(LocalError, match="Cannot read"):
        keep_secret(tmp_path / "pepper")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for act in (make_folder, keep_secret):
        with pytest.raises(LocalError, match=r"^Cannot (write|read) .*/file/below") as error:
            act(tmp_path / "file" / "below")
        assert "\n" not in str(error.value)


def test_a_port_is_remembered_until_somebody_else_has_it(tmp_path: Path) -> None:
    memory = tmp_path / "port"
    port = choose_port(memory)
    assert choose_port(memory) == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert choose_port(memory) != port
    for nonsense in ("", "none", "99999999"):
        write_private(memory, nonsense)
        assert 0 < choose_port(memory) < 65536

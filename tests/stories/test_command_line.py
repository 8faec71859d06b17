"""The `gatewayz` command against stores that the environment names."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatewayz.accounts.keys import well_formed

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def gatewayz(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run the command; what it prints and its exit code."""

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join((str(ROOT / "shared"), str(ROOT)))
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **environment, **more}
        return subprocess.run(
            [sys.executable, "-m", "gatewayz.cli", *arguments],
            cwd=tmp_path, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def good(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def bad(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_a_key_is_shown_once_listed_by_its_beginning_and_revoked(gatewayz: Command) -> None:
    first, key = good(gatewayz("keys", "create", "--account", "acme", "--name", "ci")).splitlines()
    assert well_formed(key.encode())
    assert key.startswith("gw_test_")
    listed = good(gatewayz("keys", "list", "--account", "acme"))
    assert key not in listed
    assert "active" in listed
    key_id = first.split()[0]
    assert key_id in listed
    assert "Revoked" in good(gatewayz("keys", "revoke", key_id, "--account", "acme"))
    [row] = json.loads(good(gatewayz("keys", "list", "--account", "acme", "--json")))
    assert (row["name"], row["status"]) == ("ci", "revoked")
    assert bad(gatewayz("keys", "revoke", "key_none", "--account", "acme")) == (
        "gatewayz: key not found"
    )


def test_credit_is_granted_exactly_and_once_per_operation(gatewayz: Command) -> None:
    account = ("--account", "acme")
    assert "Granted $10 to acme" in good(gatewayz("credits", "grant", "10", *account))
    for _ in range(2):
        good(gatewayz("credits", "grant", "0.000000001", *account, "--operation", "once"))
    row = json.loads(good(gatewayz("credits", "balance", *account, "--json")))
    assert row["balance_nanos"] == 10 * 10**9 + 1
    assert "$10.000000001" in good(gatewayz("credits", "balance", *account))
    for nonsense in ("0", "0.0000000001", "nan", "Infinity", "ten"):
        bad(gatewayz("credits", "grant", nonsense, *account))
    assert "account not found" in bad(gatewayz("credits", "balance", "--account", "nobody"))
    assert bad(gatewayz("credits", "balance")) == "gatewayz: Name the account: --account NAME"


def test_migrating_tells_what_it_did_and_is_safe_to_repeat(gatewayz: Command) -> None:
    assert good(gatewayz("migrate", "--dry-run")) == ""
    assert good(gatewayz("migrate")) == "The database is up to date.\n"
    nowhere = "postgresql://postgres:secret@127.0.0.1:1/none"
    said = bad(gatewayz("migrate", DATABASE_URL=nowhere))
    assert said.startswith("gatewayz: The database cannot be reached")
    assert "secret" not in said


def test_env_prints_what_a_shell_can_take(gatewayz: Command) -> None:
    exports = good(gatewayz("env", "--url", "http://gateway.test", "--key", "a'b"))
    script = exports + 'printf "%s %s" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == "http://gateway.test/v1 a'b"
    assert "export ANTHROPIC_AUTH_TOKEN" not in exports, "it conflicts with ANTHROPIC_API_KEY"
    assert "not yet" not in exports
    known = ("--url", "http://gateway.test", "--key", "k")
    assert "export ANTHROPIC_AUTH_TOKEN=k" in good(gatewayz("env", "claude-code", *known))
    assert "'frob' is not a tool we know" in bad(gatewayz("env", "frob"))


class Provider(http.server.BaseHTTPRequestHandler):
    """A provider that takes one key and has no patience for others."""

    def do_GET(self) -> None:
        known = self.headers["authorization"] == "Bearer good-credential"
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b'{"data":[]}')

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def providers_file(tmp_path: Path) -> Iterator[Path]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    file = tmp_path / "providers.toml"
    file.write_text(
        f"""
        [acme]
        name = "Acme"
        dialect = "openai_chat"
        base_url = "http://127.0.0.1:{server.server_port}/v1"
        credential = "ACME_API_KEY"
        """
    )
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_doctor_finds_all_well(gatewayz: Command, providers_file: Path) -> None:
    said = good(
        gatewayz("doctor", GATEWAYZ_PROVIDERS=str(providers_file), ACME_API_KEY="good-credential")
    )
    assert "✓ Acme: takes the credential" in said
    assert "✓ ledger: adds up: no violations" in said
    assert "checked with this shell's environment and .env" in said
    assert "good-credential" not in said


def test_the_doctor_tells_a_gateway_key_from_a_providers(
    gatewayz: Command, providers_file: Path
) -> None:
    said = good(
        gatewayz("doctor", GATEWAYZ_PROVIDERS=str(providers_file), ACME_API_KEY="gw_dev_0123")
    )
    assert "! Acme: ACME_API_KEY holds a Gatewayz key: ignored" in said
    assert "gw_dev_0123" not in said


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(
    gatewayz: Command, providers_file: Path
) -> None:
    done = gatewayz(
        "doctor",
        GATEWAYZ_PROVIDERS=str(providers_file),
        ACME_API_KEY="bad-credential",
        GATEWAYZ_SWEEPS="60",
        GATEWAYZ_KEY_RING="1:c2VjcmV0",
        REDIS_URL="redis://127.0.0.1:1",
    )
    assert done.returncode == 1
    assert "✗ Acme: refuses the credential (401)" in done.stdout
    assert "Put a valid key into ACME_API_KEY." in done.stdout
    assert "! GATEWAYZ_SWEEPS: no such setting" in done.stdout
    assert "GATEWAYZ_KEY_RING" not in done.stdout
    assert "✗ redis" in done.stdout
    assert "Check REDIS_URL or" in done.stdout
    assert "bad-credential" not in done.stdout + done.stderr
    lacking = gatewayz("doctor", GATEWAYZ_KEY_PEPPER="short")
    assert lacking.returncode == 1
    assert "✗ settings: GATEWAYZ_KEY_PEPPER" in lacking.stdout

"""`make run`, as a person meets it: one command, a first answer, and every way to stop it."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gatewayz.accounts.keys import well_formed
from gatewayz.local import leftovers

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
CLEAN = ("DATABASE_", "REDIS_", "SUPABASE_", "UPSTASH_", "SQS_", "GATEWAYZ_", "CRON_SECRET")
CLEAN += ("PORT", "HOST")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Machine:
    """A folder and a port of one's own, and the commands that a person types there."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        """Without a test run's own settings; providers' credentials are nobody's business here."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(CLEAN) and "API_KEY" not in name
        }
        path = os.pathsep.join((str(ROOT / "shared"), str(ROOT)))
        return kept | {
            "PYTHONPATH": path,
            "GATEWAYZ_HOME": str(self.home),
            "PORT": str(self.port),
            "GATEWAYZ_DISCOVER_LOCAL": "0",
        } | more  # fmt: skip

    def spawn(self, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "gatewayz.cli", *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        process = self.spawn(*arguments, **more)
        out, err = process.communicate(timeout=START_S)
        return subprocess.CompletedProcess(
            arguments, process.returncode, out.decode(), err.decode()
        )

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator["Stack"]:
        process = self.spawn("dev", *(arguments or ("--show-key",)))
        try:
            yield Stack(self, process, _read_welcome(process))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=START_S)

    def living(self) -> list[int]:
        """Every process that works for this home."""
        found = leftovers.pids_with("gatewayz.local", str(self.home))
        for folder, program in (("postgres", "postgres"), ("valkey", "valkey-server")):
            found += leftovers.pids_in(self.home / folder / "data", program)
        return found


@dataclass
class Stack:
    machine: Machine
    process: "subprocess.Popen[bytes]"
    welcome: list[str]

    @property
    def key(self) -> str:
        return self.welcome[-2].removeprefix("API key: ")

    def ask(self, text: str = "Hello!") -> dict[str, Any]:
        answer = httpx.post(
            f"{self.machine.url}/v1/chat/completions",
            headers={"authorization": f"Bearer {self.key}"},
            json={"model": "sandbox/echo", "messages": [{"role": "user", "content": text}]},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def balance(self) -> dict[str, int]:
        """The account once everything that was used is booked."""
        for _ in range(200):
            said = json.loads(self.machine.run("credits", "balance", "--json").stdout)
            if said["charged_nanos"]:
                return dict(said)
            time.sleep(0.05)
        raise AssertionError("nothing was ever charged")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _read_welcome(process: "subprocess.Popen[bytes]") -> list[str]:
    """What it says until it is ready; its last line begins with curl."""
    assert process.stdout is not None
    said = b""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        ready, _, _ = select.select([process.stdout], [], [], 0.5)
        block = os.read(process.stdout.fileno(), 65536) if ready else b""
        said += block
        lines = said.decode().splitlines()
        if said.endswith(b"\n") and lines and lines[-1].startswith("curl "):
            return lines
        if ready and not block:
            assert process.stderr is not None
            raise AssertionError(f"it ended: {said!r} {process.stderr.read()!r}")
    raise AssertionError(f"not ready: {said!r}")


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    assert machine.living() == [], "something was left running"


def test_one_command_leads_to_a_first_streamed_answer_and_survives_stop_and_kill(
    machine: Machine,
) -> None:
    with machine.started() as stack:
        assert stack.welcome[-3] == f"Gatewayz is ready at {machine.url}"
        assert stack.key.startswith("gw_dev_")
        assert well_formed(stack.key.encode())
        key = stack.key
        if shutil.which("curl"):
            pasted = subprocess.run(
                ["/bin/sh", "-c", stack.welcome[-1]], capture_output=True, text=True, check=True
            )
            frames = [line for line in pasted.stdout.splitlines() if line.startswith("data: ")]
            assert len(frames) > 5
            assert frames[-1] == "data: [DONE]"
        stack.ask()
        used = stack.balance()
        assert used["granted_nanos"] == 10 * 10**9
        refused = Machine(machine.folder).run("dev")
        assert refused.returncode == 1
        assert "already runs" in one_line(refused.stderr)
        assert machine.home.stat().st_mode & 0o077 == 0
        assert (machine.home / "key").stat().st_mode & 0o077 == 0
    assert stack.process.returncode == 0
    assert machine.living() == []

    with machine.started() as stack:
        assert stack.key == key, "the same key at every start"
        assert stack.balance() == used, "what was booked is still booked"
        stack.kill()  # the supervisor alone, as the out-of-memory killer does

    with machine.started() as stack:
        assert stack.key == key
        stack.ask()
        stack.kill()
        for pid in machine.living():  # and then the machine itself falls
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    with machine.started() as stack:
        assert stack.key == key
        stack.ask()
        said = machine.run("doctor")
        assert said.returncode == 0, said.stdout
        assert "adds up: no violations" in said.stdout
        assert "running stack" not in said.stdout
        said = machine.run("doctor", VLLM_API_KEY="secret")
        assert "! running stack: has no VLLM_API_KEY" in said.stdout
    assert machine.living() == []


def test_the_key_is_not_printed_where_no_terminal_reads_it(machine: Machine) -> None:
    with machine.started("--port", str(machine.port)) as stack:
        shown = "\n".join(stack.welcome)
        key = (machine.home / "key").read_text().strip()
        assert key not in shown
        assert str(machine.home / "key") in stack.welcome[-2]
        stack.process.send_signal(signal.SIGTERM)
        stack.process.wait(START_S)
    assert stack.process.returncode == 0


def test_env_file_is_read_and_the_real_environment_wins(machine: Machine) -> None:
    other = free_port()
    (machine.folder / ".env").write_text(f"PORT={other}\nGATEWAYZ_SWEEP_S=not-a-number\n")
    refused = machine.run("dev")
    assert "GATEWAYZ_SWEEP_S" in one_line(refused.stderr)
    (machine.folder / ".env").write_text("no equals sign\n")
    assert ".env, line 1" in one_line(machine.run("dev").stderr)


def test_a_busy_port_is_one_clear_line(machine: Machine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", machine.port))
        other.listen()
        refused = machine.run("dev")
    assert refused.returncode == 1
    assert f"Port {machine.port} is busy" in one_line(refused.stderr)


def test_a_folder_that_cannot_be_written_is_one_clear_line(machine: Machine) -> None:
    refused = machine.run("dev", GATEWAYZ_HOME="/proc/gatewayz")
    assert refused.returncode == 1
    assert "Cannot write /proc/gatewayz" in one_line(refused.stderr)


def test_a_nonsensical_setting_is_one_clear_line(machine: Machine) -> None:
    refused = machine.run("dev", PORT="eighty")
    assert refused.returncode == 1
    assert "PORT='eighty'" in one_line(refused.stderr)


def test_without_a_gateway_the_commands_say_what_to_do(machine: Machine) -> None:
    for command in (["credits", "balance"], ["keys", "list"], ["env"], ["migrate"]):
        refused = machine.run(*command)
        assert refused.returncode == 1
        assert "make run" in one_line(refused.stderr)


def test_serve_and_work_refuse_to_start_without_stores(machine: Machine) -> None:
    for command in (["serve"], ["work"], ["serve", "--all"]):
        refused = machine.run(*command)
        assert refused.returncode == 1
        assert "DATABASE_URL" in one_line(refused.stderr)


def test_one_container_serves_and_settles(machine: Machine, environment: dict[str, str]) -> None:
    environment = {**environment, "GATEWAYZ_HOME": str(machine.home), "PORT": str(machine.port)}
    process = machine.spawn("serve", "--all", **environment)
    try:
        for _ in range(200):
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"{machine.url}/health", trust_env=False, timeout=10)
                assert answer.json()["status"] == "ok"
                break
            time.sleep(0.1)
        else:
            raise AssertionError("it never answered")
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=START_S)
    assert process.returncode == 0, err

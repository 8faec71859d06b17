"""Coding agents' command-line tools, each on a task of several turns in a folder of its own: a
command is run, its output comes back, a file is there at the end.
"""

import json
from pathlib import Path
from typing import Any

from tests.extended.callers import run
from tests.fakes.agent import Agent, Call, Say, Script
from tests.fakes.upstream import RawUpstream
from tests.world import World

COMMAND = "echo made by an agent > made.txt && cat made.txt"
LAST = "The file is there."
SHELLS = ("shell", "exec_command", "shell_command", "local_shell", "run_shell_command", "bash")


def shell_call(name: str, number: int, command: str) -> Call:
    """A call of a tool that runs a command, in the words of whoever offers it."""
    given: dict[str, Any] = {"command": command}
    if name == "exec_command":
        given = {"cmd": command}
    elif name == "shell":
        given = {"command": ["bash", "-lc", command]}
    elif name == "run_shell_command":
        given = {"command": command, "description": "makes a file", "is_background": False}
    return Call(f"call_{number}", name, json.dumps(given))


def work(body: Any) -> Script:
    """Two commands, then a last word; the tool is one that the agent offers."""
    offered = [
        (tool.get("function") or tool).get("name") or tool.get("type")
        for tool in body.get("tools") or ()
    ]
    shell = next((name for name in offered if name in SHELLS), None)
    if shell is None:
        return {0: Say(LAST)}
    return {
        0: Say("I make it.", (shell_call(shell, 1, COMMAND),)),
        1: Say("I look at it.", (shell_call(shell, 2, "ls"),)),
        2: Say(LAST),
    }


async def _settled(world: World) -> None:
    assert await world.settle() > 0
    assert await world.violations() == []


async def test_codex_works_over_responses(
    world: World, raw: RawUpstream, extended_node: Path, tmp_path: Path
) -> None:
    account = await world.account()
    agent = Agent(work)
    raw.play = agent.play
    for model in ("openai-chat/agent", "openai-responses/agent"):
        agent.heard.clear()
        folder = tmp_path / model.replace("/", "-")
        folder.mkdir()
        (folder / "home").mkdir()
        provider = {
            "name": '"Gatewayz"', "base_url": f'"{world.url}/v1"', "env_key": '"KEY"',
            "wire_api": '"responses"',
        }  # fmt: skip
        options = [f"model_providers.gw.{name}={value}" for name, value in provider.items()]
        options += ['model_provider="gw"', 'web_search="disabled"']
        command: list[str | Path] = ["node", extended_node / "node_modules/.bin/codex", "exec"]
        for option in options:
            command += ["-c", option]
        command += ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        command += ["-m", model, "Make a file."]
        said = await run(
            command, key=account.key, cwd=folder, CODEX_HOME=str(folder / "home"), HOME=str(folder)
        )
        assert LAST in said
        assert (folder / "made.txt").read_text() == "made by an agent\n"
        assert len(agent.heard[-1].results) == 2
        assert "made by an agent" in agent.heard[-1].results[0][0]
    await _settled(world)


async def test_qwen_code_works_over_chat_completions(
    world: World, raw: RawUpstream, extended_node: Path, tmp_path: Path
) -> None:
    account = await world.account()
    agent = Agent(work)
    raw.play = agent.play
    for model in ("openai-chat/agent", "anthropic/agent"):
        agent.heard.clear()
        folder = tmp_path / model.replace("/", "-")
        folder.mkdir()
        command: list[str | Path] = ["node", extended_node / "node_modules/.bin/qwen", "--yolo"]
        command += ["--openai-base-url", world.url + "/v1", "--openai-api-key", account.key]
        command += ["--auth-type", "openai", "-m", model, "-p", "Make a file."]
        said = await run(command, key=account.key, cwd=folder, HOME=str(folder))
        assert LAST in said
        assert (folder / "made.txt").read_text() == "made by an agent\n"
        # It may ask small things besides the task itself.
        worked = max(agent.heard, key=lambda heard: len(heard.results))
        assert "made by an agent" in worked.results[0][0]
    await _settled(world)


async def test_aider_edits_a_file(
    world: World, raw: RawUpstream, extended_python: Path, tmp_path: Path
) -> None:
    account = await world.account()
    change = "<<<<<<< SEARCH\nprint('a')\n=======\nprint('b')\n>>>>>>> REPLACE\n"
    edit = f"hello.py\n```python\n{change}```\n"
    raw.play = Agent({0: Say(edit)}).play
    for model in ("openai-chat/agent", "google/agent"):
        file = tmp_path / "hello.py"
        file.write_text("print('a')\n")
        command: list[str | Path] = [extended_python / "aider", "--model", f"openai/{model}"]
        command += ["--openai-api-base", world.url + "/v1", "--openai-api-key", account.key]
        command += ["--edit-format", "diff", "--yes-always", "--no-git", "--no-check-update"]
        command += ["--no-show-model-warnings", "--analytics-disable", "--no-auto-commits"]
        command += ["--map-tokens", "0", "--message", "Say b.", file]
        await run(command, key=account.key, cwd=tmp_path, HOME=str(tmp_path))
        assert file.read_text() == "print('b')\n"
    await _settled(world)


async def test_llm_runs_a_function_and_tells_what_it_said(
    world: World, raw: RawUpstream, extended_python: Path, tmp_path: Path
) -> None:
    account = await world.account()
    script = {
        0: Say("", (Call("call_1", "weather", '{"city": "Zürich"}'),)),
        1: Say(LAST),
    }
    (tmp_path / "extra-openai-models.yaml").write_text(
        "".join(
            f"- model_id: {name}\n  model_name: {name}/agent\n  api_base: {world.url}/v1\n"
            "  supports_tools: true\n  api_key_name: gateway\n"
            for name in ("openai-chat", "anthropic")
        )
    )
    functions = 'def weather(city: str) -> str:\n    return "rain in " + city\n'
    for model in ("openai-chat", "anthropic"):
        agent = Agent(script)
        raw.play = agent.play
        command: list[str | Path] = [extended_python / "llm", "-m", model, "--key", account.key]
        command += ["--functions", functions, "How is it?"]
        said = await run(command, key=account.key, LLM_USER_PATH=str(tmp_path), HOME=str(tmp_path))
        assert LAST in said
        assert "rain in Zürich" in agent.heard[-1].results[0][0]
    await _settled(world)

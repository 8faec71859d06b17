"""The three descriptions of one system, read alike: functions/, template.yaml, vercel.json.

Also builds what a platform would lay beside a function: a layer's packages and our own, and an
interpreter that sees nothing else.
"""

import importlib
import json
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from gatewayz.local.mount import routes_of

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ROOT / "functions"
ENTRIES = ("app", "worker", "job")
SETS = ("edge", "control")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref A` is {"Ref": "A"}."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".") if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


@dataclass(frozen=True)
class Function:
    """A folder of functions/: its one module and what the two platforms say about it."""

    name: str
    entry: str
    resource: dict[str, Any]
    service: dict[str, Any]

    @property
    def folder(self) -> Path:
        return FUNCTIONS / self.name

    @property
    def streams(self) -> bool:
        return (self.folder / "run.sh").exists()

    @property
    def timeout_s(self) -> int:
        return int(self.resource.get("Timeout", GLOBALS["Timeout"]))

    @property
    def duration_s(self) -> int:
        return int(self.service["functions"][f"{self.entry}.py"]["maxDuration"])

    @property
    def layers(self) -> list[str]:
        return [layer["Ref"] for layer in self.resource["Layers"] if "Ref" in layer]

    @property
    def sets(self) -> list[str]:
        """The requirement sets that its layers hold."""
        return [name for name in SETS if f"{name.capitalize()}Layer" in self.layers]

    @property
    def variables(self) -> dict[str, Any]:
        return dict(self.resource.get("Environment", {}).get("Variables", {}))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [
            {"Type": e["Type"], **e["Properties"]} for e in self.resource.get("Events", {}).values()
        ]

    def load(self) -> ModuleType:
        return importlib.import_module(f"functions.{self.name}.{self.entry}")

    def routes(self) -> list[tuple[str, set[str]]]:
        """Paths and methods, from the application's own route table."""
        module = self.load()
        known = getattr(module.app, "routes", None)
        if known is None:
            return [(path, {"POST", "OPTIONS"}) for path in routes_of(self.name, module)]
        return [(route.path, set(route.methods)) for route in known]


TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)
GLOBALS: dict[str, Any] = TEMPLATE["Globals"]["Function"]
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
VERCEL: dict[str, Any] = json.loads((ROOT / "vercel.json").read_text())


def logical_id(name: str) -> str:
    """settle_charges is SettleCharges."""
    return "".join(word.capitalize() for word in name.split("_"))


def resources_of(kind: str) -> dict[str, Any]:
    return {k: v.get("Properties", {}) for k, v in RESOURCES.items() if v["Type"] == kind}


def _functions() -> list[Function]:
    found = []
    for folder in sorted(path for path in FUNCTIONS.iterdir() if path.name[0] not in "._"):
        entries = [name for name in ENTRIES if (folder / f"{name}.py").exists()]
        resource = RESOURCES.get(logical_id(folder.name), {}).get("Properties", {})
        service = VERCEL["services"].get(folder.name, {})
        found.append(Function(folder.name, (entries or ["none"])[0], resource, service))
    return found


ALL = _functions()
HTTP = [function for function in ALL if function.entry == "app"]
CLOCKED = [function for function in ALL if function.entry != "app"]


def sample_of(route: str) -> str:
    """A path that a route takes, with the signs that model ids have."""
    filled = re.sub(r"\{[^}]+:path\}", "llama-3.3-70b@q4:free/tail", route)
    return re.sub(r"\{[^}]+\}", "some-id", filled)


# ---------------------------------------------------------------- what lies beside a function


def requirement_names(file: Path) -> dict[str, str]:
    """Pinned names, as packages normalise them, and versions of a locked set."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", file.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


@cache
def set_names(name: str) -> frozenset[str]:
    return frozenset(requirement_names(ROOT / "layers" / name / "requirements.txt"))


def link_packages(names: frozenset[str], target: Path, site: Path | None = None) -> None:
    """Give `target` the installed files of these distributions and of no other."""
    site = site or Path(sysconfig.get_path("purelib"))
    target.mkdir(parents=True, exist_ok=True)
    for distribution in metadata.distributions(path=[str(site)]):
        if re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower() not in names:
            continue
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link = target / top
            if not link.exists():
                link.symlink_to(site / top)


def lay_layers(root: Path, sets: list[str]) -> Path:
    """`root`/python as Lambda merges the layers below /opt."""
    python = root / "python"
    for name in sets:
        link_packages(set_names(name), python)
    (python / "gatewayz").symlink_to(ROOT / "shared" / "gatewayz")
    return python


def bare_python(folder: Path) -> Path:
    """A `python3` that finds the standard library and PYTHONPATH, and no site-packages."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    real = Path(sys.base_prefix) / "bin" / version
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python3"
    program.write_text(f'#!/bin/sh\nexec "{real}" -S -s "$@"\n')
    program.chmod(0o755)
    return program

"""The house's rules that a reader cannot see at a glance: who imports whom, and what stands where."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.repo.trees import ROOT, calls, dotted, files, imports, plant

PACKAGES = ("alae_core", "pipelines", "tuning", "cluster")
MAX_LINES = 400

# What a package may import beside the standard library and itself; one that is not listed: anything.
MAY_IMPORT = {
    "alae_core": {"torch", "torchvision", "numpy"},
    "cluster": {"ray", "yaml"},
}
MUST_NOT_IMPORT = {"pipelines": {"tuning", "cluster"}, "tuning": {"alae_core", "cluster"}}
# Within alae_core: a module or folder, and the parts of alae_core that it may import beside its own.
CORE_MAY_IMPORT = {
    "algorithms": {
        "alarms",
        "capabilities",
        "networks",
        "losses",
        "convolution",
        "latents",
        "layers",
        "algorithm",
        "schedule",
    },
    "networks": {"layers"},
    "fused": set(),
    "convolution": set(),
    "layers": {"fused", "convolution"},
    "losses": set(),
    "latents": set(),
    "schedule": set(),
    "alarms": {"schedule", "algorithm", "losses"},
    "noise": {"seeds"},
    "seeds": set(),
    "box_average": set(),
    "images": {"box_average"},
    "sync": set(),
    "ema": set(),
    "optim": {"algorithm"},
    "order": {"schedule", "seeds"},
    "algorithm": {"noise", "schedule"},
    "capabilities": {"alarms", "algorithm", "schedule"},
    "state": {"algorithm", "ema", "optim", "noise"},
    "nonfinite": set(),
    "engine": {"algorithm", "fused", "nonfinite", "state", "schedule", "sync", "ema", "images", "optim"},
    "fit": {"engine", "state", "schedule", "sync", "images", "order"},
    "metrics": {"images", "noise", "layers", "latents", "algorithm"},
    "torchvision_import": set(),
}
# The rooms of pipelines, and the rooms that each may import; the order is that of the floors, lowest first.
ROOMS_MAY_IMPORT: dict[str, set[str]] = {
    "user_code": set(),
    "ray_log": set(),
    "ray_connection": {"user_code", "ray_log"},
    "storage": set(),
    "experiment": {"user_code", "storage"},
    "sources": {"storage"},
    "presets": {"user_code", "storage", "experiment"},
    "data": {"ray_connection", "storage", "experiment", "sources"},
    "pictures": {"sources"},
    "runs": {"storage", "experiment", "data", "pictures"},
    "tracking": {"storage", "experiment", "presets", "data", "runs"},
    "evaluation": {"ray_connection", "storage", "experiment", "sources", "data", "pictures", "runs"},
    "training": {"ray_connection", "storage", "experiment", "data", "runs", "tracking", "evaluation"},
    "apply": {"storage", "experiment", "sources", "data", "pictures", "runs", "evaluation"},
    "serving": {"sources", "pictures", "apply"},
    "cli": {
        "storage",
        "experiment",
        "sources",
        "presets",
        "data",
        "runs",
        "tracking",
        "evaluation",
        "training",
        "apply",
    },
}
RANK_ZERO_FILES = {"pipelines/runs/checkpoint.py", "pipelines/runs/run.py"}
BANNED_NAMES = {"utils.py", "helpers.py", "common.py"}
BANNED_CORE_MODULES = {
    "argparse",
    "os",
    "pathlib",
    "io",
    "logging",
    "random",
    "tempfile",
    "shutil",
    "subprocess",
}
BANNED_CORE_CALLS = {
    "print",
    "open",
    "input",
    "torch.save",
    "torch.load",
    "torch.seed",
    "torch.set_rng_state",
}
GLOBAL_DRAWS = {
    "rand",
    "randn",
    "randint",
    "randperm",
    "normal",
    "bernoulli",
    "multinomial",
    "rand_like",
    "randn_like",
}

Rule = Callable[[Path], Iterator[str]]


def packages_import_downwards(root: Path) -> Iterator[str]:
    for name, tree in files(root, *PACKAGES):
        own = name.split("/")[0]
        for imported in imports(name, tree):
            top = imported.split(".")[0]
            allowed = top == own or top in sys.stdlib_module_names or top in MAY_IMPORT.get(own, {top})
            if not allowed or top in MUST_NOT_IMPORT.get(own, ()):
                yield f"{name} imports {imported}"


def core_imports_downwards(root: Path) -> Iterator[str]:
    for name, tree in files(root, "alae_core"):
        own = name.removeprefix("alae_core/").removesuffix(".py").split("/")[0]
        if own == "__init__":
            continue
        for imported in imports(name, tree):
            parts = imported.split(".")
            if parts[0] != "alae_core" or len(parts) < 2:
                continue
            if own not in CORE_MAY_IMPORT:
                yield f"{name} has no rule for its imports: say in this test what alae_core.{own} may import"
            elif parts[1] != own and parts[1] not in CORE_MAY_IMPORT[own]:
                yield f"{name} imports {imported}"


def rooms_import_downwards(root: Path) -> Iterator[str]:
    for name, tree in files(root, "pipelines"):
        own = _room(name.removesuffix(".py").replace("/", "."))
        if own == "__init__":
            continue
        if own not in ROOMS_MAY_IMPORT:
            yield f"{name} is in no room: say in this test which rooms pipelines.{own} may import"
            continue
        for imported in imports(name, tree):
            room = _room(imported)
            if imported.startswith("pipelines.") and room != own and room not in ROOMS_MAY_IMPORT[own]:
                yield f"{name} imports {imported}"


def _room(module: str) -> str:
    return [*module.split("."), ""][1]


def core_touches_nothing_outside(root: Path) -> Iterator[str]:
    """No printing, files, environment or command line."""
    for name, tree in files(root, "alae_core"):
        yield from (
            f"{name} imports {found}" for found in imports(name, tree) if found.split(".")[0] in BANNED_CORE_MODULES
        )
        yield from (f"{name} calls {dotted(c.func)}" for c in calls(tree) if dotted(c.func) in BANNED_CORE_CALLS)


def core_draws_from_named_generators(root: Path) -> Iterator[str]:
    """Noise has a generator; only fresh weights, in `__init__`, and a fork of the global generator do not."""
    for name, tree in files(root, "alae_core"):
        lent = {id(call) for node in ast.walk(tree) if _lends_global_generator(node) for call in calls(node)}
        for call in calls(tree):
            function = dotted(call.func)
            draws = function.startswith("torch.") and function.split(".")[-1] in GLOBAL_DRAWS
            seeds = function in (
                "torch.manual_seed",
                "torch.cuda.manual_seed_all",
                "torch.default_generator.manual_seed",
            )
            numpy = function.startswith(("np.random.", "numpy.random.")) and not _names_a_generator(function)
            named = any(keyword.arg == "generator" for keyword in call.keywords)
            if numpy or ((seeds or (draws and not named)) and id(call) not in lent):
                yield f"{name}:{call.lineno} draws from the global generator by {function}"


def _lends_global_generator(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        return any(
            isinstance(item.context_expr, ast.Call) and dotted(item.context_expr.func) == "torch.random.fork_rng"
            for item in node.items
        )
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _names_a_generator(function: str) -> bool:
    return function.split(".")[-1] in ("Generator", "PCG64")


def pickles_are_never_trusted(root: Path) -> Iterator[str]:
    for name, tree in files(root, *PACKAGES, "tests"):
        for call in calls(tree):
            safe = any(
                k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                for k in call.keywords
            )
            if dotted(call.func) == "torch.load" and not safe:
                yield f"{name}:{call.lineno} loads without weights_only=True"


def files_have_telling_names_and_fit_the_eye(root: Path) -> Iterator[str]:
    for folder in (*PACKAGES, "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if path.name in BANNED_NAMES:
                yield f"{name} is named after nothing that it does"
            if (lines := len(path.read_text().splitlines())) > MAX_LINES:
                yield f"{name} has {lines} lines"


def rank_zero_is_special_in_two_places(root: Path) -> Iterator[str]:
    for name, tree in files(root, *PACKAGES):
        for node in ast.walk(tree):
            if name not in RANK_ZERO_FILES and _asks_for_rank_zero(node):
                yield f"{name}:{node.lineno} treats rank 0 apart"  # type: ignore[attr-defined]


def _asks_for_rank_zero(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_rank(node.operand)
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    zero = any(isinstance(side, ast.Constant) and side.value == 0 for side in sides)
    return zero and any(_is_rank(side) for side in sides)


def _is_rank(node: ast.AST) -> bool:
    name = dotted(node.func if isinstance(node, ast.Call) else node).split(".")[-1]
    return re.fullmatch(r"_?(get_)?((world|global|local)_)?rank", name) is not None


RULES: dict[Rule, list[tuple[str, str]]] = {
    # Each rule with files that break it, by path and content.
    packages_import_downwards: [
        ("alae_core/a.py", "import ray"),
        ("alae_core/a.py", "def f():\n    from pipelines.experiment import Experiment"),
        ("alae_core/a.py", "import PIL.Image"),
        ("cluster/a.py", "from alae_core import images"),
        ("cluster/a.py", "import pipelines"),
        ("cluster/a.py", "import torch"),
        ("pipelines/cli/a.py", "from tuning import search"),
        ("pipelines/a.py", "import cluster.submit"),
        ("tuning/a.py", "from alae_core.optim import AdamConfig"),
    ],
    core_imports_downwards: [
        ("alae_core/engine.py", "from alae_core.algorithms import alae"),
        ("alae_core/engine.py", "from alae_core import algorithms"),
        ("alae_core/algorithms/new.py", "from alae_core import engine"),
        ("alae_core/algorithms/new.py", "from ..state import TrainState"),
        ("alae_core/networks/new.py", "from alae_core.losses import r1_penalty"),
        ("alae_core/layers.py", "from alae_core.networks import mlp"),
        ("alae_core/unruled.py", "from alae_core import images"),
    ],
    rooms_import_downwards: [
        ("pipelines/runs/a.py", "from pipelines.training import trainer"),
        ("pipelines/apply/a.py", "def f():\n    from pipelines.training.trainer import train"),
        ("pipelines/storage/a.py", "from pipelines.experiment import Experiment"),
        ("pipelines/data/pack/a.py", "import pipelines.presets"),
        ("pipelines/hall.py", ""),
        ("pipelines/attic/a.py", "import json"),
    ],
    core_touches_nothing_outside: [
        ("alae_core/a.py", "print(1)"),
        ("alae_core/a.py", "def f():\n    return open('x')"),
        ("alae_core/a.py", "import os\nos.environ['X']"),
        ("alae_core/a.py", "from os import environ"),
        ("alae_core/a.py", "import argparse"),
        ("alae_core/a.py", "torch.save(1, 'x')"),
        ("alae_core/__main__.py", "import argparse"),
    ],
    core_draws_from_named_generators: [
        ("alae_core/a.py", "def forward(x):\n    return x + torch.randn(3)"),
        ("alae_core/a.py", "torch.manual_seed(1)"),
        ("alae_core/a.py", "np.random.permutation(3)"),
        ("alae_core/a.py", "numpy.random.seed(3)"),
        ("alae_core/a.py", "torch.randn_like(x)"),
    ],
    pickles_are_never_trusted: [
        ("pipelines/a.py", "torch.load('x')"),
        ("tests/a.py", "torch.load('x', weights_only=False)"),
    ],
    files_have_telling_names_and_fit_the_eye: [
        ("pipelines/utils.py", ""),
        ("alae_core/networks/common.py", ""),
        ("tests/helpers.py", ""),
        ("tuning/a.py", "\n" * (MAX_LINES + 1)),
    ],
    rank_zero_is_special_in_two_places: [
        ("pipelines/training/worker.py", "if sync.rank() == 0:\n    pass"),
        ("pipelines/a.py", "x = 0 != ray.train.get_context().get_world_rank()"),
        ("alae_core/engine.py", "if rank > 0:\n    pass"),
        ("alae_core/engine.py", "if not self._rank:\n    pass"),
    ],
}
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@EVERY_RULE
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(ROOT)) == []


@EVERY_RULE
def test_the_rule_catches_a_planted_violation(rule: Rule, tmp_path: Path) -> None:
    for number, (name, content) in enumerate(RULES[rule]):
        plant(tmp_path / str(number), [(name, content)])
        assert list(rule(tmp_path / str(number))), content


@EVERY_RULE
def test_the_rule_accepts_what_is_allowed(rule: Rule, tmp_path: Path) -> None:
    plant(
        tmp_path,
        [
            (
                "alae_core/engine.py",
                "import math\nfrom alae_core import images, sync\nfrom alae_core.state import TrainState",
            ),
            ("alae_core/layers.py", "class L:\n    def __init__(self):\n        self.w = torch.randn(3)"),
            ("alae_core/noise.py", "torch.randn(3, generator=g)\nnp.random.Generator(np.random.PCG64(1))"),
            ("alae_core/state.py", "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(1)"),
            ("alae_core/algorithms/b.py", "from alae_core.algorithms.a import A\nfrom ..networks import mlp"),
            ("pipelines/runs/checkpoint.py", "if sync.rank() != 0:\n    torch.load('x', weights_only=True)"),
            ("pipelines/data/feed/feed.py", "if ranks == 0 or rank == 1:\n    import ray, alae_core.order"),
            ("pipelines/tracking/a.py", "from pipelines import storage\nfrom pipelines.runs.run import Run"),
            ("tuning/search.py", "import ray\nfrom pipelines import presets"),
            ("cluster/submit.py", "import yaml\nimport ray"),
        ],
    )
    assert list(rule(tmp_path)) == []


@pytest.mark.slow
def test_importing_every_module_of_alae_core_imports_neither_ray_nor_mlflow_nor_pipelines() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "alae_core").rglob("*.py")
    )
    assert "alae_core.engine" in modules
    code = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "print({'ray', 'mlflow', 'pipelines', 'pyarrow', 'pydantic'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")

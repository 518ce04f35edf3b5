"""Recipes by name: the library's, and those of a caller's own module."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models import synthetic
from models.synthetic import Transformer
from requant.cli.run import run
from requant.errors import RequantError
from requant.recipe import RECIPES, find_recipe

SPEC = Transformer(width=32, heads=4, layers=1)
SOLVER = """
from dataclasses import dataclass
import numpy as np
from requant.ir import ChannelTransform

@dataclass(frozen=True)
class Widest:
    def __call__(self, observation):
        return ChannelTransform(np.maximum(observation.reach(observation.centre), 1e-6), observation.centre)

NOTHING = 3

class Needy(Widest):
    def __init__(self, option):
        pass

def __getattr__(name):
    if name == "Broken":
        raise RuntimeError("two\\nlines")
    raise AttributeError(f"module has no attribute {name!r}")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = f"own_solver_{tmp_path.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(SOLVER)
    return name


def test_a_solver_of_ten_lines_is_reached_from_the_command_line(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(synthetic.pre_norm(SPEC), "model.onnx")
    np.savez("calibration.npz", x=np.concatenate([feed["x"] for feed in synthetic.feeds(SPEC, 4)]))
    arguments = ["optimize", "model.onnx", "-c", "calibration.npz", "-t", "tensorrt", "--recipe", f"{module}:Widest"]
    assert run(arguments) == 0
    assert f"model.onnx → tensorrt ({module}:Widest, float16)" in capsys.readouterr().out
    assert any("Widest" in str(solver) for solver in find_recipe(f"{module}:Widest").rewrites[1].candidates)  # type: ignore[attr-defined] # SearchTransforms


def test_a_recipe_of_a_module_is_taken_as_it_is(module: str) -> None:
    with Path(f"{module}.py").open("a") as file:
        file.write("from requant.recipe import RECIPES\nPLAIN = RECIPES['int8-plain']\n")
    assert find_recipe(f"{module}:PLAIN") is RECIPES["int8-plain"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_to_be_found:Solver", "cannot be imported (ModuleNotFoundError: No module named"),
        (":Solver", "cannot be imported (ValueError: Empty module name)"),
        ("{module}:Missing", "cannot be imported (AttributeError: module"),
        ("{module}:Needy", "cannot be imported (TypeError: "),
        ("{module}:Broken", "cannot be imported (RuntimeError: two"),
        ("{module}:NOTHING", "is int, neither a Recipe nor a solver"),
    ],
)
def test_what_is_no_recipe_is_one_line(module: str, name: str, reason: str) -> None:
    with pytest.raises(RequantError) as caught:
        find_recipe(name.format(module=module))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)

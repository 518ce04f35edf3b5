"""What has a new name is found by the old one too, with a warning that gives the new one."""

import importlib

import pytest

import requant
from models import synthetic
from models.synthetic import Transformer

SPEC = Transformer(width=32, heads=4, layers=1)

RENAMED = {
    "requant.passes": ("RebaseSites", "ChooseLayers", "RoundWeights", "HalvePrecision"),
    "requant.passes.solvers": ("Roomy", "Staggered", "Unshifted"),
    "requant.ir": ("Basis", "rebase", "Refused"),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in RENAMED.items() for name in names])
def test_an_old_name_gives_the_new_thing(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module}.{name} is called ") as caught:
        thing = getattr(importlib.import_module(module), name)
    new = str(caught[0].message).split(" is called ")[1].split(" ")[0]
    assert thing is getattr(importlib.import_module(module), new)
    assert caught[0].filename == __file__


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'requant\.passes' has no attribute 'Nothing'"):
        getattr(importlib.import_module("requant.passes"), "".join(["No", "thing"]))


def test_reports_and_inspections_have_the_old_names_in_json_too() -> None:
    model = synthetic.pre_norm(SPEC)
    report = requant.optimize(model, synthetic.feeds(SPEC, 2)).report
    for site in (*report.to_dict()["sites"], *requant.inspect(model).to_dict()["sites"]):
        assert site["readers"] == site["consumers"]
    assert all(layer["coded"] == layer["format"] for layer in report.to_dict()["layers"])
    with pytest.warns(DeprecationWarning, match="Report.rebased is called transformed"):
        assert report.rebased == report.transformed

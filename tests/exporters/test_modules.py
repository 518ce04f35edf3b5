"""Both of PyTorch's exporters: the report lists every linear layer of every module, in int8 or with its reason."""

import pytest

import requant
from benchmarks.exports import EXPORTERS, exports, modules
from models.zoo import feeds
from models.zoo.families import LAYERS

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # the exporters warn about themselves

FLOAT = {"upsampler"}
"""Modules of ConvTransposes alone, which TensorRT runs in float."""

WANTED = [
    (family, dtype, exporter)
    for family, dtype in modules()
    for exporter, build in zip(EXPORTERS, exports(family, dtype), strict=True)
    if build is not None
]


@pytest.mark.parametrize(("family", "dtype", "exporter"), WANTED)
def test_every_linear_layer_is_listed(family: str, dtype: str, exporter: str) -> None:
    build = dict(zip(EXPORTERS, exports(family, dtype), strict=True))[exporter]
    assert build is not None
    model = build()
    layers = requant.optimize(model, feeds(model, samples=4), "int8-plain", "tensorrt").report.layers
    assert len(layers) == LAYERS[family]
    assert [layer.name for layer in layers if not layer.quantized and not layer.reason] == []
    assert any(layer.quantized for layer in layers) == (family not in FLOAT)


@pytest.mark.parametrize(("family", "dtype"), [pair for pair in modules() if None not in exports(*pair)])
def test_both_exporters_give_the_same_sites(family: str, dtype: str) -> None:
    sites = [requant.inspect(build()).sites for build in exports(family, dtype) if build is not None]
    one, other = ([(site.kind, site.channels, len(site.consumers)) for site in each] for each in sites)
    assert sorted(one) == sorted(other)

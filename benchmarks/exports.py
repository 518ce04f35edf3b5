"""The linear layers that both exporters of PyTorch give: python -m benchmarks.exports [PATTERN...]

Prints a page of markdown, docs/exports.md, with a row for each module whose name matches a pattern, or for all. Needs
torch and transformers; nothing is downloaded.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from importlib.metadata import version

import onnx

import requant
from models.zoo import ZOO, feeds
from models.zoo.families import LAYERS
from models.zoo.wanted import Export
from requant.runtime.targets.machine import processor_name

from .sites import line

EXPORTERS = {"dynamo": 18, "script": 17}
"""Each exporter, and the opset that it writes."""

TYPES = {"vit": ("float32", "float16", "bfloat16"), "bert": ("float32", "float16", "bfloat16")}
"""The element types of families that are exported in several."""

TARGETS = ("tensorrt", "cpu")
TOOLS = ("torch", "transformers", "onnxruntime")
COLUMNS = ("module", "linear layers", "listed", "sites", *(f"int8 on {target}" for target in TARGETS))

NO_EXPORT = ("-",) * 4

INTRODUCTION = """# Exports

Modules whose weights are computed from others, packed, or written by PyTorch's exporters in ways of their own, and the
linear layers that `requant` lists of them. An entry is the same for the exporter with `dynamo=True` at opset 18 and
for TorchScript's at opset 17, or else has both, in this order; "-" is a module that TorchScript's exporter does not
take. Layers that an engine has no integer kernel for, or that would not pay, stay in float, with the reason in the
report. `models/zoo/modules.py` has the modules; `python -m benchmarks.exports` prints this page, here from
{tools}, on an {processor}: what runs in int8 on cpu is what pays
on the processor.
"""


def main(patterns: Sequence[str]) -> None:
    """Print the page for the modules whose names match any of ``patterns``, or for all."""
    tools = ", ".join(f"{tool} {version(tool)}" for tool in TOOLS)
    print(INTRODUCTION.format(tools=tools, processor=processor_name()))
    print(line(COLUMNS), line("---" for _ in COLUMNS), sep="\n")
    for family, dtype in modules():
        name = family if dtype == "float32" else f"{family} in {dtype}"
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
            print(f"{name} ...", file=sys.stderr, flush=True)
            print(line(row(name, family, dtype)), flush=True)


def modules() -> Iterator[tuple[str, str]]:
    """Yield each family whose layers are counted, in each of its types."""
    for family in LAYERS:
        for dtype in TYPES.get(family, ("float32",)):
            yield family, dtype


def exports(family: str, dtype: str) -> list[Callable[[], onnx.ModelProto] | None]:
    """List the builders of both exports; None for an exporter that does not take the module."""
    names = [Export(family, exporter, opset, dtype=dtype).name for exporter, opset in EXPORTERS.items()]
    return [ZOO.get(name) for name in names]


def row(name: str, family: str, dtype: str) -> tuple[str, ...]:
    """Return the cells of one module."""
    try:
        results = [cells(build()) if build is not None else NO_EXPORT for build in exports(family, dtype)]
    except requant.RequantError as error:
        return name, str(LAYERS[family]), f"cannot be quantized: {error}", "", "", ""
    return name, str(LAYERS[family]), *(" / ".join(dict.fromkeys(both)) for both in zip(*results, strict=True))


def cells(model: onnx.ModelProto) -> tuple[str, ...]:
    """Quantize ``model`` for each target; returns its layers, its sites, and the layers in int8 for each target."""
    data = feeds(model, samples=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reports = [requant.optimize(model, data, "int8-plain", target).report for target in TARGETS]
    kinds = Counter(site.kind for site in requant.inspect(model).sites)
    sites = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "0"
    quantized = (str(sum(layer.quantized for layer in report.layers)) for report in reports)
    return str(len(reports[0].layers)), sites, *quantized


if __name__ == "__main__":
    main(sys.argv[1:])

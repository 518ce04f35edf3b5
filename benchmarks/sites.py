"""The sites in the models that people export: python -m benchmarks.sites [PATTERN...]

Prints a page of markdown, docs/sites.md, with a row for each model of `models.zoo` whose name matches a pattern, or for
all. Needs torch and transformers; nothing is downloaded.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from typing import Any

import onnx

import requant
from models.zoo import ZOO

COLUMNS = ("model", "opset", "nodes", "linear layers", "sites", "refused", "layers outside of sites")
TOOLS = ("torch", "transformers", "onnxruntime")

INTRODUCTION = """# Sites

A site is a place where `requant` can apply a channel transform (other tools call it a smoothing mapping). These are the
sites of the models that people export: small ones with two layers and random weights, from
{tools}; `python -m benchmarks.sites` prints this page.

"script" is PyTorch's TorchScript exporter and "dynamo" its newer one, with the opset; "sdpa" is attention by
`scaled_dot_product_attention`, else it is decomposed. "ort" is a model after ONNX Runtime's extended optimizations,
"fused" after `onnxruntime.transformers.optimizer`, "halved" after its float16 converter. The last rows are those of
`models.synthetic`, in its dialects. Refusals that leave linear layers out are in the last column only.
[Exports](exports.md) has the layers of modules whose weights are computed.
"""

Json = Mapping[str, Any]


def main(patterns: Sequence[str]) -> None:
    """Print the page for the models whose names match any of ``patterns``, or for all."""
    print(INTRODUCTION.format(tools=", ".join(f"{tool} {version(tool)}" for tool in TOOLS)))
    print(line(COLUMNS), line("---" for _ in COLUMNS), sep="\n")
    for name, build in ZOO.items():
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
            print(f"{name} ...", file=sys.stderr, flush=True)
            print(line(row(name, build())), flush=True)


def row(name: str, model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the cells of one model."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    start = name, str(opset), str(len(model.graph.node))
    try:
        inspection = requant.inspect(model).to_dict()
    except requant.RequantError as error:
        return *start, "", f"cannot be read: {error}", "", ""
    outside = dict(map(layer, inspection["outside"]))
    layers = outside.keys() | {consumer for site in inspection["sites"] for consumer in site["consumers"]}
    kinds = Counter(site["kind"] for site in inspection["sites"])
    sites = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return *start, str(len(layers)), sites, grouped(refusals(inspection)), grouped(outside.values())


def layer(entry: str | Sequence[str]) -> tuple[str, str]:
    """Return the name of a linear layer and why no site feeds it, which is empty where the entry does not say."""
    name, reason = (entry, "") if isinstance(entry, str) else entry
    return name, reason


def refusals(inspection: Json) -> Iterator[str]:
    """Yield kind and reason of every refused place that leaves no layer out."""
    for refused in inspection["refused"]:
        if not refused.get("layers"):
            yield f"{refused['kind']}: {refused['reason']}"


def grouped(reasons: Iterable[str]) -> str:
    """Return the number of reasons, then each with its count, without the names in them, so that equal ones meet."""
    nameless = [re.sub(r"'[^']*'", "…", reason) for reason in reasons]
    counts = [f"{count} × {reason}" for reason, count in Counter(nameless).most_common() if reason]
    return f"{len(nameless)}: {'; '.join(counts)}" if counts else str(len(nameless))


def line(cells: Iterable[str]) -> str:
    """Return a row of a markdown table."""
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])

"""Which sites are found in the models that people export: python -m benchmarks.sites [PATTERN...]

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

COLUMNS = ("model", "opset", "nodes", "linear layers", "sites", "refused", "layers that read no site")
TOOLS = ("torch", "transformers", "onnxruntime")

INTRODUCTION = """# Sites

The places where `requant` can transform channels in the models that people export: small ones with two layers and
random weights, from {tools}; `python -m benchmarks.sites` prints this page.

"script" is PyTorch's TorchScript exporter and "dynamo" its newer one, with the opset; "sdpa" is attention by
`scaled_dot_product_attention`, else it is spelled out. "ort" is what ONNX Runtime's extended optimizations make of a
model, "fused" what `onnxruntime.transformers.optimizer` makes of it, "halved" what its float16 converter does. The
last are those of `models.synthetic`, in its dialects. What is refused and leaves linear layers out is in the last
column only.
"""

Plain = Mapping[str, Any]  # what JSON holds


def main(patterns: Sequence[str]) -> None:
    """Print the page for the models whose names match any of ``patterns``, or for all."""
    print(INTRODUCTION.format(tools=", ".join(f"{tool} {version(tool)}" for tool in TOOLS)))
    print(line(COLUMNS), line("---" for _ in COLUMNS), sep="\n")
    for name, build in ZOO.items():
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
            print(f"{name} ...", file=sys.stderr, flush=True)
            print(line(row(name, build())), flush=True)


def row(name: str, model: onnx.ModelProto) -> tuple[str, ...]:
    """The cells of one model."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    start = name, str(opset), str(len(model.graph.node))
    try:
        found = requant.inspect(model).to_dict()
    except requant.RequantError as error:
        return *start, "", f"cannot be read: {error}", "", ""
    outside = dict(map(layer, found["outside"]))
    layers = outside.keys() | {consumer for site in found["sites"] for consumer in site["consumers"]}
    kinds = Counter(site["kind"] for site in found["sites"])
    sites = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return *start, str(len(layers)), sites, grouped(refusals(found)), grouped(outside.values())


def layer(entry: str | Sequence[str]) -> tuple[str, str]:
    """The name of a linear layer and why no site feeds it, which is empty where the entry does not say."""
    name, reason = (entry, "") if isinstance(entry, str) else entry
    return name, reason


def refusals(found: Plain) -> Iterator[str]:
    """Kind and reason of every refused place that leaves no layer out."""
    for refused in found["refused"]:
        if not refused.get("layers"):
            yield f"{refused['kind']}: {refused['reason']}"


def grouped(reasons: Iterable[str]) -> str:
    """How many there are, then each reason with its count; the names in them are left out, so that equals meet."""
    plain = [re.sub(r"'[^']*'", "…", reason) for reason in reasons]
    told = [f"{count} × {reason}" for reason, count in Counter(plain).most_common() if reason]
    return f"{len(plain)}: {'; '.join(told)}" if told else str(len(plain))


def line(cells: Iterable[str]) -> str:
    """A row of a markdown table."""
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])

"""Facts about ONNX Runtime: the ops that it runs of the rules' graphs, and differences from the rules.

`python -m tests.runtime.engine_facts` lists the differences, for an ONNX Runtime that is newer than the rules: see
`make engines`. Old versions end the process on some graphs, so they are run in a process of their own.
"""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from requant.runtime.check import check
from tests.runtime.check_blocks import CPU_BLOCKS, FINE_BLOCKS, OTHER_BLOCKS
from tests.runtime.check_graphs import CPU, FINE, OTHER_WAYS, Options, graph

BAD: dict[str, tuple[str, str, Options]] = {
    rule: (rule, bad, options) for rule, (bad, _, options) in (CPU | CPU_BLOCKS).items()
}
BAD |= {
    f"{rule}, {index}": (rule, bad, options)
    for index, (target, rule, bad, options) in enumerate(OTHER_WAYS + OTHER_BLOCKS)
    if target == "cpu"
}
"""Graphs that break a rule of the CPU's: the rule, the body, the options."""

GOOD: dict[str, tuple[str, Options]] = {
    rule: (good, options) for rule, (_, good, options) in (CPU | CPU_BLOCKS).items()
}
GOOD |= {
    f"fine, {index}": (good, options)
    for index, (target, good, options) in enumerate(FINE + FINE_BLOCKS)
    if target == "cpu"
}
"""Graphs that break none."""

FLOAT_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "FusedMatMul", "FusedConv"})

REFUSED, ENDED = "refused", "ended the process"
"""Facts beside lists of the ops that were run."""

Fact = list[str] | str


def engine_facts() -> dict[str, Fact]:
    """Collect the ops that ONNX Runtime runs, after its optimizations, by "bad " or "good " and the graph's name."""
    names, facts = [f"bad {name}" for name in BAD] + [f"good {name}" for name in GOOD], dict[str, Fact]()
    while remaining := [name for name in names if name not in facts]:
        command = [sys.executable, "-m", "tests.runtime.engine_facts", *remaining]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        facts |= dict(json.loads(line) for line in process.stdout.splitlines())
        if process.returncode > 0:
            raise RuntimeError(process.stderr)
        if process.returncode < 0:  # a signal
            facts[next(name for name in remaining if name not in facts)] = ENDED
    return facts


def disagreement(name: str, fact: Fact) -> str:
    """Return the consequence that the rules predict for the graph ``name`` and ``fact`` contradicts; empty if none."""
    kind, _, key = name.partition(" ")
    if kind == "good":
        return "" if isinstance(fact, list) and not FLOAT_PRODUCTS & set(fact) else "nothing is found"
    rule, body, options = BAD[key]
    violation = next((finding for finding in check(graph(body, **options), "cpu") if finding.rule == rule), None)
    if violation is None:
        return disagreement(f"good {key}", fact)
    return "" if _agrees(rule, violation.consequence, fact) else violation.consequence


def _agrees(rule: str, consequence: str, fact: Fact) -> bool:
    if isinstance(fact, str) or consequence.startswith("refused"):
        return consequence.startswith("refused") and (fact == REFUSED or (fact == ENDED and "process" in consequence))
    if consequence.startswith("runs in float"):
        return bool(FLOAT_PRODUCTS & set(fact))
    if "MatMulNBits" in consequence:
        return "MatMulNBits" in fact
    return rule not in ("quantized-norm", "quantized-constant") or "DequantizeLinear" in fact


def run_ops(model: ir.Model, folder: Path) -> list[str]:
    """List the types of the nodes that ONNX Runtime runs, after one run on ones."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    (x,) = session.get_inputs()
    dtype = np.float16 if "float16" in x.type else np.float32
    session.run(None, {"x": np.ones([size if isinstance(size, int) else 3 for size in x.shape], dtype)})
    return sorted({node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node})


def _facts(names: list[str]) -> Iterator[tuple[str, Fact]]:
    graphs: Mapping[str, tuple[str, Options]] = {f"good {name}": case for name, case in GOOD.items()}
    graphs = {**graphs, **{f"bad {name}": (body, options) for name, (_, body, options) in BAD.items()}}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            body, options = graphs[name]
            try:
                yield name, run_ops(graph(body, **options), Path(folder))
            except Exception as error:
                if "ONNXRuntimeError" not in str(error):
                    raise
                yield name, REFUSED


def main(names: list[str]) -> int:
    """Print the facts of the graphs called ``names``, a line of JSON each; without names, where the rules differ."""
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # the text of a graph has no place for its initializers
    if names:
        for item in _facts(names):
            print(json.dumps(item), flush=True)
        return 0
    differences = {name: (said, fact) for name, fact in engine_facts().items() if (said := disagreement(name, fact))}
    for name, (said, fact) in differences.items():
        print(f"{name}\n    the rules say: {said}\n    it does: {fact}")
    print(f"onnxruntime {ort.__version__}: {len(differences)} of {len(BAD) + len(GOOD)} graphs differ from the rules")
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

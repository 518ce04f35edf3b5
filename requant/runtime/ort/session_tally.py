"""The tally of an ONNX Runtime session on this machine's processor: which kernels it runs of a quantized graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from ...errors import BuildError, SourceError, TargetError
from ...ir.names import separate_nodes, separate_values
from ...ir.ops import QUANTIZERS
from ..engine_kernel import EngineKernel
from ..engine_layer import EngineTensor
from ..feeds import Feed, random_feed
from ..kernel_tally import Tally, names
from ..profiles import Profiles, require_profiles, usual_shapes
from ..rules.qdq_graph import qdq_graph
from ..rules.traverse import label
from ..targets import processor, processor_name
from ..targets import target as find_target
from .planned_kernels import OptimizedGraph, kernels_between, planned_kernels
from .profiled_graph import engine_tensor, profiled
from .session import engine
from .session_kernel import SessionKernel, session_kernels


@dataclass(frozen=True)
class SessionTally(Tally):
    """The kernels of an ONNX Runtime session, with their times on this machine: see `SessionKernel`.

    ``between`` maps nodes between DQ and Q, such as the sum of two quantized values, to the kernels that compute them,
    or to the QuantizeLinear behind where these are fused with others in float. ``processor`` is the name of this
    machine's, and ``threads`` are those of the session, 0 for as many as ONNX Runtime chooses.
    """

    lister: ClassVar[str] = "ONNX Runtime"

    kernels: tuple[SessionKernel, ...]
    between: Mapping[str, SessionKernel]
    processor: str
    threads: int = 0

    @property
    def title(self) -> str:
        """The engine with its version, the processor, and the threads where they were chosen."""
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else ""
        return f"onnxruntime {self.version} on {self.processor}{threads}"

    @property
    def milliseconds(self) -> float:
        """The measured times of all kernels; the profiler adds some to each, so that a run takes less."""
        return sum(kernel.microseconds for kernel in self.kernels) / 1e3

    @property
    def integer_nodes(self) -> list[str]:
        """The nodes between DQ and Q that run on integers."""
        return [name for name, kernel in self.between.items() if _writes_integers(kernel)]

    @property
    def quantizers(self) -> list[SessionKernel]:
        """The QuantizeLinear and DequantizeLinear that are kernels of their own, but for those of single numbers."""
        quantizers = (kernel for kernel in self.kernels if kernel.layer.kind in QUANTIZERS)
        return [one for one in quantizers if any(output.elements != 1 for output in one.layer.outputs)]

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return {
            **super().to_dict(),
            "between": [{"name": name, **names((kernel,))} for name, kernel in self.between.items()],
            "processor": self.processor,
            "threads": self.threads,
            "milliseconds": self.milliseconds,
        }

    def _entry(self, kernel: EngineKernel) -> dict[str, Any]:  # JSON: values of any plain type
        layer = kernel.layer
        tensors = {"inputs": layer.inputs, "constants": layer.constants, "outputs": layer.outputs}
        measured = (
            {"microseconds": kernel.microseconds, "calls": kernel.calls} if isinstance(kernel, SessionKernel) else {}
        )
        return {
            **super()._entry(kernel),
            **{
                side: [{"type": one.dtype, "shape": list(one.shape)} for one in group]
                for side, group in tensors.items()
            },
            **measured,
        }


def _writes_integers(kernel: SessionKernel) -> bool:
    types = {output.dtype for output in kernel.layer.outputs}
    return kernel.layer.kind not in QUANTIZERS and types <= {"int8", "uint8"}


def session_tally(model: ir.Model, target: str, *, profiles: Profiles, threads: int) -> SessionTally:
    """Run ``model`` in a default session and count its kernels; see `requant.runtime.tally`."""
    graph = qdq_graph(model, find_target(target))
    require_profiles(graph.model, profiles)
    for node in graph.model.graph.all_nodes():
        node.name = label(node)
    separate_nodes(graph.model)
    separate_values(graph.model)
    feed = random_feed(graph.model, usual_shapes(profiles))
    try:
        nodes = profiled(graph.model, target, feed, threads=threads)
    except SourceError as error:
        raise BuildError(str(error)) from error
    kernels = session_kernels(nodes, _tensors(feed))
    optimized = OptimizedGraph.of(kernels)
    products, between = planned_kernels(graph, optimized), kernels_between(graph, optimized)
    return SessionTally(
        target, engine().__version__, tuple(kernels.values()), products, between, processor_name(), threads
    )


def require_processor(target: str) -> None:
    """Require that ONNX Runtime is there, and that ``target`` is a processor of this machine's kind.

    Raises:
        TargetError: it is not.
    """
    engine()
    if "cpu-arm" in {target, processor()} - {"cpu"} and target not in ("cpu", processor()):
        raise TargetError(
            f"{target} is another processor than this one, {processor_name()}: kernels are run to be counted"
        )


def _tensors(feed: Feed) -> dict[str, EngineTensor]:
    types = ((name, array.shape, ir.DataType.from_numpy(array.dtype)) for name, array in feed.items())
    return {name: tensor for name, shape, dtype in types if (tensor := engine_tensor(name, shape, dtype)) is not None}

"""The layers that TensorRT's builder makes of a model: an engine is built, its list of layers read, and dropped."""

from collections.abc import Iterator

import onnx_ir as ir

from ...errors import TargetError
from ..engine_layer import EngineLayer
from ..model_file import readable
from ..profiles import Profiles, require_profiles
from .api import PACKAGES, Network, NetworkInput, tensorrt
from .engine_build import EngineBuild
from .engine_layers import engine_layers


def list_layers(model: ir.Model, target: str, *, profiles: Profiles, capability: str) -> tuple[EngineLayer, ...]:
    """Build an engine of ``model`` and return its layers, in the order in which they run.

    The arguments are those of `build_engine`. An input whose profile has one shape only is built as a static one.

    Raises:
        TargetError: as `build_engine`; or the builder lists no layers.
    """
    trt = tensorrt(target)
    require_profiles(model, profiles)
    job = EngineBuild.start(trt, PACKAGES[target].module, model)
    with readable(model) as source:
        network, parser = job.parse(source)
        static = {name: shapes[-1] for name, shapes in profiles.items() if len({*map(tuple, shapes)}) == 1}
        for item in _inputs(network):
            if item.name in static:
                item.shape = tuple(static[item.name])
        config = job.configure({name: shapes for name, shapes in profiles.items() if name not in static}, capability)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        job.build(network, config)
        del parser  # it owned the network's weights until here
    layers = engine_layers(job.log.layers)
    if not layers:
        raise TargetError(f"{job.name} lists no layers in the log of its build")
    return layers


def _inputs(network: Network) -> Iterator[NetworkInput]:
    for index in range(network.num_inputs):
        yield network.get_input(index)

"""An execution provider of ONNX Runtime, and the options that matter there.

Nothing on a GPU has been run by this project yet: what is said of CUDA and TensorRT is from their sources and wheels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from ...errors import OutputError
from ..profiles import BOUNDS, Profiles

Options = dict[str, str]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Provider:
    """The setup of ONNX Runtime for a target.

    Attributes:
        name: the provider's name in ONNX Runtime.
        install: what to install for it.
        level: how far ONNX Runtime may rewrite the graph first.
        config: the session's entries for a model.
        options: the provider's own options for a model.
        cache: options that make it keep what it builds in "{folder}", for the model "{model}".
        profiles: the option for dynamic shapes at "{bound}", and the separator of inputs in it.
        fallbacks: providers of the nodes that it does not take; the CPU comes last anyway.
        libraries: a module that, when imported, loads the libraries that the provider is linked against.
        plugin: the module of the package that brings the provider, where it is not part of ONNX Runtime.
    """

    name: str = CPU
    install: str = "pip install 'requant[cpu]'"
    level: str = "ORT_ENABLE_ALL"
    config: Callable[[ir.Model], Options] | None = None
    options: Callable[[ir.Model], Options] | None = None
    cache: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[str, str] | None = None
    fallbacks: Sequence[str] = ()
    libraries: str = ""
    plugin: str = ""

    @property
    def examines(self) -> bool:
        """Tell whether its setup depends on the model."""
        return self.config is not None or self.options is not None

    def entries(self, graph: ir.Model | None) -> Options:
        """Return the session's entries for ``graph``, which may be None if the provider examines none."""
        return self.config(graph) if self.config and graph else {}

    def model_options(self, graph: ir.Model | None, profiles: Profiles) -> Options:
        """Return the provider's options for ``graph`` and its dynamic shapes."""
        options = dict(self.options(graph)) if self.options and graph else {}
        if profiles and self.profiles:
            name, separator = self.profiles
            for index, bound in enumerate(BOUNDS):
                shapes = (f"{key}:{'x'.join(map(str, three[index]))}" for key, three in profiles.items())
                options[name.format(bound=bound)] = separator.join(shapes)
        return options

    def cache_options(self, folder: str | Path, model: str) -> Options:
        """Return the options that cache engines of ``model``, a fingerprint, in ``folder``, and make the folder.

        Raises:
            OutputError: the folder cannot be made.
        """
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
        return {name: value.format(folder=folder, model=model) for name, value in self.cache.items()}

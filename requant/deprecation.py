"""Old names of things, for one version: they give the new ones, with a DeprecationWarning."""

import warnings
from collections.abc import Callable, Mapping


def renamed(namespace: Mapping[str, object], names: Mapping[str, str]) -> Callable[[str], object]:
    """Make a module's ``__getattr__`` that maps old ``names`` to new ones in the module's ``namespace``."""
    module = namespace["__name__"]

    def get(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        deprecated(f"{module}.{name}", names[name], stacklevel=3)
        return namespace[names[name]]

    return get


def deprecated(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that ``old`` is called ``new`` now, at the caller's line."""
    warnings.warn(f"{old} is called {new} and goes in the next version", DeprecationWarning, stacklevel=stacklevel)

"""The execution provider of each target."""

from ...errors import TargetError
from ..targets import TARGETS, processor
from .provider import Provider


def provider(target: str) -> Provider:
    """Return the provider of ``target``; for "cpu" that of this machine's processor.

    Raises:
        TargetError: no provider of ONNX Runtime serves it.
    """
    row = TARGETS.get(processor() if target == "cpu" else target)
    if row is None or row.provider is None:
        names = (name for name, other in TARGETS.items() if other.provider is not None)
        raise TargetError(f"ONNX Runtime has no provider for {target!r}: choose one of {', '.join(names)}")
    return row.provider

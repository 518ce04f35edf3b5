"""Refusals: the reasons why a rewrite or a view does not apply somewhere, returned or logged at DEBUG level."""

import logging
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Refusal:
    """A place that looks like what was searched for, such as a site, and the ``reason`` why it is not.

    ``name`` is that of its value, and ``layers`` names the linear layers that read it all the same.
    """

    kind: str
    name: str
    reason: str
    layers: tuple[str, ...] = ()

    @classmethod
    def at(cls, node: ir.Node, reason: str) -> "Refusal":
        """Refuse ``node``, by its op type and its first output."""
        return cls(node.op_type, node.outputs[0].name or "?", reason)


def declined(logger: logging.Logger, node: ir.Node | ir.Value, reason: str) -> None:
    """Log at DEBUG that ``node`` stays as it is, and the ``reason`` for it."""
    logger.debug("%r is left as it is: %s", node.name or "?", reason)

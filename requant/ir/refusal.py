"""Saying at DEBUG level why a pattern that almost matched is left alone."""

import logging
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Refusal:
    """A reason why a rewrite or a view does not apply at ``node``."""

    node: ir.Node
    reason: str


def declined(logger: logging.Logger, node: ir.Node | ir.Value, reason: str) -> None:
    """Log at DEBUG that ``node`` stays as it is, and the ``reason`` for it."""
    logger.debug("%r is left as it is: %s", node.name or "?", reason)

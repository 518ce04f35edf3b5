"""The exception of the analysis, by which one of its functions says that a node or value cannot take part."""

import onnx_ir as ir

NOT_COMMUTING = "does not commute with a per-channel scale"
NO_SHIFT = "does not commute with a per-channel shift"


def title(subject: ir.Node | ir.Value) -> str:
    """Return the words with which reasons refer to ``subject``."""
    if isinstance(subject, ir.Node):
        return f"{subject.op_type} {(subject.name or subject.outputs[0].name)!r}"
    return repr(subject.name) if subject.const_value is None else f"constant {subject.name!r}"


class BlockedError(Exception):
    """A node or value that blocks a channel transform; ``reason`` is what is said of it, without a subject."""

    def __init__(self, subject: ir.Node | ir.Value, reason: str) -> None:
        super().__init__(f"{title(subject)} {reason}")
        self.subject = subject
        self.reason = reason

"""Which export is wanted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Export:
    """A family, and how it is exported.

    ``exporter`` is "script" for TorchScript, "functions" for TorchScript with modules kept as functions, or "dynamo".
    """

    family: str
    exporter: str
    opset: int
    attention: str = "eager"
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Such as "bert-dynamo18-sdpa-bfloat16"; what is usual is left out."""
        unusual = [part for part in (self.attention, self.dtype) if part not in ("eager", "float32")]
        return "-".join([self.family, f"{self.exporter}{self.opset}", *unusual])

"""A LLaMA-shaped stack with channels a hundred times the others, as large language models grow them.

Weights are seeded and synthetic: RMSNorm, causal attention, SwiGLU; no linear layer has a bias.
"""

from functools import partial

from .subject import Feed, Subject
from .synthetic import Outliers, Transformer, feeds, rms_swiglu

SPEC = Transformer(width=512, heads=8, layers=4, hidden=1408, outliers=Outliers(channels=6, gain=100.0, shift=0.0))
TOKENS = 64


def _feeds(seed: int) -> list[Feed]:
    sized = Transformer(width=SPEC.width, heads=SPEC.heads, tokens=TOKENS)
    return [dict(feed) for feed in feeds(sized, 32, seed)]


LLAMA = Subject(
    name="llama",
    model=lambda: rms_swiglu(SPEC),
    calibration=partial(_feeds, 0),
    evaluation=partial(_feeds, 1),
    score=lambda predict: {},
)

"""Small exported graphs of the models that people use, as their tools write them: what the analysis is tested on.

`ZOO` maps a name such as "bert-dynamo18-sdpa" to the function that builds the model, with seeded random weights and
parameters of norms that no rewrite can ignore. `feeds` makes inputs for any of them. Builders import torch and
transformers when they are called; nothing is downloaded.
"""

from .inputs import feeds
from .table import ZOO

__all__ = ["ZOO", "feeds"]

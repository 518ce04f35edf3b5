"""English documents and human judgements of similarity, from gensim's test data.

Lee, Pincombe and Welsh (2005): 50 news items with a human similarity for each of the 1225 pairs, and 300
background items. WordSimilarity-353 (Finkelstein et al., 2001): 353 pairs of words.
"""

import numpy as np
from numpy.typing import NDArray

from models import fetch


def lee() -> list[str]:
    """The 50 documents."""
    return _text("lee.cor").splitlines()


def lee_background() -> list[str]:
    """The 300 background documents, none of them among the 50."""
    return _text("lee_background.cor").splitlines()


def lee_similarity() -> NDArray[np.float64]:
    """Mean human similarity (50, 50), 0 to 1; only the triangle i < j is filled."""
    return np.loadtxt(_text("similarities0-1.txt").splitlines())


def wordsim() -> list[tuple[str, str, float]]:
    """353 pairs of words with their mean human similarity, 0 to 10."""
    rows = [line.split("\t") for line in _text("wordsim353.tsv").splitlines() if not line.startswith("#")]
    return [(first, second, float(similarity)) for first, second, similarity in rows]


def _text(name: str) -> str:
    return fetch.member("gensim", f"gensim/test/test_data/{name}").read_text(encoding="latin-1")

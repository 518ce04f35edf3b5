"""A model folder of transformers, small and with random weights, and texts for it."""

from pathlib import Path

import numpy as np
import pytest

WORDS = ["the", "a", "red", "blue", "big", "small", "dog", "cat", "house", "tree", "runs", "sleeps", "eats", "grows"]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(96)]


@pytest.fixture(scope="session")
def text_file(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts for calibration: all but the last 16."""
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(texts[:-16]))
    return path


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that puts texts into three classes, with its tokenizer."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    tokens = {token: number for number, token in enumerate([*names, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(tokens, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), names, strict=True))
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(vocab_size=len(tokens), num_labels=3, initializer_range=0.2, **sizes)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pretrained")
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    return Path(__file__).resolve().parents[2] / "examples"

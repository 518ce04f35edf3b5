"""The families of models: what transformers calls them, how small they are here, and their inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Shape: TypeAlias = tuple[str | int, ...]
Settings: TypeAlias = Mapping[str, object]

VOCABULARY = 99
"""Token ids are below this."""

HEADS, WIDTH = 4, 32

WIDE, RANK, FRAMES = 160, 8, 32
"""The width of `models.zoo.modules`, the rank of their adapters, and the channels of their frames of audio."""

_SIZES: Settings = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 64,
}
_TOKENS: Settings = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}
_TEXT_SIZES = {**_SIZES, **_TOKENS, "max_position_embeddings": 40}
_IMAGE_SIZES = {**_SIZES, "image_size": 16, "patch_size": 4}

_TEXT: Mapping[str, Shape] = {"input_ids": ("batch", "tokens"), "attention_mask": ("batch", "tokens")}
_PLACED_TEXT: Mapping[str, Shape] = {**_TEXT, "position_ids": ("batch", "tokens")}


def _image(side: int) -> Mapping[str, Shape]:
    return {"pixel_values": ("batch", 3, side, side)}


@dataclass(frozen=True)
class Family:
    """A model of transformers: its type, the Auto class that makes it, its settings, and the part that is exported.

    ``inputs`` maps names to shapes; a dimension with a name is dynamic. ``part`` is an attribute of the model.
    """

    inputs: Mapping[str, Shape]
    model_type: str
    auto: str = "AutoModel"
    settings: Settings = field(default_factory=dict)
    part: str = ""


def _encoder(model_type: str, **settings: object) -> Family:
    return Family(_TEXT, model_type, settings={**_TEXT_SIZES, **settings})


def _decoder(model_type: str, inputs: Mapping[str, Shape] = _TEXT, **settings: object) -> Family:
    return Family(inputs, model_type, "AutoModelForCausalLM", {**_TEXT_SIZES, "use_cache": False, **settings})


def _vision(model_type: str, auto: str = "AutoModel") -> Family:
    return Family(_image(16), model_type, auto, _IMAGE_SIZES)


_SWIN: Settings = {"image_size": 32, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, HEADS], "window_size": 4}
_T5: Settings = {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 64, "num_layers": 2, "num_heads": HEADS, **_TOKENS}
_WHISPER: Settings = {
    "d_model": WIDTH,
    "encoder_layers": 2,
    "encoder_attention_heads": HEADS,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "decoder_layers": 1,
    "decoder_attention_heads": HEADS,
    "decoder_start_token_id": 1,
    "pad_token_id": 0,
    **_TOKENS,
}
_CONVNEXT: Settings = {"patch_size": 2, "num_stages": 2, "hidden_sizes": [16, WIDTH], "depths": [1, 1]}

TRANSFORMERS: dict[str, Family] = {
    "bert": _encoder("bert"),
    "distilbert": _encoder("distilbert", hidden_dim=64),
    "roberta": _encoder("roberta"),
    "albert": _encoder("albert", embedding_size=16),
    "t5": Family(_TEXT, "t5", "AutoModelForTextEncoding", _T5),
    "gpt2": _decoder("gpt2"),
    "opt": _decoder("opt", ffn_dim=64, word_embed_proj_dim=WIDTH),
    "llama": _decoder("llama", _PLACED_TEXT, num_key_value_heads=2),
    "qwen2": _decoder("qwen2", num_key_value_heads=2),
    "phi3": _decoder("phi3", num_key_value_heads=2, pad_token_id=0),
    "gpt-neox": _decoder("gpt_neox"),
    "vit": _vision("vit", "AutoModelForImageClassification"),
    "deit": _vision("deit"),
    "swin": Family(_image(32), "swin", "AutoModelForImageClassification", _SWIN),
    "clip-vision": _vision("clip_vision_model"),
    "clip-text": _encoder("clip_text_model"),
    "dinov2": _vision("dinov2"),
    "convnext": Family(_image(32), "convnext", settings=_CONVNEXT),
    "whisper": Family({"input_features": ("batch", 8, 32)}, "whisper", settings=_WHISPER, part="encoder"),
}
"""Models that transformers builds from a configuration."""

NETS: dict[str, Mapping[str, Shape]] = {
    "resnet": _image(32),
    "mobilenet": _image(32),
    "block": {"x": ("batch", "tokens", WIDTH)},
    "branches": {"x": ("batch", "tokens", WIDTH)},
}
"""The inputs of the nets of `models.zoo.nets`."""

_ROWS: Mapping[str, Shape] = {"x": ("batch", "tokens", WIDE)}
_AUDIO: Mapping[str, Shape] = {"x": ("batch", FRAMES, 20)}
_FIXED: Mapping[str, Shape] = {"x": (3, 9, WIDE)}
_PAIR: Mapping[str, Shape] = {**_FIXED, "memory": (3, 5, WIDE)}
"""Exporters write sizes of `nn.MultiheadAttention` and of recurrent layers as constants."""

MODULES: dict[str, Mapping[str, Shape]] = {
    "weight-norm-hook": _AUDIO,
    "weight-norm": _AUDIO,
    "weight-norm-linear": _ROWS,
    "spectral-norm": _ROWS,
    "equalized": _ROWS,
    "equalized-conv": {"x": ("batch", 8, 12, 12)},
    "lora": _ROWS,
    "lora-merged": _ROWS,
    "masked": _ROWS,
    "packed": _ROWS,
    "experts": _ROWS,
    "experts-sliced": _ROWS,
    "experts-batched": {"x": ("batch", WIDE)},
    "decoder-layer": _PAIR,
    "attention": _FIXED,
    "cross-attention": _PAIR,
    "einsum-attention": _ROWS,
    "lstm": _FIXED,
    "lstm-2": _FIXED,
    "gru": _FIXED,
    "upsampler": {"x": ("batch", 3, 8, 8)},
}
"""The inputs of the modules of `models.zoo.modules`."""

LAYERS: dict[str, int] = {
    "weight-norm-hook": 4,
    "weight-norm": 4,
    "weight-norm-linear": 2,
    "spectral-norm": 2,
    "equalized": 2,
    "equalized-conv": 2,
    "lora": 6,
    "lora-merged": 2,
    "masked": 2,
    "packed": 3,
    "experts": 9,
    "experts-sliced": 9,
    "experts-batched": 3,
    "decoder-layer": 7,
    "attention": 3,
    "cross-attention": 4,
    "einsum-attention": 4,
    "lstm": 2,
    "lstm-2": 3,
    "gru": 2,
    "upsampler": 3,
    "vit": 14,
    "bert": 12,
}
"""The number of linear layers of a family; parameters that are multiplied as one count as one."""

"""Modules whose weights are no plain parameters, or that exporters write in ways of their own.

Weights here have more than 8192 elements: exporters fold smaller ones themselves.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, weight_norm

from .families import FRAMES, HEADS, RANK, WIDE


def vocoder(normalize: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Convolutions of waveforms, upsampled once, each ``normalize``d: the generator of HiFi-GAN in small."""
    first, last = nn.Conv1d(FRAMES, WIDE, 7, padding=3), nn.Conv1d(WIDE // 2, 1, 7, padding=3)
    up = nn.ConvTranspose1d(WIDE, WIDE // 2, 16, 8, padding=4)
    dilated = nn.Conv1d(WIDE // 2, WIDE // 2, 7, padding=9, dilation=3)
    return _between(lambda: nn.LeakyReLU(0.1), *map(normalize, (first, up, dilated, last)))


class Equalized(nn.Module):
    """A linear layer or convolution whose weight and bias are multiplied at run time: StyleGAN's learning rates."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer, self.gain = layer, layer.weight[0].numel() ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.layer.weight * self.gain, self.layer.bias * 0.5
        return functional.linear(x, weight, bias) if weight.ndim == 2 else functional.conv2d(x, weight, bias, padding=1)


class Adapted(nn.Module):
    """A linear layer with an adapter of low rank, beside it or ``merged`` into its weight at run time."""

    def __init__(self, merged: bool) -> None:
        super().__init__()
        self.base, self.merged = nn.Linear(WIDE, WIDE), merged
        self.down, self.up = nn.Linear(WIDE, RANK, bias=False), nn.Linear(RANK, WIDE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.merged:
            return functional.linear(x, self.base.weight + 2 * (self.up.weight @ self.down.weight), self.base.bias)
        return self.base(x) + 2 * self.up(self.down(x))


class Masked(nn.Module):
    """A linear layer whose small weights are pruned at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDE, WIDE)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.layer.weight
        return functional.linear(x, torch.where(weight.abs() > 0.02, weight, 0.0), self.layer.bias)


class Packed(nn.Module):
    """Three projections in one parameter, which is split at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.Linear(WIDE, 3 * WIDE)

    def forward(self, x: Tensor) -> Tensor:
        weights, biases = self.projections.weight.chunk(3), self.projections.bias.chunk(3)
        for weight, bias in zip(weights, biases, strict=True):
            x = functional.relu(functional.linear(x, weight, bias))
        return x


class Experts(nn.Module):
    """A mixture of four experts, each a linear layer, a SiLU and a linear layer; all are computed and weighed.

    ``packed`` experts share two parameters with an axis of experts: sliced, or multiplied as a batch.
    """

    def __init__(self, packed: str = "") -> None:
        super().__init__()
        count, width = 4, 2 * WIDE
        self.packed, self.router = packed, nn.Linear(WIDE, count)
        if packed:
            self.up, self.down = (nn.Parameter(torch.ones(count, *size)) for size in ((WIDE, width), (width, WIDE)))
        else:
            self.ups = nn.ModuleList(nn.Linear(WIDE, width) for _ in range(count))
            self.downs = nn.ModuleList(nn.Linear(width, WIDE) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.router(x), dim=-1)
        if self.packed == "batch":
            hidden = functional.silu(torch.bmm(x.expand(len(self.up), -1, -1), self.up))
            return (torch.bmm(hidden, self.down) * shares.t().unsqueeze(-1)).sum(0)
        pairs = zip(self.up, self.down, strict=True) if self.packed else zip(self.ups, self.downs, strict=True)
        outputs = [_expert(x, up, down) for up, down in pairs]
        return torch.stack([output * shares[..., i : i + 1] for i, output in enumerate(outputs)]).sum(0)


def _expert(x: Tensor, up: nn.Module | Tensor, down: nn.Module | Tensor) -> Tensor:
    if isinstance(up, nn.Module):
        return down(functional.silu(up(x)))
    return functional.silu(x @ up) @ down


class DecoderLayer(nn.Module):
    """A post-norm layer of a decoder, over tokens and what an encoder made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(WIDE, HEADS, 2 * WIDE, batch_first=True)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.layer(x, memory)


class Attention(nn.Module):
    """`nn.MultiheadAttention`, which packs its projections, to itself or to ``memory``, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(WIDE, HEADS, batch_first=True), nn.Linear(WIDE, 32)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        source = x if memory is None else memory
        return self.head(self.attention(x, source, source, need_weights=False)[0])


class EinsumAttention(nn.Module):
    """Attention whose products are all Einsums, with parameters [channels, heads, head size]."""

    def __init__(self) -> None:
        super().__init__()
        shape = WIDE, HEADS, WIDE // HEADS
        self.query, self.key, self.value = (nn.Parameter(torch.ones(shape)) for _ in range(3))
        self.out = nn.Parameter(torch.ones(HEADS, WIDE // HEADS, WIDE))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (torch.einsum("btc,chd->bhtd", x, weight) for weight in (self.query, self.key, self.value))
        logits = torch.einsum("bhqd,bhkd->bhqk", query, key) * (HEADS / WIDE)
        attended = torch.einsum("bhqk,bhkd->bhqd", torch.softmax(logits, dim=-1), value)
        return torch.einsum("bhtd,hdc->btc", attended, self.out)


class Recurrent(nn.Module):
    """Recurrent layers and a head."""

    def __init__(self, layers: nn.RNNBase) -> None:
        super().__init__()
        self.layers, self.head = layers, nn.Linear(layers.hidden_size * (1 + layers.bidirectional), 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x)[0])


def upsampler() -> nn.Module:
    """Transposed convolutions, as decoders of images have them, one with a BatchNorm."""
    up = nn.Sequential(nn.ConvTranspose2d(WIDE, WIDE // 2, 4, 2, padding=1), nn.BatchNorm2d(WIDE // 2))
    return _between(nn.ReLU, nn.Conv2d(3, WIDE, 3, padding=1), up, nn.ConvTranspose2d(WIDE // 2, 3, 2, 2))


def _between(activation: Callable[[], nn.Module], *layers: nn.Module) -> nn.Module:
    activated = [part for layer in layers[:-1] for part in (layer, activation())]
    return nn.Sequential(*activated, layers[-1])


def _linear() -> nn.Linear:
    return nn.Linear(WIDE, WIDE)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "weight-norm-hook": lambda: vocoder(weight_norm),
    "weight-norm": lambda: vocoder(parametrizations.weight_norm),
    "weight-norm-linear": lambda: _between(
        nn.ReLU, parametrizations.weight_norm(_linear()), weight_norm(_linear(), dim=None)
    ),
    "spectral-norm": lambda: _between(nn.ReLU, *(parametrizations.spectral_norm(_linear()) for _ in range(2))),
    "equalized": lambda: _between(nn.ReLU, Equalized(_linear()), Equalized(_linear())),
    "equalized-conv": lambda: _between(nn.ReLU, Equalized(nn.Conv2d(8, WIDE, 3)), Equalized(nn.Conv2d(WIDE, 8, 3))),
    "lora": lambda: _between(nn.ReLU, Adapted(False), Adapted(False)),
    "lora-merged": lambda: _between(nn.ReLU, Adapted(True), Adapted(True)),
    "masked": lambda: _between(nn.ReLU, Masked(), Masked()),
    "packed": Packed,
    "experts": Experts,
    "experts-sliced": lambda: Experts("slices"),
    "experts-batched": lambda: Experts("batch"),
    "decoder-layer": DecoderLayer,
    "attention": Attention,
    "cross-attention": Attention,
    "einsum-attention": EinsumAttention,
    "lstm": lambda: Recurrent(nn.LSTM(WIDE, WIDE, batch_first=True)),
    "lstm-2": lambda: Recurrent(nn.LSTM(WIDE, WIDE, 2, batch_first=True, bidirectional=True)),
    "gru": lambda: Recurrent(nn.GRU(WIDE, WIDE, batch_first=True)),
    "upsampler": upsampler,
}
"""Every module by name."""

"""Nets in plain torch: two convolutional ones, a transformer as timm writes it, and one with a branch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .families import HEADS, WIDTH


def resnet() -> nn.Module:
    """Convolutions with BatchNorm, a max pool, a residual block of each version, a classifier."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(stem, _residual(16, 32), _preactivated(32), head)


def mobilenet() -> nn.Module:
    """Inverted residuals: depthwise convolutions, HardSwish, squeeze and excitation."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 32), nn.Hardswish(), nn.Linear(32, 10))
    return nn.Sequential(stem, _inverted(16, 48), _inverted(16, 32), head)


def block() -> nn.Module:
    """Two pre-norm layers with one linear for queries, keys and values, and a head."""
    return nn.Sequential(Layer(), Layer(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10))


def branches() -> nn.Module:
    """A layer, then one of two heads, whichever the data ask for."""
    return nn.Sequential(Layer(), nn.LayerNorm(WIDTH), Branch())


NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet": resnet,
    "mobilenet": mobilenet,
    "block": block,
    "branches": branches,
}
"""Every net by name."""


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), over [batch, tokens, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = torch.softmax(query * (width // HEADS) ** -0.5 @ key.transpose(-2, -1), dim=-1)
        x = x + self.out((weights @ value).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Branch(nn.Module):
    """One of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(WIDTH, 10), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, self.left, self.right, (x,))


class Sum(nn.Module):
    """The sum of what the modules make of one input."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return sum((part(x) for part in self.parts[1:]), self.parts[0](x))


class Excitation(nn.Module):
    """x times a gate for each channel, made of its mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = nn.Conv2d(channels, channels // 4, 1), nn.ReLU(), nn.Conv2d(channels // 4, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), *squeezed, nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _conv(inputs: int, outputs: int, size: int, groups: int = 1, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _residual(inputs: int, outputs: int) -> nn.Module:
    main = nn.Sequential(_conv(inputs, outputs, 3, stride=2), nn.ReLU(), _conv(outputs, outputs, 3))
    return nn.Sequential(Sum(main, _conv(inputs, outputs, 1, stride=2)), nn.ReLU())


def _preactivated(channels: int) -> nn.Module:
    parts = (nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False))
    return Sum(nn.Identity(), nn.Sequential(*parts))


def _inverted(channels: int, expanded: int) -> nn.Module:
    expand = _conv(channels, expanded, 1), nn.Hardswish()
    depthwise = _conv(expanded, expanded, 5, groups=expanded), nn.Hardswish()
    return Sum(nn.Identity(), nn.Sequential(*expand, *depthwise, Excitation(expanded), _conv(expanded, channels, 1)))

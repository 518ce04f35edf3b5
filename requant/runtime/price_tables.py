"""Price tables that were measured, a processor each.

`requant.measure_prices` measures them on a machine; docs/engines/cpu-convolutions.md has them side by side.
"""

from dataclasses import replace

from .prices import CONV, DEPTHWISE, DYNAMIC_PRODUCT, POINTWISE, PRODUCT, Prices, Rate, Rates

_CALL = 4000.0


def _elementwise(in_float: float, in_integers: float, integer_calls: int = 1) -> Rates:
    """Return the rates of a kernel whose time goes by elements alone."""
    return Rates(Rate(element=in_float, call=_CALL), Rate(element=in_integers, call=_CALL * integer_calls))


VNNI = Prices(
    source="a Zen 4 core with AVX512-VNNI, ONNX Runtime 1.32",
    kernels={
        CONV: Rates(Rate(0.0172, tap=0.7, call=2 * _CALL), Rate(0.0044, 0.09, 1.4, 3 * _CALL)),
        POINTWISE: Rates(Rate(0.0172, 0.12, call=2 * _CALL), Rate(0.0044, 0.09, call=3 * _CALL)),
        DEPTHWISE: Rates(Rate(0.27 / 9, call=_CALL), Rate(0.42 / 9, tap=8.5 / 9, call=_CALL)),
        PRODUCT: Rates(Rate(0.0172, call=_CALL), Rate(0.0044, 0.135, call=_CALL)),
        DYNAMIC_PRODUCT: Rates(Rate(0.0172, call=_CALL), Rate(0.0044, 0.2, call=_CALL)),
        "Silu": _elementwise(0.29, 0.45, 2),
        "HardSwish": _elementwise(0.28, 0.32, 2),
        "HardSigmoid": _elementwise(0.15, 0.14),
        "Sigmoid": _elementwise(0.28, 0.235),
        "LeakyRelu": _elementwise(0.15, 0.235),
        "Mul": _elementwise(0.145, 0.217),
        "Add": _elementwise(0.15, 0.14),
        "Concat": _elementwise(0.12, 0.06),
        "MaxPool": Rates(Rate(0.53 / 25, call=_CALL), Rate(0.3 / 25, call=_CALL)),
        "Resize": _elementwise(0.3, 0.8),
        "AveragePool": Rates(Rate(0.3 / 9, call=_CALL), Rate(5.0 / 9, call=_CALL)),
        "GlobalAveragePool": _elementwise(0.19, 0.05),
        "Move": _elementwise(0.15, 0.06),
    },
    border=Rate(element=0.27, call=_CALL),
)

AVX2 = Prices(
    source="a Zen 3 core, without VNNI, ONNX Runtime 1.32",
    kernels={
        CONV: Rates(Rate(0.0240, tap=1.2, call=2 * _CALL), Rate(0.0110, 0.50, 1.0, 3 * _CALL)),
        POINTWISE: Rates(Rate(0.0230, 0.18, call=2 * _CALL), Rate(0.0110, 0.18, call=3 * _CALL)),
        DEPTHWISE: Rates(Rate(0.065, call=_CALL), Rate(0.11, tap=1.0, call=_CALL)),
        PRODUCT: Rates(Rate(0.0230, call=_CALL), Rate(0.0110, 0.2, call=_CALL)),
        DYNAMIC_PRODUCT: Rates(Rate(0.0230, call=_CALL), Rate(0.0110, 0.3, call=_CALL)),
        "Silu": _elementwise(0.68, 0.61, 2),
        "HardSwish": _elementwise(0.50, 0.375, 2),
        "HardSigmoid": _elementwise(0.25, 0.1),
        "Sigmoid": _elementwise(0.42, 0.33),
        "LeakyRelu": _elementwise(0.2, 0.32),
        "Mul": _elementwise(0.21, 0.28),
        "Add": _elementwise(0.28, 0.18),
        "Concat": _elementwise(0.14, 0.05),
        "MaxPool": Rates(Rate(0.036, call=_CALL), Rate(0.036, call=_CALL)),
        "Resize": _elementwise(0.18, 1.3),
        "AveragePool": Rates(Rate(0.038, call=_CALL), Rate(1.55, call=_CALL)),
        "GlobalAveragePool": _elementwise(0.26, 0.058),
        "Move": _elementwise(0.15, 0.06),
    },
    border=Rate(element=0.4, call=_CALL),
)

ARM = replace(VNNI, source="not measured: those of a Zen 4 core with AVX512-VNNI")

"""Price tables that were measured, a processor each.

`requant.measure_prices` measures them on a machine; docs/engines/cpu-convolutions.md has them side by side.
"""

from dataclasses import replace

from .prices import CONV, DEPTHWISE, DYNAMIC_PRODUCT, POINTWISE, PRODUCT, UNALIGNED, Prices, Rate, Rates

_CALL = 4000.0


def _elementwise(in_float: float, in_integers: float, integer_calls: int = 1) -> Rates:
    """Return the rates of a kernel whose time goes by elements alone."""
    return Rates(Rate(element=in_float, call=_CALL), Rate(element=in_integers, call=_CALL * integer_calls))


VNNI = Prices(
    source="a Zen 4 core with AVX512-VNNI, ONNX Runtime 1.32",
    kernels={
        CONV: Rates(Rate(0.0172, tap=0.7, call=2 * _CALL), Rate(0.0044, 0.09, 1.4, 3 * _CALL)),
        POINTWISE: Rates(Rate(0.0172, 0.12, call=2 * _CALL), Rate(0.0044, 0.09, call=3 * _CALL)),
        # not measured: the first one, and what AVX2 takes more
        UNALIGNED: Rates(Rate(0.0172, tap=2.9, call=2 * _CALL), Rate(0.0044, 0.53, 5.1, 3 * _CALL)),
        DEPTHWISE: Rates(Rate(0.27 / 9, call=_CALL), Rate(0.42 / 9, tap=8.5 / 9, call=_CALL)),
        PRODUCT: Rates(Rate(0.0172, call=_CALL), Rate(0.0044, 0.135, call=_CALL)),
        DYNAMIC_PRODUCT: Rates(Rate(0.0172, call=_CALL), Rate(0.0044, 0.16, call=_CALL)),  # as AVX2 to the one above
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
    source="a Zen 3 core, which has no VNNI, ONNX Runtime 1.32",
    kernels={
        CONV: Rates(Rate(multiplication=0.022, tap=1.3), Rate(multiplication=0.011, element=0.17, tap=0.33)),
        POINTWISE: Rates(
            Rate(multiplication=0.022, element=0.048, call=100), Rate(multiplication=0.011, element=0.17, call=3100)
        ),
        UNALIGNED: Rates(Rate(multiplication=0.019, tap=3.5), Rate(multiplication=0.0088, element=0.61, tap=4.0)),
        DEPTHWISE: Rates(
            Rate(multiplication=0.048, tap=0.21, call=1300), Rate(multiplication=0.072, tap=1.2, call=1500)
        ),
        PRODUCT: Rates(
            Rate(multiplication=0.022, element=0.08, call=700), Rate(multiplication=0.01, element=0.33, call=1200)
        ),
        DYNAMIC_PRODUCT: Rates(
            Rate(multiplication=0.022, element=0.08, call=700), Rate(multiplication=0.009, element=0.36, call=1800)
        ),
        "Silu": Rates(Rate(element=0.52, call=100), Rate(element=0.58, call=700)),
        "HardSwish": Rates(Rate(element=0.41, call=300), Rate(element=0.35, call=1300)),
        "HardSigmoid": Rates(Rate(element=0.15, call=400), Rate(element=0.099, call=600)),
        "Sigmoid": Rates(Rate(element=0.33, call=100), Rate(element=0.3, call=400)),
        "LeakyRelu": Rates(Rate(element=0.17, call=300), Rate(element=0.36, call=1600)),
        "Mul": Rates(Rate(element=0.22, call=700), Rate(element=0.27, call=700)),
        "Add": Rates(Rate(element=0.25, call=100), Rate(element=0.17, call=500)),
        "Concat": Rates(Rate(element=0.13, call=200), Rate(element=0.029, call=700)),
        "MaxPool": Rates(Rate(multiplication=0.026, call=4100), Rate(multiplication=0.047, call=500)),
        "Resize": Rates(Rate(element=0.12), Rate(element=1.4)),
        "AveragePool": Rates(Rate(multiplication=0.029, call=2400), Rate(multiplication=1.5)),
        "GlobalAveragePool": Rates(Rate(element=0.15, call=700), Rate(call=2800)),
        "Move": Rates(Rate(element=0.13, call=200), Rate(element=0.029, call=700)),
    },
    border=Rate(element=0.64, call=1800),
)

ARM = replace(VNNI, source="not measured: those of a Zen 4 core with AVX512-VNNI")

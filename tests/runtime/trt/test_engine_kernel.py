"""Kernels: what the builder's names and types say of a product, and the roofline of each kind."""

from collections import Counter

import pytest

from requant.runtime.engine_kernel import EngineKernel
from requant.runtime.engine_layer import EngineLayer, EngineTensor
from requant.runtime.trt.engine_kernel import engine_kernels
from requant.runtime.trt.engine_layers import engine_layers
from requant.runtime.trt.roofline import GPUS, LAUNCH, operations, seconds
from tests.runtime.trt.listings import listing


def kernels(name: str) -> tuple[EngineKernel, ...]:
    return engine_kernels(engine_layers([listing(name)]))


def kernel(
    name: str, kind: str, inputs: list[EngineTensor], constants: list[EngineTensor], output: EngineTensor
) -> EngineKernel:
    (result,) = engine_kernels([EngineLayer(name, kind, tuple(inputs), tuple(constants), (output,), ())])
    return result


def half(*shape: int) -> EngineTensor:
    return EngineTensor("", shape, "float16")


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("pre_norm_int8_float16", {"product in int8": 5, "attention in float16": 1}),
        ("pre_norm_int8_float32", {"product in int8": 5, "product in float32": 2}),
        ("pre_norm_int8_weight", {"product in float16 with int8 weights": 7, "attention in float16": 1}),
        ("activation_scales", {"product in float32 with int8 weights": 1}),
        ("conv_residual", {"convolution in int8": 2}),
        ("conv_transpose", {"convolution in float16": 1}),
        ("weight_of_a_row", {}),
    ],
)
def test_products_by_type(name: str, titles: dict[str, int]) -> None:
    assert Counter(one.title for one in kernels(name) if one.kind != "other") == titles


def test_what_lets_streams_wait_is_no_kernel() -> None:
    assert len(kernels("pre_norm_int8_weight")) == 23 - 7


def test_other_kernels_are_named_by_their_ops() -> None:
    assert kernels("weight_of_a_row")[0].title == "Cast·Mul·Cast·Resh·Mul·Sum·Relu"


@pytest.mark.parametrize(
    ("one", "count"),
    [
        (kernel("a_myl0_0", "gemm", [half(8, 16)], [half(16, 32)], half(8, 32)), 2 * 8 * 16 * 32),
        (kernel("a_myl0_0", "gemm", [half(3, 8, 16), half(3, 16, 32)], [half(1)], half(3, 8, 32)), 6 * 8 * 16 * 32),
        (
            kernel("__myl_FcAddAdd_myl0_0", "runtime_fusion", [half(8, 32), half(8, 16)], [half(16, 32)], half(8, 32)),
            2 * 8 * 16 * 32,
        ),
        (
            kernel("a_myl0_0", "correlation", [half(2, 4, 9, 9)], [half(8, 4, 3, 3)], half(2, 8, 7, 7)),
            2 * 2 * 8 * 7 * 7 * 4 * 9,
        ),
        (
            kernel("a_myl0_0", "deconv", [half(2, 4, 9, 9)], [half(4, 8, 2, 2)], half(2, 8, 18, 18)),
            2 * 2 * 4 * 9 * 9 * 8 * 4,
        ),
        (
            kernel("_gemm_mha_v2_myl0_0", "kgen", [half(6, 10, 4), half(6, 4, 20), half(6, 20, 4)], [], half(6, 10, 4)),
            2 * 2 * 6 * 10 * 20 * 4,
        ),
        (kernel("__myl_Add_myl0_0", "kgen", [half(8, 16)], [], half(8, 16)), 0),
    ],
)
def test_operations(one: EngineKernel, count: int) -> None:
    assert operations(one) == count


def test_a_kernel_takes_the_longer_of_bytes_and_operations() -> None:
    gpu = GPUS["l4"]
    small = kernel("a_myl0_0", "gemm", [half(8, 4096)], [half(4096, 4096)], half(8, 4096))
    large = kernel("a_myl0_0", "gemm", [half(8192, 4096)], [half(4096, 4096)], half(8192, 4096))
    assert seconds(small, gpu) == pytest.approx(small.layer.nbytes / 300e9 + LAUNCH)
    assert seconds(large, gpu) == pytest.approx(2 * 8192 * 4096**2 / 121e12 + LAUNCH)

"""Decoders that run step by step in a Loop: quantized in its body, with errors that do not grow from step to step."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import requant
from requant.ir.load import load
from requant.runtime.feeds import Feed
from requant.runtime.session import runner
from requant.runtime.targets import target as find_target

WIDTH, STEPS = 64, 100

GRU = f"""(float[{STEPS},b,{WIDTH}] context, float[b,{WIDTH}] h0, float[b,{WIDTH}] y0)
    => (float[s,c,d] y, float[e,f] h) <int64 n = {{{STEPS}}}, bool yes = {{1}}, float one = {{1}}> {{
    h, last, y = Loop (n, yes, h0, y0) <body = step (int64 i, bool go, float[b,{WIDTH}] h1, float[b,{WIDTH}] y1)
        => (bool on, float[b,{WIDTH}] h2, float[b,{WIDTH}] y2, float[b,{WIDTH}] out) {{
        on = Identity(go)  c = Gather(context, i)  x = Add(c, y1)
        xz = MatMul(x, wz)  hz = MatMul(h1, uz)  sz = Add(xz, hz)  z = Sigmoid(sz)
        xn = MatMul(x, wn)  hn = MatMul(h1, un)  sn = Add(xn, hn)  n2 = Tanh(sn)
        keep = Mul(z, h1)  rest = Sub(one, z)  new = Mul(rest, n2)  h2 = Add(keep, new)
        o = MatMul(h2, wo)  y2 = Tanh(o)  out = Identity(y2) }}> }}"""
ATTENTION = f"""(int64 n, float[b,1,{WIDTH}] x, float[b,p,{WIDTH}] k0, float[b,p,{WIDTH}] v0)
    => (float[s,c,d,e] y, float[f,g,h] k) <bool yes = {{1}}, float root = {{0.125}}> {{
    last, k, v, y = Loop (n, yes, x, k0, v0) <body = step (int64 i, bool go, float[b,1,{WIDTH}] s,
        float[b,q,{WIDTH}] k1, float[b,q,{WIDTH}] v1) => (bool on, float[b,1,{WIDTH}] s2, float[b,r,{WIDTH}] k2,
        float[b,r,{WIDTH}] v2, float[b,1,{WIDTH}] out) {{
        on = Identity(go)  l = LayerNormalization(s, gain, shift)  query = MatMul(l, wq)
        key = MatMul(l, wk)  value = MatMul(l, wv)  k2 = Concat<axis = 1>(k1, key)  v2 = Concat<axis = 1>(v1, value)
        kt = Transpose<perm = [0, 2, 1]>(k2)  a = MatMul(query, kt)  b2 = Mul(a, root)  p2 = Softmax(b2)
        m = MatMul(p2, v2)  o = MatMul(m, wo)  s1 = Add(s, o)  l2 = LayerNormalization(s1, gain, shift)
        f1 = MatMul(l2, up)  f2 = Relu(f1)  f3 = MatMul(f2, down)  s3 = Add(s1, f3)
        s2 = LayerNormalization(s3, gain, shift)  out = Identity(s2) }}> }}"""
WEIGHTS = {
    **dict.fromkeys(["wz", "uz", "wn", "un", "wo", "wq", "wk", "wv"], (WIDTH, WIDTH)),
    "up": (WIDTH, 4 * WIDTH),
    "down": (4 * WIDTH, WIDTH),
    "gain": (WIDTH,),
    "shift": (WIDTH,),
}


def decoder(text: str, *, inside: bool) -> onnx.ModelProto:
    """Return the decoder in ``text``, with its weights ``inside`` of the body or outside."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> decoder {text}')
    body = next(node.attribute[0].g for node in proto.graph.node if node.op_type == "Loop")
    rng, read = np.random.default_rng(0), {name for node in body.node for name in node.input}
    for name in sorted(read & WEIGHTS.keys()):
        shape = WEIGHTS[name]
        array = rng.standard_normal(shape) / np.sqrt(shape[0]) if len(shape) > 1 else 1 + rng.standard_normal(shape) / 4
        tensor = onnx.numpy_helper.from_array(array.astype(np.float32), name)
        (body if inside else proto.graph).initializer.append(tensor)
    return proto


def gru_feed(seed: int) -> Feed:
    context = np.random.default_rng(seed).standard_normal((STEPS, 2, WIDTH)).astype(np.float32)
    context[..., 3] *= 6
    return {"context": context, **dict.fromkeys(["h0", "y0"], np.zeros((2, WIDTH), np.float32))}


def attention_feed(seed: int) -> Feed:
    rng = np.random.default_rng(seed)
    x, k0, v0 = (rng.standard_normal((2, length, WIDTH)).astype(np.float32) for length in (1, 3, 3))
    return {"n": np.array(12), "x": x, "k0": k0, "v0": v0}


CASES = {"GRU": (GRU, gru_feed, 5), "attention over what has been": (ATTENTION, attention_feed, 6)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_decoder_in_a_loop(name: str, target: str, inside: bool) -> None:
    text, feed, layers = CASES[name]
    proto = decoder(text, inside=inside)
    result = requant.optimize(proto, [feed(seed) for seed in range(12)], target=target)
    assert len(result.report.layers) == layers
    in_float = [layer.reason for layer in result.report.layers if not layer.quantized]
    assert len(in_float) <= int(find_target(target).weight_bits < 8), "with 7 bits one layer may be too noisy"
    assert all("of the noise" in reason for reason in in_float)
    assert requant.check(result.model, target) == []
    errors = np.sum([_errors(proto, result, feed(seed)) for seed in range(100, 104)], axis=0)
    signal_to_noise = 10 * np.log10(errors[1] / errors[0])
    assert 10 * np.log10(errors[1].sum() / errors[0].sum()) >= 25
    assert signal_to_noise[-1] >= signal_to_noise[4] - 3


def _errors(proto: onnx.ModelProto, result: requant.Result, feed: Feed) -> NDArray[np.float64]:
    """Return the squared error and size of the first output at each step, [2, steps]."""
    y, z = (runner(model)(feed)[0].astype(np.float64) for model in (load(proto), result.model))
    squares: NDArray[np.float64] = np.square([y - z, y]).reshape(2, len(y), -1).sum(axis=2)
    return squares

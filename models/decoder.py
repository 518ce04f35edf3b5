"""One step of a decoder with a cache of keys and values, as GPT-2 has it: seeded weights, any batch.

x0 (B, 1, 768) and for each of four layers ``key_n`` and ``value_n`` (B, 12, 127, 64) give x4 (B, 1, 768) and the caches
with one more row.
"""

import numpy as np
import onnx

from models.subject import Feed

WIDTH, HEADS, LAYERS, PAST = 768, 12, 4, 127
SIZE = WIDTH // HEADS

_LAYER = """n{i} = LayerNormalization(x{i}, gain, shift)
    aq{i} = MatMul(n{i}, wq{i}) bq{i} = Reshape(aq{i}, heads) q{i} = Transpose<perm = [0, 2, 1, 3]>(bq{i})
    ak{i} = MatMul(n{i}, wk{i}) bk{i} = Reshape(ak{i}, heads) ck{i} = Transpose<perm = [0, 2, 1, 3]>(bk{i})
    av{i} = MatMul(n{i}, wv{i}) bv{i} = Reshape(av{i}, heads) cv{i} = Transpose<perm = [0, 2, 1, 3]>(bv{i})
    k{i} = Concat<axis = 2>(key_{i}, ck{i}) v{i} = Concat<axis = 2>(value_{i}, cv{i})
    t{i} = Transpose<perm = [0, 1, 3, 2]>(k{i}) s{i} = MatMul(q{i}, t{i}) r{i} = Mul(s{i}, eighth)
    p{i} = Softmax(r{i}) m{i} = MatMul(p{i}, v{i}) am{i} = Transpose<perm = [0, 2, 1, 3]>(m{i})
    bm{i} = Reshape(am{i}, joined) o{i} = MatMul(bm{i}, wo{i}) y{i} = Add(x{i}, o{i})
    f{i} = LayerNormalization(y{i}, gain, shift) u{i} = MatMul(f{i}, up{i}) g{i} = Gelu(u{i})
    d{i} = MatMul(g{i}, down{i}) x{j} = Add(y{i}, d{i})
"""


def decoder() -> onnx.ModelProto:
    """Make the model, 113 MB."""
    cache = [f"float[batch,{HEADS},{PAST},{SIZE}] {part}_{i}" for i in range(LAYERS) for part in ("key", "value")]
    grown = [f"float[batch,{HEADS},{PAST + 1},{SIZE}] {part}{i}" for i in range(LAYERS) for part in "kv"]
    layers = "".join(_LAYER.format(i=i, j=i + 1) for i in range(LAYERS))
    proto = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["": 20]> decoder
        (float[batch,1,{WIDTH}] x0, {", ".join(cache)}) => (float[batch,1,{WIDTH}] x{LAYERS}, {", ".join(grown)})
        <int64[4] heads = {{0, 1, {HEADS}, {SIZE}}}, int64[3] joined = {{0, 1, {WIDTH}}}, float eighth = {{0.125}}>
        {{ {layers} }}"""
    )
    rng, square = np.random.default_rng(0), (WIDTH, WIDTH)
    layer = dict.fromkeys(("wq", "wk", "wv", "wo"), square) | {"up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    arrays = {
        f"{name}{i}": rng.normal(size=shape) / np.sqrt(shape[0]) for i in range(LAYERS) for name, shape in layer.items()
    }
    arrays |= {"gain": np.ones(WIDTH), "shift": np.zeros(WIDTH)}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()
    )
    return proto


def feeds(samples: int, seed: int = 0) -> list[Feed]:
    """Return steps of one row each, of noise."""
    rng = np.random.default_rng(seed)
    names = [f"{part}_{i}" for i in range(LAYERS) for part in ("key", "value")]
    shapes = {"x0": (1, 1, WIDTH), **dict.fromkeys(names, (1, HEADS, PAST, SIZE))}
    return [
        {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()} for _ in range(samples)
    ]

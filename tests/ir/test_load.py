"""Every source gives the same private model, and invalid models from untrusted sources are refused."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.synthetic import Transformer, pre_norm
from requant.errors import SourceError
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Site, find_sites
from requant.ir.load import Source, load
from requant.ir.save import to_bytes
from requant.ir.transform.apply import ChannelTransform, apply_transform

Build: TypeAlias = Callable[[str], onnx.ModelProto]
Edit: TypeAlias = Callable[[onnx.TensorProto], object]

SPEC = Transformer(width=8, heads=2, layers=1, opset=14, dialect="pytorch")
LINEAR = "(float[B,4] x) => (float[B,4] y) <float[4,4] w> { y = MatMul(x, w) }"
BRANCHES = """(float[B,4] x, bool c) => (float[B,4] y) {
    y = If (c) <then_branch = a () => (float[4] p) { k = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
                                                     p = Abs(k) },
                else_branch = b () => (float[4] q) { k = Constant<value = float[4] {5, 6, 7, 8}>()
                                                     q = Abs(k) }> }"""


@dataclass(frozen=True)
class Program:
    """A carrier of its model, as torch.onnx.ONNXProgram is."""

    model: ir.Model


SOURCES: dict[str, Callable[[onnx.ModelProto, Path], Source]] = {
    "path": lambda proto, folder: _write(proto, folder),
    "text": lambda proto, folder: str(_write(proto, folder)),
    "bytes": lambda proto, folder: proto.SerializeToString(),
    "proto": lambda proto, folder: proto,
    "ir": lambda proto, folder: ir.from_proto(proto),
    "program": lambda proto, folder: Program(ir.from_proto(proto)),
}


def _write(proto: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def _bytes(source: Source) -> bytes:
    if isinstance(source, Program):
        return _bytes(source.model)
    if isinstance(source, ir.Model):
        return _bytes(ir.to_proto(source))
    if isinstance(source, onnx.ModelProto):
        return bytes(source.SerializeToString(deterministic=True))
    return source if isinstance(source, bytes) else Path(str(source)).read_bytes()


def _external(proto: onnx.ModelProto, folder: Path, edit: Edit = lambda tensor: None) -> Path:
    """Write ``proto`` with all weights in "weights.bin"; ``edit`` may damage the last one's entry."""
    path = folder / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    stored = onnx.load(path, load_external_data=False)
    edit(stored.graph.initializer[-1])
    path.write_bytes(stored.SerializeToString())
    return path


def _entry(key: str, value: str) -> Edit:
    """Set one entry of a tensor's external data."""

    def edit(tensor: onnx.TensorProto) -> None:
        entries = {entry.key: entry.value for entry in tensor.external_data} | {key: value}
        del tensor.external_data[:]
        tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items())

    return edit


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_model(kind: str, tmp_path: Path) -> None:
    proto = pre_norm(SPEC)
    assert to_bytes(load(SOURCES[kind](proto, tmp_path))) == to_bytes(load(proto))


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("text", ["", BRANCHES], ids=["transformer", "branches"])
def test_the_source_is_left_alone(kind: str, text: str, tmp_path: Path, build: Build) -> None:
    source = SOURCES[kind](build(text) if text else pre_norm(SPEC), tmp_path)
    before = _bytes(source)
    model = load(source)
    canonicalize(model)
    sites = [site for site in find_sites(model) if isinstance(site, Site)]
    for site in sites:
        apply_transform(
            site,
            ChannelTransform(np.full(site.channels, 3.0), np.full(site.channels, float(site.shift_blocked is None))),
        )
    for graph in model.graphs():
        for value in list(graph.initializers.values()):
            value.name = f"{value.name}.renamed"
    assert to_bytes(model) != before
    assert _bytes(source) == before


def test_sizes_in_constants_of_another_file_are_read(tmp_path: Path, build: Build) -> None:
    text = "(float[n, 8, 4] x) => (float[n, 32] y) { s = Constant<value = int64[2] {-1, 32}>()  y = Reshape(x, s) }"
    proto = build(text)
    proto.graph.node[0].attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 32]), "s"))  # raw
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, convert_attribute=True)
    (stored,) = onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.node[0].attribute
    assert stored.t.data_location == onnx.TensorProto.EXTERNAL
    model = load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(model.graph[0].attributes["value"].as_tensor().numpy(), [-1, 32])


def test_external_weights_are_read_only_when_asked(tmp_path: Path, build: Build) -> None:
    model = load(_external(build(LINEAR), tmp_path))
    expected = np.arange(16, dtype=np.float32).reshape(4, 4)
    (tmp_path / "weights.bin").write_bytes(expected.tobytes())
    weight = model.graph.initializers["w"].const_value
    assert isinstance(weight, ir.ExternalTensor)
    np.testing.assert_array_equal(weight.numpy(), expected)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_entry("location", "gone.bin"), "weights file 'gone.bin' is missing"),
        (_entry("location", "../outside.bin"), "outside the model's folder"),
        (_entry("location", "folder/../../outside.bin"), "outside the model's folder"),
        (_entry("location", "{absolute}"), "outside the model's folder"),
        (_entry("location", "link.bin"), "outside the model's folder"),
        (_entry("location", "linked/outside.bin"), "outside the model's folder"),
        (_entry("location", "folder"), "weights file 'folder' is a folder"),
        (_entry("length", "60"), "weight 'w' has 60 bytes, but its shape needs 64"),
        (_entry("length", "-64"), "length must be non-negative.*'w'"),
        (_entry("offset", "4"), "too short for weight 'w'"),
        (_entry("offset", "-4"), "offset must be non-negative.*'w'"),
        (_entry("offset", "some"), "damaged ONNX model"),
        (lambda tensor: tensor.dims.append(1 << 40), "weight 'w' has 64 bytes"),
        (lambda tensor: tensor.dims.extend([-1, -1]), "negative dimension"),
        (lambda tensor: setattr(tensor, "data_type", 0), "no type"),
        (lambda tensor: setattr(tensor, "data_type", 99), "damaged ONNX model|no type"),
    ],
)
def test_suspicious_external_data_is_refused(edit: Edit, message: str, tmp_path: Path, build: Build) -> None:
    outside, inside = tmp_path / "outside.bin", tmp_path / "inside"
    outside.write_bytes(bytes(64))
    (inside / "folder").mkdir(parents=True)
    (inside / "link.bin").symlink_to(outside)
    (inside / "linked").symlink_to(tmp_path)

    def spoil(tensor: onnx.TensorProto) -> None:
        edit(tensor)
        for entry in tensor.external_data:
            entry.value = entry.value.format(absolute=outside)

    path = _external(build(LINEAR), inside, spoil)
    with pytest.raises(SourceError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_external_data_of_a_function_cannot_escape(tmp_path: Path) -> None:
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(16))
    inside = tmp_path / "inside"
    inside.mkdir()
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[4] x) => (float[4] y) { y = own.f(x) }
        <domain: "own", opset_import: ["": 17]> f (a) => (b) {
            k = Constant<value = float[4] {1, 2, 3, 4}>()
            b = Add(a, k) }""")
    tensor = proto.functions[0].node[0].attribute[0].t
    del tensor.float_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    _entry("location", "../outside.bin")(tensor)
    (inside / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(SourceError, match="outside the model's folder"):
        load(inside / "model.onnx")


def test_external_data_needs_a_folder(tmp_path: Path, build: Build) -> None:
    path = _external(build(LINEAR), tmp_path)
    for source in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(SourceError, match="load the model from its path"):
            load(source)
    assert to_bytes(load(ir.load(path))) == to_bytes(load(path))


@pytest.mark.parametrize("name", ["absent.onnx", "absent/model.onnx", "", "model.onnx/inner", "m" * 300])
def test_files_that_cannot_be_read_are_refused(name: str, tmp_path: Path, build: Build) -> None:
    _write(build(LINEAR), tmp_path)
    with pytest.raises(SourceError, match=r"no such file|is a folder|cannot be read"):
        load(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 1, 40, -1])
def test_truncated_files_are_refused(keep: int, tmp_path: Path, build: Build) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build(LINEAR).SerializeToString()[:keep])
    with pytest.raises(SourceError, match="not an ONNX model"):
        load(path)


@pytest.mark.parametrize("source", [None, 3, object()])
def test_other_objects_are_refused(source: Source) -> None:
    with pytest.raises(SourceError, match=f"cannot load a model from {type(source).__name__}"):
        load(source)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[:-4]), "60 bytes.*needs 64"),
        (lambda tensor: setattr(tensor, "raw_data", b""), "0 bytes.*needs 64"),
        (lambda tensor: tensor.ClearField("raw_data"), "0 bytes.*needs 64"),
        (lambda tensor: (tensor.ClearField("raw_data"), tensor.float_data.extend([1.0] * 15)), "needs 64"),
        (lambda tensor: tensor.dims.append(2), "needs 128"),
        (lambda tensor: tensor.dims.extend([-1, -1]), "negative dimension"),
        (lambda tensor: setattr(tensor, "name", "v"), "reads 'w', which no node produces"),
    ],
)
def test_inline_weights_that_do_not_fit_are_refused(edit: Edit, message: str, build: Build) -> None:
    proto = build(LINEAR)
    edit(proto.graph.initializer[0])
    with pytest.raises(SourceError, match=message):
        load(proto)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        load(data)


@given(st.data())
def test_a_damaged_model_loads_or_is_refused(data: st.DataObject) -> None:
    damaged = bytearray(_DAMAGED)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(SourceError):
        model = load(bytes(damaged))
        canonicalize(model)
        find_sites(model)


_DAMAGED = pre_norm(Transformer(width=4, heads=2, layers=1, hidden=4)).SerializeToString()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path, build: Build) -> None:
    path = _write(build(LINEAR), tmp_path)
    path.chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        load(path)

"""What PyTorch's two exporters write: the same sites at every opset, from files and from memory."""

import io
import warnings

import numpy as np
import onnx
import pytest

import requant
from requant.ir.load import Source

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # the exporters warn about themselves

WIDTH, TOKENS = 64, 16


class Block(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch is an extra, known at run time alone
    """A pre-norm transformer block as people write it, with a head that the last norm feeds."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (torch.nn.LayerNorm(WIDTH) for _ in range(3))
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)
        self.head = torch.nn.Linear(WIDTH, 32)

    def forward(self, x):  # type: ignore[no-untyped-def]
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(-1, -2) / (c // 4) ** 0.5, dim=-1) @ v
        x = x + self.out(attention.transpose(1, 2).reshape(b, t, c))
        x = x + self.fc2(torch.nn.functional.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm3(x))


def block() -> Block:
    torch.manual_seed(0)
    module = Block()
    module.eval()
    with torch.no_grad():
        for norm in (module.norm1, module.norm2, module.norm3):
            norm.weight[:2] *= 40
            norm.bias[2:4] += 20
    return module


def scripted(opset: int) -> onnx.ModelProto:
    file = io.BytesIO()
    axes = {"x": {0: "batch", 1: "tokens"}}
    inputs = (torch.randn(1, TOKENS, WIDTH),)
    torch.onnx.export(block(), inputs, file, dynamo=False, opset_version=opset, input_names=["x"], dynamic_axes=axes)
    return onnx.load_model_from_string(file.getvalue())


def sites(source: Source) -> list[tuple[str, int, int]]:
    return [(site.kind, site.channels, len(site.consumers)) for site in requant.inspect(source).sites]


SITES = [("LayerNorm", 1), ("QK", 0), ("Attention", 1), ("LayerNorm", 1), ("LayerNorm", 1)]


def feeds(count: int = 8) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("opset", [11, 14, 17])
def test_the_torchscript_exporter_gives_the_same_sites_at_every_opset(opset: int) -> None:
    assert sites(scripted(opset)) == [(kind, WIDTH, consumers) for kind, consumers in SITES]


@pytest.mark.parametrize("opset", [18, 23])
def test_an_exported_program_is_quantized_in_memory(opset: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            block(), (torch.randn(1, TOKENS, WIDTH),), dynamo=True, opset_version=opset, input_names=["x"]
        )
    before = program.model_proto.SerializeToString()
    assert sites(program) == [(kind, WIDTH, consumers) for kind, consumers in SITES]
    plain, ours = (
        next(iter(requant.optimize(program, feeds(), recipe, "tensorrt").report.outputs.values())).sqnr
        for recipe in ("int8-plain", "int8")
    )
    assert ours > plain + 5
    assert program.model_proto.SerializeToString() == before

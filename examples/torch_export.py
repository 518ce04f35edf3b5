"""A PyTorch module, exported and quantized without a file between: python examples/torch_export.py QUANTIZED.onnx"""

import sys

import torch

import requant

torch.manual_seed(0)
module = torch.nn.TransformerEncoderLayer(64, 4, 256, activation="gelu", batch_first=True, norm_first=True).eval()
samples = torch.utils.data.TensorDataset(torch.randn(64, 16, 64), torch.zeros(64))  # the zeros stand for labels
loader = torch.utils.data.DataLoader(samples, batch_size=8)

sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
program = torch.onnx.export(module, (torch.randn(2, 16, 64),), dynamo=True, dynamic_shapes=(sizes,))
result = requant.optimize(program, loader, target="cpu", output=sys.argv[1])
for name, distance in result.report.outputs.items():
    print(f"{name}: {distance.sqnr:.1f} dB against the float model")

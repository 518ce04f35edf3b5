"""The smallest use: python examples/quantize.py MODEL.onnx CALIBRATION.npz QUANTIZED.onnx"""

import sys

import requant

model, calibration, output = sys.argv[1:]
result = requant.optimize(model, calibration, target="cpu", output=output)
for name, distance in result.report.outputs.items():
    print(f"{name}: {distance.sqnr:.1f} dB against the float model")

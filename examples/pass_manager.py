"""Passes of requant among onnx_ir's: python examples/pass_manager.py MODEL.onnx CALIBRATION.npz QUANTIZED.onnx"""

import sys

import onnx_ir as ir
from onnx_ir.passes import common

from requant.calib import batches, collect
from requant.ir import canonicalize, load, save
from requant.passes import InsertQDQ, PlanQuantizers, ReparameterizeScales

source, calibration, output = sys.argv[1:]
model = load(source)
ir.passes.PassManager([common.InlinePass(), common.CommonSubexpressionEliminationPass()])(model)
canonicalize(model)
collect(model, batches(calibration, model))
passes = [ReparameterizeScales(), PlanQuantizers(), InsertQDQ("tensorrt"), common.NameFixPass(), common.CheckerPass()]
ir.passes.PassManager(passes)(model)
save(model, output)

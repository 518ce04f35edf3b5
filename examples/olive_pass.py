"""A pass for Olive, for its option --package-config: see docs/pipelines.md."""

from pathlib import Path

from olive.hardware.accelerator import AcceleratorSpec
from olive.model import ONNXModelHandler
from olive.passes import Pass
from olive.passes.pass_config import BasePassConfig, PassConfigParam

import requant


class Requant(Pass):  # type: ignore[misc]  # olive is known at run time alone
    """Quantize an ONNX model with requant."""

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        return {
            "calibration": PassConfigParam(type_=str, required=True, description="An .npz, or a folder of them."),
            "recipe": PassConfigParam(type_=str, default_value="int8", description="What to do."),
            "target": PassConfigParam(type_=str, default_value="cpu", description="The engine that will run it."),
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: BasePassConfig, output_model_path: str
    ) -> ONNXModelHandler:
        output = Path(output_model_path) / "model.onnx"
        output.parent.mkdir(parents=True, exist_ok=True)
        requant.optimize(model.model_path, config.calibration, config.recipe, config.target, output=output)
        return ONNXModelHandler(model_path=output.parent, onnx_file_name=output.name)

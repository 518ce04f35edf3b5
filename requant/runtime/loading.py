"""Make an execution provider known to ONNX Runtime, or say what is missing."""

import importlib
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import TargetError
from .providers import CPU, Provider

if TYPE_CHECKING:
    import onnxruntime


def load_provider(chosen: Provider, ort: ModuleType) -> list["onnxruntime.OrtEpDevice"]:
    """Make ``chosen`` known to ONNX Runtime; the devices that a plugin can use, none for what is no plugin.

    Raises:
        TargetError: it is not installed, or finds no device; the text says what to install.
    """
    if chosen.plugin:
        return _plugged(chosen, ort)
    if chosen.name not in ort.get_available_providers():
        raise TargetError(f"this onnxruntime has no {chosen.name}: {chosen.install}")
    if chosen.name != CPU:
        ort.preload_dlls()
    if chosen.libraries:
        with suppress(ImportError):  # they may be where the system's loader finds them
            importlib.import_module(chosen.libraries)
    return []


def _plugged(chosen: Provider, ort: ModuleType) -> list["onnxruntime.OrtEpDevice"]:
    try:
        plugin = importlib.import_module(chosen.plugin)
    except ImportError as error:
        raise TargetError(f"{chosen.plugin} is not installed: {chosen.install}") from error

    def devices() -> list["onnxruntime.OrtEpDevice"]:
        return [device for device in ort.get_ep_devices() if device.ep_name == chosen.name]

    try:
        if not devices():
            ort.register_execution_provider_library(chosen.name, plugin.get_library_path())
    except Exception as error:
        raise TargetError(f"{chosen.name} cannot be loaded: {' '.join(str(error).split())}") from error
    if not devices():
        raise TargetError(f"{chosen.name} finds no device that it can use on this machine")
    return devices()

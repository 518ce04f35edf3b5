"""Loading of execution providers, with errors that name what is missing."""

import importlib
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING

from ...errors import TargetError
from .provider import CPU, Provider

if TYPE_CHECKING:
    import onnxruntime


def load_provider(provider: Provider, ort: ModuleType) -> list["onnxruntime.OrtEpDevice"]:
    """Load ``provider`` into ONNX Runtime and return the devices that a plugin can use; none for other providers.

    Raises:
        TargetError: it is not installed, or finds no device; the text says what to install.
    """
    if provider.plugin:
        return _plugin_devices(provider, ort)
    if provider.name not in ort.get_available_providers():
        raise TargetError(f"this onnxruntime has no {provider.name}: {provider.install}")
    if provider.name != CPU:
        ort.preload_dlls()
    if provider.libraries:
        with suppress(ImportError):  # they may be where the system's loader finds them
            importlib.import_module(provider.libraries)
    return []


def _plugin_devices(provider: Provider, ort: ModuleType) -> list["onnxruntime.OrtEpDevice"]:
    """Register the plugin of ``provider`` and return its devices."""
    try:
        plugin = importlib.import_module(provider.plugin)
    except ImportError as error:
        raise TargetError(f"{provider.plugin} is not installed: {provider.install}") from error

    def devices() -> list["onnxruntime.OrtEpDevice"]:
        return [device for device in ort.get_ep_devices() if device.ep_name == provider.name]

    try:
        if not devices():
            ort.register_execution_provider_library(provider.name, plugin.get_library_path())
    except Exception as error:
        raise TargetError(f"{provider.name} cannot be loaded: {' '.join(str(error).split())}") from error
    if not devices():
        raise TargetError(f"{provider.name} finds no device that it can use on this machine")
    return devices()

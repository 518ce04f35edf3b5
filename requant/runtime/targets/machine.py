"""The processor of this machine."""

import platform
import re
from pathlib import Path


def processor(machine: str = "", flags: str | None = None) -> str:
    """Return the target of a processor: "cpu" with VNNI, "cpu-avx2" on x86-64 without, "cpu-arm".

    Args:
        machine: as `platform.machine` says; empty is this one.
        flags: what the processor can do, as in /proc/cpuinfo. None reads that; where there is none, VNNI is assumed.
    """
    machine = (machine or platform.machine()).lower()
    if machine.startswith(("arm", "aarch64")):
        return "cpu-arm"
    if flags is None:
        flags = _listing() or "vnni"
    return "cpu" if "vnni" in flags or "amx_int8" in flags else "cpu-avx2"


def processor_name() -> str:
    """Return what the processor of this machine calls itself, and its target."""
    name = re.search(r"^model name\s*: (.*)$", _listing(), re.MULTILINE)
    return f"{name.group(1) if name else platform.processor() or platform.machine()} ({processor()})"


def _listing() -> str:
    """Return what Linux says about the processors; empty on other systems."""
    listing = Path("/proc/cpuinfo")
    return listing.read_text() if listing.exists() else ""

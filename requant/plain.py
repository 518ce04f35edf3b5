"""JSON of plain values. NaN and infinity are not JSON (RFC 8259, section 6), so they become null."""

import json
import math
from collections.abc import Mapping
from typing import Any


def dumps(value: Any) -> str:  # JSON: values of any plain type
    """Write plain dictionaries, lists, tuples and numbers as JSON text, indented by two."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:  # JSON: values of any plain type
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

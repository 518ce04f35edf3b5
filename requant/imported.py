"""Objects of the caller's own, by the name ``module:object``."""

import importlib
import os
import sys

from .errors import RequantError
from .ir.load import reason


def imported(what: str, name: str) -> object:
    """Return the object called ``name``, found as Python finds modules or in the current folder.

    Args:
        what: what it is for, in the message.
        name: ``package.module:object``.

    Raises:
        RequantError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    paths = sys.path
    sys.path = [*paths, os.getcwd()]
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the caller's code raises whatever it likes
        raise RequantError(f"{what} {name!r}: cannot be imported ({type(error).__name__}: {reason(error)})") from error
    finally:
        sys.path = paths

"""The entry point: run a command, and turn what went wrong into one line and an exit code.

0 done; 1 findings, a failed verification, a missed limit, or an engine that cannot be built; 2 bad usage or bad input;
3 nothing was quantized.
"""

import sys
import warnings
from typing import Any

import typer
from typer.exceptions import TyperException

from ..errors import (
    BuildError,
    CalibrationWarning,
    RequantError,
    SyntheticCalibrationWarning,
    TargetWarning,
    VerificationError,
)
from ..runtime.ort.placement import FallbackWarning
from .commands import app
from .terminal import failed, prepare, say


def main() -> None:
    """Run the command and turn what went wrong into one line and an exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    prepare()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries' warnings are not for the user; ours is
            for ours in (CalibrationWarning, SyntheticCalibrationWarning, TargetWarning, FallbackWarning):
                warnings.simplefilter("always", ours)
            warnings.showwarning = _show_warning
            code = app(arguments, standalone_mode=False, prog_name="requant")
    except (VerificationError, BuildError) as error:
        return failed(error, 1)
    except RequantError as error:
        return failed(error, 2)
    except TyperException as error:
        return failed(f"{error.format_message()} (see requant --help)", 2)
    except BrokenPipeError:
        return 0  # the consumer of --help has seen enough
    except OSError as error:
        return failed(f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except MemoryError:
        return failed("this takes more memory than there is", 2)
    except (KeyboardInterrupt, typer.Abort):
        return failed("interrupted", 130)
    return code if isinstance(code, int) else 0


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    say(f"warning: {message}", style="bold yellow")

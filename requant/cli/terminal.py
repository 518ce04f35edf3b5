"""Printing on stdout and stderr, also where these cannot take it."""

import codecs
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..errors import OutputError
from ..plain import dumps
from ..printable import one_line, plainer
from ..progress import STAGES, Steps


class _Console(Console):
    """A console that tells its caller of a broken pipe; rich's own ends the program with 1."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise


out = _Console(soft_wrap=True)
err = _Console(stderr=True)


def prepare() -> None:
    """Make printing safe in any encoding, and keep library logs off the terminal."""
    codecs.register_error("requant.plainer", plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="requant.plainer")
    logging.getLogger().addHandler(logging.NullHandler())  # else Python prints warnings that no one handles


def say(text: str, style: str = "") -> None:
    """Print a line on stderr; a full or closed stderr is ignored."""
    with suppress(OSError):
        err.print(one_line(text), style=style, markup=False, soft_wrap=True, highlight=False)


def failed(error: Exception | str, code: int) -> int:
    """Print ``error`` on stderr and return the exit ``code``."""
    say(f"requant: {error}", style="red")
    return code


class _Teller(logging.Handler):
    """A handler that prints each record as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of ``record``."""
        say(record.getMessage())


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Print on stderr what the logger called ``name`` and those below it say at DEBUG level."""
    logger, teller = logging.getLogger(name), _Teller()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.setLevel(level)


@contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """Show a bar over the stages on a terminal; nothing in a pipe."""
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("starting", total=len(STAGES))

        starts: dict[int, float] = {}

        def show(stage: str, count: int) -> None:
            left = ""
            if isinstance(count, Steps):
                starts[count.total] = time.monotonic() if count == 0 else starts[count.total]
                left = _left(count, time.monotonic() - starts[count.total])
            description = f"{stage} {count}{left}" if count or left else stage
            bar.update(task, completed=STAGES.index(stage), description=description)

        yield show


def _left(steps: Steps, seconds: float) -> str:
    """Say of how many steps it is, and the time left where one of them is done."""
    if not steps:
        return f" of {steps.total}"
    return f" of {steps.total}, {seconds / steps * (steps.total - steps):.0f} s left"


def show(content: Any, render: Callable[[], RenderableType], as_json: bool) -> None:
    """Print a result on stdout as JSON or as tables; a closed pipe ends it silently.

    Raises:
        OutputError: stdout cannot be written, for one because it is a file on a full disk.
    """
    try:
        if as_json:
            print(dumps(content))
        else:
            out.print(render())
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise OutputError(f"stdout: cannot be written ({error.strerror or error})") from error


def _discard_stdout() -> None:
    """Discard what is buffered: Python would try again at its end, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

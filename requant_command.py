"""The command `requant`, outside of the package so that Ctrl-C ends it in one line while the package is imported."""

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line and exit with its code."""
    before = signal.signal(signal.SIGINT, _interrupted)
    from requant.cli.run import run

    signal.signal(signal.SIGINT, before)
    sys.exit(run(sys.argv[1:]))


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has been read or written, and a library could catch the exception."""
    os.write(2, b"requant: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()

"""`python -m fastgd`: the command line of `fastgd.cli.tour`."""

import io
import os
import sys

from .cli.tour import main

if __name__ == "__main__":
    # A terminal that can't show ² or … shows a question mark instead of a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # as in `python -m fastgd | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)

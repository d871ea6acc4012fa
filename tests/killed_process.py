"""A process whose fit is killed, one that goes on from its checkpoint, and one that is not killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import fastgd


def resumed_and_whole(folder, code, many):
    """The fit that goes on after the kill, and that of a process of as many epochs.

    `code` fits as many epochs as its first argument says, which are `many` in the process to be killed,
    with the checkpoint fit.npz and resumes the file that its second argument names, if it names one. It
    saves the end as end.npz.
    """
    path = folder / "fit.npz"
    (folder / "run.py").write_text(textwrap.dedent(code))

    def start(epochs, resume=""):
        call = [sys.executable, "run.py", str(epochs), resume]
        return subprocess.Popen(call, cwd=folder, env=os.environ)

    process = start(many)
    until = time.monotonic() + 120
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    so_far = fastgd.load(path).n_epochs
    assert start(so_far + 3, "fit.npz").wait(120) == 0
    resumed = fastgd.load(folder / "end.npz")
    assert start(so_far + 3).wait(120) == 0
    return resumed, fastgd.load(folder / "end.npz")

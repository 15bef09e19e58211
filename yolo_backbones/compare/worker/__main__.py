"""Start of a run's process: `FOLDER MODEL SEED DEVICE`, with a pipe as stdin that its parent keeps open."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    """Wait for the end of the pipe, which comes when the parent ends, however it does; then end, children included."""
    while os.read(0, 1):  # not sys.stdin: a read that waits would hold its lock when Python exits
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Train what the command line says."""
    folder, model, seed, device = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()

    from .training import Training  # torch and Ultralytics take seconds, in which the parent may end

    Training(Path(folder), model, int(seed), device).run()


if __name__ == "__main__":
    main()

"""A run's process, seen from outside: started, watched, ended, and asked why it failed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from .record import FAILED, FINISHED, RUNNING, RUNS, WAITING, Record

# `python -m` would import modules from the current folder, whatever lies there.
_START = """
import sys
sys.path[:] = filter(None, sys.path)
import runpy
runpy.run_module("yolo_backbones.compare.worker", run_name="__main__", alter_sys=True)
"""
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b.*")
_ANSI = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_TAIL = 20_000  # bytes of a log in which its last words are
_LONGEST_REASON = 500


def log_of(folder: Path, record: Record) -> Path:
    """Return where a run's process prints to."""
    return folder / RUNS / f"{record.name}.log"


class RunProcess:
    """A process that trains one model with one seed; it ends when its parent does.

    Args:
        folder: the comparison's.
        record: what is known of the run; it is `running` afterwards.
        device: `cpu`, or the number of a GPU.
        threads: for its arithmetic on the CPU.
        stall: seconds without output after which it is ended.
    """

    def __init__(self, folder: Path, record: Record, device: str, threads: int, stall: float) -> None:
        self.record = record
        self._folder = folder
        self._stall = stall
        self._stalled = False
        record.state, record.error = RUNNING, ""
        record.attempts += 1
        record.write(folder)
        self._log = log_of(folder, record)
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(folder), record.model, str(record.seed), device],
                stdin=subprocess.PIPE,  # never written to: its end tells the process that this one has ended
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for the command, which then ends the runs
            )
        self._said = time.time()

    def poll(self) -> bool:
        """Read the record anew; return True while the process lives."""
        alive = self._process.poll() is None
        if alive and time.time() - max(self._said, self._log.stat().st_mtime) > self._stall:
            self._stalled = True
            self.end()
            alive = False
        self.record = Record.read(self._folder, self.record.model, self.record.seed)
        if not alive:
            self._close()
            if self.record.state != FINISHED:
                self.record.state, self.record.error = FAILED, self._reason()
                self.record.write(self._folder)
        return alive

    def end(self) -> None:
        """End the process at once, with those that it has started."""
        if hasattr(os, "killpg"):
            # Those that load images may outlive it; a group that is gone is no error.
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return self._close()
        else:
            self._process.kill()
        self._close()

    def stop(self) -> Record:
        """End the process; return the record, which waits to go on if it has not finished."""
        self.end()
        self.record = Record.read(self._folder, self.record.model, self.record.seed)
        if self.record.state != FINISHED:
            self.record.state = WAITING
            self.record.write(self._folder)
        return self.record

    def _close(self) -> None:
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _reason(self) -> str:
        if self._stalled:
            return f"it printed nothing for {self._stall / 60:g} minutes and was ended; --stall gives it longer"
        code = self._process.returncode
        if code == -getattr(signal, "SIGKILL", 9):
            return "it was killed (SIGKILL), as happens where memory runs out"
        words = last_words(self._log)
        if "out of memory" in words.lower():
            return f"{words}; give all models a smaller batch=, or leave this one out"
        if code < 0:
            return f"it died of {signal.Signals(-code).name}: {words}"
        return words or f"it ended by itself with exit code {code}"


def last_words(log: Path) -> str:
    """Return the last line of a log that tells an error, or its last line; "" where there is none."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    found = next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "")
    return found if len(found) <= _LONGEST_REASON else f"{found[: _LONGEST_REASON - 3]}..."

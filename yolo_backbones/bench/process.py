"""Worker processes of the benchmark, which goes on if one dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

# Threads that wait for the next operation spin, as by default, since waking each takes longer. They stop after about
# half a millisecond (one with Intel's OpenMP), since other models are timed on the same cores.
_SPINNING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
_LONGEST_REASON = 500

# `python -m` would import modules from the current folder, whatever lies there: a psutil.py, say. `yolo` does not.
_START = """
import sys
sys.path[:] = filter(None, sys.path)
import runpy
runpy.run_module("yolo_backbones.bench.worker", alter_sys=True)
"""


class WorkerError(Exception):
    """Failure or death of a worker, which has ended; the message is the reason."""


class Worker:
    """A process that answers requests; each request and each answer is a line of JSON.

    Args:
        role: module of `yolo_backbones.bench.worker` that the process runs.
        threads: number of threads for its arithmetic.
        limit: seconds that an answer may take; None for no limit.
    """

    def __init__(self, role: str, threads: int, limit: float | None = None) -> None:
        self._limit = limit
        self._overdue = False
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # see close()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
            env={**os.environ, **_SPINNING, "OMP_NUM_THREADS": str(threads)},  # Ultralytics would set it to 1
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the workers
        )

    def ask(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Send the worker a request, and return its answer.

        Raises:
            WorkerError: the worker failed, died or took too long.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._time_limit():
            try:
                self._process.stdin.write(json.dumps([action, arguments]) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            reason = self._failure_reason()
            self.close()
            raise WorkerError(reason)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.close()
            raise WorkerError(_shorten(answer["error"]))
        return answer

    @contextlib.contextmanager
    def _time_limit(self) -> Iterator[None]:
        """End the process if it has not answered within the limit."""
        if self._limit is None:
            yield
            return
        timer = threading.Timer(self._limit, self._kill_overdue)  # reading a pipe has no time limit on Windows
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill_overdue(self) -> None:
        self._overdue = True
        self._process.kill()

    def _failure_reason(self) -> str:
        code = self._process.wait()
        if self._overdue:
            return f"no answer within {self._limit:g} s; --time-limit gives it longer"
        if code == -getattr(signal, "SIGKILL", 9):
            return "killed (SIGKILL), as happens where memory runs out"
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended by itself with exit code {code}"
        self._log.seek(0)
        said = [line for line in self._log if line.strip()]
        return _shorten(f"{how}: {said[-1]}" if said else how)

    def close(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # what was written and never read
                stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _shorten(reason: str) -> str:
    reason = " ".join(reason.split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 3]}..."

"""Main loop of a worker: for each line of JSON, `[action, arguments]`, it writes one with the answer.

The action is a method of the module's `Worker`, called with the arguments. An exception is answered with its message
and ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from types import TracebackType
from typing import Any


def main() -> None:
    """Answer requests until the benchmark closes the pipe."""
    # stdout is for answers, so what Ultralytics and the backends print there goes to stderr.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=pipe, flush=True)

    def answer_failure(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        plain = isinstance(error, (ValueError, OSError, ImportError)) and str(error)  # written for the user
        answer({"error": str(error) if plain else f"{kind.__name__}: {error}"})

    sys.excepthook = answer_failure
    worker = importlib.import_module(f"{__package__}.{sys.argv[1]}").Worker()
    for line in sys.stdin:
        action, arguments = json.loads(line)
        answer(getattr(worker, action)(**arguments))


main()

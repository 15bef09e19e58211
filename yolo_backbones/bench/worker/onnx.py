"""Worker that times an ONNX file in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import onnxruntime

from . import memory
from .timed import Timed, image


class Worker(Timed):
    """A session of ONNX Runtime."""

    def load(self, model: str, device: str, threads: int, warmup: int) -> dict[str, Any]:
        """Open the file and warm the session up; return its memory use.

        Raises:
            ValueError: this ONNX Runtime cannot use the GPU.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Waiting threads spin, as by default: waking them at each node would slow small nodes down. They stop with the
        # run, or they would spin for 40 ms of the next model's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(model, options, providers=[_provider(device)])
        place = ("cpu", 0) if device == "cpu" else ("cuda", int(device))
        binding = session.io_binding()
        (given,) = session.get_inputs()
        picture = onnxruntime.OrtValue.ortvalue_from_numpy(image(tuple(given.shape)), *place)
        binding.bind_ortvalue_input(given.name, picture)
        for output in session.get_outputs():
            binding.bind_output(output.name, *place)
        self.forwards["fused"] = lambda: session.run_with_iobinding(binding)
        memory.reset_peak()
        self.warm_up("fused", warmup)
        if device == "cpu":
            return self.usage()
        # ONNX Runtime does not say what it holds on a GPU.
        return {"hardware": f"GPU {device}", "memory": None, "held": 0, "available": None}


def _provider(device: str) -> Any:
    if device == "cpu":
        return "CPUExecutionProvider"
    name = "CUDAExecutionProvider"
    if name not in onnxruntime.get_available_providers():
        raise ValueError(f"device={device}: this ONNX Runtime knows no GPU; pip install onnxruntime-gpu")
    return name, {"device_id": int(device)}

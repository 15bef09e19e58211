"""Worker that times an ONNX file in OpenVINO."""

from __future__ import annotations

from typing import Any

import openvino

from . import memory
from .timed import Timed, image


class Worker(Timed):
    """A compiled model."""

    def load(self, model: str, threads: int, warmup: int) -> dict[str, Any]:
        """Compile the file and warm it up; return its memory use."""
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # as the others; on some processors the default is bf16
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(image(tuple(compiled.input(0).shape))))
        self.forwards["fused"] = request.infer
        memory.reset_peak()
        self.warm_up("fused", warmup)
        return self.usage()

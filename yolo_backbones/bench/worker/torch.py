"""Worker that times a model in PyTorch, before and after `fuse()`."""

from __future__ import annotations

from typing import Any

import torch

from . import memory, network
from .timed import Timed, image


class Worker(Timed):
    """A fused network, and the same network before `fuse()`."""

    def load(
        self, model: str, imgsz: int, batch: int, device: str, threads: int, warmup: int, before_fuse: bool
    ) -> dict[str, Any]:
        """Build the model and warm it up; return its description and memory use."""
        memory.keep()
        where = network.cuda_device(device)
        fused = network.fused(network.build(model)).to(where)
        torch.set_num_threads(threads)  # after the import of Ultralytics, which sets it too
        memory.reset_peak()
        self._add("fused", fused, imgsz, batch, where)
        self.warm_up("fused", warmup)
        usage = self._usage(where)  # before the unfused model adds to it
        if before_fuse:
            self._add("unfused", network.build(model).to(where), imgsz, batch, where)
            self.warm_up("unfused", warmup)
        return {**usage, **network.describe(fused, imgsz)}

    def _add(self, form: str, model: Any, imgsz: int, batch: int, where: torch.device) -> None:
        channels = model.yaml.get("channels") or model.yaml.get("ch", 3)
        picture = torch.from_numpy(image((batch, channels, imgsz, imgsz))).to(where)

        def forward() -> None:
            with torch.inference_mode():
                model(picture)
            if where.type == "cuda":
                torch.cuda.synchronize(where)

        self.forwards[form] = forward

    def _usage(self, where: torch.device) -> dict[str, Any]:
        if where.type == "cpu":
            return self.usage()
        return {
            "hardware": torch.cuda.get_device_name(where),
            "memory": torch.cuda.max_memory_allocated(where),
            "held": torch.cuda.memory_reserved(where),
            "available": torch.cuda.mem_get_info(where)[0],
        }

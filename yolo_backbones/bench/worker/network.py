"""Worker that counts, exports and validates models."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.utils.torch_utils import get_flops


def build(model: str) -> nn.Module:
    """Return the network of a config or a checkpoint, in evaluation mode and single precision."""
    network: nn.Module = YOLO(model).model
    return network.float().eval().requires_grad_(False)


def fused(network: Any) -> nn.Module:
    """Fuse the network for deployment, in place, and return it."""
    return network.fuse(verbose=False)


def describe(network: nn.Module, imgsz: int) -> dict[str, Any]:
    """Return the number of parameters, and GFLOPs for one image, None where Ultralytics cannot count them."""
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflops": get_flops(network, imgsz) or None,
    }


def cuda_device(device: str) -> torch.device:
    """Return the device of that name.

    Raises:
        ValueError: there is no such GPU.
    """
    if device == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if int(device) >= count:
        raise ValueError(f"device={device}, and torch {torch.__version__} finds {count} CUDA GPUs; take --device cpu")
    return torch.device("cuda", int(device))


class Worker:
    """The actions that are not timed."""

    def check_device(self, device: str) -> dict[str, Any]:
        """Return the device's name; raise an error where there is no such device."""
        return {"device": str(cuda_device(device))}

    def export(self, model: str, file: str, imgsz: int, batch: int, simplify: bool) -> dict[str, Any]:
        """Write the fused model's ONNX file, and describe the model."""
        yolo = YOLO(model)
        # Ultralytics writes beside this file; by default it writes beside the user's checkpoint.
        yolo.model.pt_path = str(Path(file).with_suffix(".pt"))
        yolo.export(format="onnx", imgsz=imgsz, batch=batch, simplify=simplify)
        if not Path(file).exists():
            raise ValueError(f"{model}: Ultralytics did not write {file}; try `yolo export model={model} format=onnx`")
        return describe(fused(yolo.model), imgsz)

    def validate(self, model: str, data: str, imgsz: int, device: str) -> dict[str, Any]:
        """Return the mAP50-95 of the fused model's boxes."""
        with tempfile.TemporaryDirectory() as folder:
            metrics = YOLO(model).val(
                data=data, imgsz=imgsz, device=device, plots=False, verbose=False, project=folder, name="val"
            )
        if "metrics/mAP50-95(B)" not in metrics.results_dict:
            raise ValueError(f"{model} finds no boxes, so it has no mAP; leave out --data")
        return {"map50_95": float(metrics.results_dict["metrics/mAP50-95(B)"])}

"""Trains a model in one process, and in two that Ultralytics starts itself, and writes what each has learned.

    python two_processes.py yolov8n-starnet.yaml data.yaml folder
    python two_processes.py yolov8n-starnet.yaml data.yaml folder --freeze 10
    python two_processes.py start.pt pictures.yaml folder --align

Ultralytics starts several processes for GPUs alone. Here its trainer is told that the CPU is two of them, which talk
by gloo; all else is its own: the generated file, the launcher, the loop. The one process takes the two's batches one
after the other and steps when it has both, which is the same arithmetic: each batch has its own BatchNorm statistics,
and gradients are summed.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.utils.data import Subset
from ultralytics.data.build import build_dataloader
from ultralytics.models.yolo.detect import DetectionTrainer

from yolo_backbones.align.trainer import AlignmentTrainer

BATCH, IMAGES = 2, 8
# What the two have in their batches: each its half of the images, in order.
ORDER = [0, 1, 4, 5, 2, 3, 6, 7]


class Ordered(Subset):
    """A dataset in another order."""

    def __getattr__(self, name):
        return getattr(self.dataset, name)


class OnTwo(AlignmentTrainer if "--align" in sys.argv else DetectionTrainer):
    """The trainer, told that there are two devices. It is pickled into the workers' file, being of `__main__`."""

    processes = 2

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = []
        self.frozen = []
        self.world_size = self.processes
        self.ddp = self.processes > 1 and "LOCAL_RANK" not in os.environ

    def _setup_ddp(self):
        class OnCpu(nn.parallel.DistributedDataParallel):
            def __init__(self, module, device_ids, **options):
                super().__init__(module, **options)

        nn.parallel.DistributedDataParallel = OnCpu
        distributed.init_process_group("gloo")

    def run_callbacks(self, event):
        super().run_callbacks(event)
        if event == "on_train_start":
            self.start = {name: value.detach().clone() for name, value in unwrapped(self.model).named_parameters()}
        if event == "on_train_epoch_end":
            self.told.append(slopes(self.model))
            self.frozen.append(not next(self.model.parameters()).requires_grad)

    def get_dataloader(self, dataset_path, batch_size=16, rank=0, mode="train"):
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        if rank == -1 and mode == "train":
            assert len(dataset) == IMAGES
            dataset = Ordered(dataset, ORDER)
        return build_dataloader(dataset, batch=batch_size, workers=0, shuffle=False, rank=rank)

    def final_eval(self):
        """Write the weights; every process does."""
        rank = os.environ.get("RANK", "0")
        state = {"model": dict(unwrapped(self.model).named_parameters()), "start": self.start}
        state |= {"slopes": self.told, "frozen": self.frozen}
        if self.ema:
            state["average"] = dict(self.ema.ema.named_parameters())
        torch.save(state, Path(self.args.project) / f"{self.args.name}{rank}.pt")


class OnOne(OnTwo):
    processes = 0


def unwrapped(model):
    """Return the model inside of DistributedDataParallel."""
    return getattr(model, "module", model)


def slopes(model):
    """Return the slopes of VanillaNet's activations, which are no parameters."""
    return sorted({float(module.slope) for module in model.modules() if hasattr(module, "slope")})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--align", action="store_true", help="the trainer is that of alignment")
    parser.add_argument("--freeze", type=int, help="the first rows, which are frozen")
    args = parser.parse_args()
    still = dict.fromkeys(("mosaic", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "erasing"), 0)
    for count, kind in ((1, OnOne), (2, OnTwo)):
        options = {
            "model": args.model, "data": args.data, "epochs": 3, "imgsz": 64, "batch": count * BATCH,
            "nbs": 2 * BATCH, "optimizer": "SGD", "warmup_epochs": 0, "seed": 0, "val": False, "plots": False,
            "amp": False, "device": "cpu", "project": str(args.folder.resolve()), "name": f"of{count}-",
            "exist_ok": True, "freeze": args.freeze, **still,
        }  # fmt: skip
        torch.manual_seed(0)
        trainer = kind(overrides=options)
        if not args.align:  # a checkpoint has them
            trainer.model = trainer.get_model(args.model)  # both begin with the same weights
        trainer.train()


if __name__ == "__main__":
    main()

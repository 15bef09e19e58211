"""What works in the environment that runs this: one model through its whole life, each step on the last one's result.

    python compatibility/probe.py yolov8n-starnet.yaml --data path/to/data.yaml --folder empty/folder

Prints one line of JSON: for each step "ok", or the first line of what went wrong. Steps that could not be tried are
left out. Called by releases.py, in environments with any release of Ultralytics.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

IMGSZ = 64
STOCK = "yolov8n.yaml"
STEPS = "build", "fuse", "train", "reload", "export"  # of stock, to which the others are aligned
ALIGN = "align"
# Of a merged network's boxes in pixels and scores, and of an exported one's.
TOLERANCE = 2e-2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    life = Life(args.model, args.data, args.folder.resolve())
    found: dict[str, str] = {}
    for step in steps_of(args.model):
        found[step] = attempt(getattr(life, step))
        if found[step] != "ok" and step in {"build", "train"}:
            break
    print("FOUND " + json.dumps(found), flush=True)
    os._exit(0)  # ONNX Runtime's threads of old releases may hang at the end


def steps_of(model: str) -> tuple[str, ...]:
    """Return what is tried of a model."""
    return STEPS if model == STOCK else (*STEPS, ALIGN)


def attempt(step: Callable[[], None]) -> str:
    """Run a step; return "ok", or the kind and first line of its error."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            step()
    except Exception as error:  # whatever a release raises is what the table tells
        first = (str(error).strip().splitlines() or [""])[0]
        return f"{type(error).__name__}: {first}"[:300]
    return "ok"


class Life:
    """One model, from its name to an exported file."""

    def __init__(self, model: str, data: str, folder: Path) -> None:
        self.name, self.data, self.folder = model, data, folder

    def build(self) -> None:
        """Build it, and run it once."""
        import torch
        from ultralytics import YOLO

        torch.manual_seed(0)
        self.image = torch.rand(1, 3, IMGSZ, IMGSZ)
        self.built = YOLO(self.name)
        self.before = self.run(self.built.model.eval())

    def fuse(self) -> None:
        """Merge it, while autograd looks on as in a user's script, and compare what it says."""
        self.built.fuse()
        self.compare(self.run(self.built.model), self.before)

    def train(self) -> None:
        """Train it by the `yolo` command."""
        options = {
            "model": self.name, "data": self.data, "epochs": 1, "imgsz": IMGSZ, "batch": 4, "workers": 0,
            "device": "cpu", "project": self.folder, "name": "run", "plots": False, "exist_ok": True,
        }  # fmt: skip
        self.call("yolo", "detect", "train", *(f"{key}={value}" for key, value in options.items()))
        self.checkpoint = self.folder / "run" / "weights" / "best.pt"
        if not self.checkpoint.is_file():
            raise FileNotFoundError("yolo train left no best.pt")

    def reload(self) -> None:
        """Open the checkpoint and predict."""
        from ultralytics import YOLO

        model = YOLO(self.checkpoint)
        self.trained = self.run(model.model.float().eval())
        if not bool(self.trained.isfinite().all()):
            raise ValueError("the trained model's output is not finite")
        model.predict(self.image, imgsz=IMGSZ, verbose=False)

    def export(self) -> None:
        """Export it to ONNX, and compare what ONNX Runtime says."""
        import onnxruntime
        import torch
        from ultralytics import YOLO

        file = YOLO(self.checkpoint).export(format="onnx", imgsz=IMGSZ, simplify=False)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {session.get_inputs()[0].name: self.image.numpy()})
        self.compare(torch.from_numpy(output), self.trained)

    def align(self) -> None:
        """Align it to an untrained stock detector by the command, and open what comes out."""
        import torch
        from ultralytics import YOLO

        teacher, file = self.folder / "teacher.pt", self.folder / "aligned.pt"
        torch.manual_seed(0)
        torch.save({"model": YOLO(STOCK).model, "train_args": {}}, teacher)
        self.call(
            "yolo-backbones", "align", self.name, "--teacher", str(teacher), "--images", self.data, "--adapters",
            "--epochs", "1", "-o", str(file), f"imgsz={IMGSZ}", "batch=4", "workers=0", "device=cpu",
        )  # fmt: skip
        if not bool(self.run(YOLO(file).model.float().eval()).isfinite().all()):
            raise ValueError("the aligned model's output is not finite")

    def call(self, program: str, *arguments: object) -> None:
        """Run a command of this environment; its last line is the error."""
        command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=900)
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise RuntimeError(said[-1] if said else f"{program} returned {done.returncode}")

    def run(self, model):
        """Return the model's first output for the image."""
        import torch

        with torch.no_grad():
            found = model(self.image)
        return (found[0] if isinstance(found, (list, tuple)) else found).clone()

    @staticmethod
    def compare(ours, reference) -> None:
        """Refuse an output that is far from the reference's."""
        apart = float((ours.float() - reference.float()).abs().max())
        if apart > TOLERANCE:
            raise ValueError(f"the output changed by {apart:.2g}")


if __name__ == "__main__":
    main()

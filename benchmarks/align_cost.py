"""What a step of alignment costs against a step of training, a picture.

    python benchmarks/align_cost.py
    python benchmarks/align_cost.py --device 0 --imgsz 640 --amp

Both steps are those of Ultralytics' trainer without its loader: forward, loss, backward, gradients clipped, optimizer.
Alignment runs the teacher's backbone as well, and neither neck nor head. Ratios are medians, with quartiles, of a step
of alignment over a step of training of the same model in the same round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from measure import MODELS, device_of, folder, hardware, race, ratios, shown, spread, write_csv
from torch import nn
from training import detector, random_batch

from yolo_backbones.align import junction
from yolo_backbones.align.distance import Moments
from yolo_backbones.align.trainer import AlignmentLoss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="the first is the teacher")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    parser.add_argument("--amp", action="store_true", help="in mixed precision, as Ultralytics trains on a GPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder; results/ by default, runs/benchmarks/ with other options")
    args = parser.parse_args()
    device, out = device_of(args.device), folder(parser, args)
    torch.manual_seed(0)

    batch = random_batch(args.imgsz, args.batch, device)
    teacher = detector(args.models[0]).to(device).eval().requires_grad_(False)
    print(f"{hardware(device)}, {args.imgsz} px, batch {args.batch}, a picture")
    print(f"{'model':20} {'training ms':>12} {'aligning ms':>12} {'ratio':>18}")
    rows = []
    for name in args.models[1:]:
        calls = {
            "training": step(detector(name).to(device), batch, args.amp),
            "aligning": step(aligned(detector(name).to(device), teacher, batch["img"]), batch, args.amp),
        }
        times = race(calls, args.repeats, device)
        each = {call: spread(times[call]).median / args.batch * 1e3 for call in calls}
        row: dict[str, object] = {
            "model": Path(name).stem, "training_ms": round(each["training"], 3),
            "aligning_ms": round(each["aligning"], 3), **ratios(times, "aligning", "training").columns("ratio"),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{row['model']:20} {each['training']:12.2f} {each['aligning']:12.2f} {shown(row, 'ratio'):>18}", flush=True
        )
    write_csv(out / f"align_cost-{device.type}.csv", rows, hardware(device))


def aligned(student: nn.Module, teacher: nn.Module, image: torch.Tensor) -> nn.Module:
    """Return a student with the loss of alignment, and what it shares with its teacher frozen, as its trainer does."""
    where = junction.find(student, teacher)
    for row, _ in where.shared:
        student.model[row].requires_grad_(False).eval()
    moments = Moments()
    moments.add(junction.maps(teacher, image, where.teacher_maps))
    deviations = [deviation.to(image.device) for deviation in moments.deviations()]
    student.loss = AlignmentLoss(student, teacher, where, deviations, len(image), list)
    return student


def step(model: nn.Module, batch: dict[str, torch.Tensor], amp: bool) -> Callable[[], None]:
    """Return a step of a model, to be called as often as one likes."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)

    def run() -> None:
        with torch.autocast(batch["img"].device.type, enabled=amp):
            loss, _ = model(dict(batch))
        loss.sum().backward()
        nn.utils.clip_grad_norm_(learned, 10.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


if __name__ == "__main__":
    main()

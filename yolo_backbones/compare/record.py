"""A run's record, and where a comparison's files lie.

A comparison's folder:

    plan.json                      what is compared, written before the first run
    runs/yolov8n-starnet-seed0/    Ultralytics' own folder of that training: args.yaml, results.csv, weights/
    runs/yolov8n-starnet-seed0/record.json
    runs/yolov8n-starnet-seed0.log what the process printed
    latency.json                   the bench's rows, where latency was asked for
    report.md, compare.csv, ...    written anew after each finished run
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from ..leftovers import write_text

PLAN, RECORD, RUNS, LATENCY = "plan.json", "record.json", "runs", "latency.json"

WAITING, RUNNING, FINISHED, FAILED = "waiting", "running", "finished", "failed"


@dataclass
class Record:
    """One model trained with one seed. None and "" stand for what is not known yet.

    Attributes:
        model: its name in the comparison, unique there.
        seed: seed of the training.
        state: `waiting`, `running`, `finished` or `failed`.
        task: Ultralytics' name of the task, as `detect`.
        epochs: epochs that are done.
        attempts: how often a process was started for it.
        resumed: the epochs (done before) at which a later attempt went on.
        seconds: training time of all attempts, validation of each epoch included.
        memory: highest memory in MiB: of a GPU's reserved by torch, on the CPU the process's resident.
        device: name of the GPU or processor.
        parameters: of the trained model, as it is trained; likewise GFLOPs at the images' size.
        parameters_fused: of the merged model, as it is deployed; likewise GFLOPs.
        metrics: Ultralytics' metrics of the best epoch's weights on the validation split, as `metrics/mAP50-95(B)`.
        classes: AP50-95 of each class that the validation split has; empty for tasks without.
        images: number of images that it was validated on.
        error: the last words of one that failed.
    """

    model: str
    seed: int
    state: str = WAITING
    task: str = ""
    epochs: int = 0
    attempts: int = 0
    resumed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    memory: float | None = None
    device: str = ""
    parameters: int | None = None
    gflops: float | None = None
    parameters_fused: int | None = None
    gflops_fused: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    images: int | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.model}-seed{self.seed}"

    def write(self, folder: Path) -> None:
        """Write it into the comparison's folder, whole or not at all."""
        file = folder / RUNS / self.name / RECORD
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path, model: str, seed: int) -> Record:
        """Return the run's record; a new one where none was written.

        Raises:
            ValueError: the file holds no record.
        """
        record = cls(model, seed)
        file = folder / RUNS / record.name / RECORD
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return record
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no record of a run ({error}); remove it") from None


def curves(folder: Path, record: Record) -> Path:
    """Return where Ultralytics writes that run's metrics, a row an epoch."""
    return folder / RUNS / record.name / "results.csv"

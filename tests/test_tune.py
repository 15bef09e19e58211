"""The search for hyperparameters, by Ultralytics' own evolution and on a local cluster of Ray."""

import csv

import pytest
from ultralytics import YOLO

pytestmark = pytest.mark.slow
# Its slope runs through a schedule, which begins anew in each trial.
TUNE = """
import sys
from ultralytics import YOLO
data, folder, ray = sys.argv[1:]
model = YOLO("yolov8n-vanillanet.yaml")
space = {"lr0": (1e-3, 1e-2)}
if ray == "ray":
    from ray import tune
    space = {"lr0": tune.uniform(1e-3, 1e-2)}
found = model.tune(
    data=data, use_ray=ray == "ray", space=space, iterations=2, epochs=3, imgsz=64, batch=4, workers=0, device="cpu",
    plots=False, optimizer="SGD", project=folder, name="tuned",
)
assert ray != "ray" or found.num_errors == 0, found.errors
"""


@pytest.mark.parametrize("way", ["plain", "ray"])
def test_every_trial_trains_as_a_training_does(way, few_shapes, tmp_path, run_cli):
    if way == "ray":
        pytest.importorskip("ray", reason='Ray is an extra: pip install "yolo-backbones[ray]"')
    folder = tmp_path / "runs"
    script = tmp_path / "search.py"
    script.write_text(TUNE)
    # Ray writes a token into the home folder.
    run_cli(["python", script, few_shapes, folder, way], env={"HOME": str(tmp_path)})
    trainings = [file.parent for file in folder.rglob("results.csv")]
    kept = {"plain": 1, "ray": 2}  # Ultralytics' own search removes all but the last and the best
    assert len(trainings) == kept[way]
    for training in trainings:
        with open(training / "results.csv", newline="") as lines:
            slopes = [float(row[key]) for row in csv.DictReader(lines) for key in row if key and "slope" in key]
        assert slopes == [0, 1, 1]
    best = next(folder.rglob("best.pt"))
    assert type(YOLO(best).model.model[0]).__name__ == "VanillaStem"

"""What a user does, for each family: train, resume, validate, predict, export; by the command line and from Python.

No process here imports yolo_backbones: the package is installed, and that has to be enough.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import randomise_batch_norm
from ultralytics import YOLO

from yolo_backbones import configs

FAMILIES = sorted({path.stem for path in configs.models().values()})
QUICK = {"imgsz": 64, "batch": 2, "workers": 0, "plots": False, "device": "cpu", "seed": 0}


def name(family: str) -> str:
    return family.replace("yolov8", "yolov8n") + ".yaml"


def flags(**options) -> list[str]:
    return [f"{key}={value}" for key, value in (QUICK | options).items()]


@pytest.fixture(scope="session")
def picture(coco8) -> Path:
    data = yaml.safe_load(coco8.read_text())
    root = Path(data.get("path") or coco8.parent)
    root = root if root.is_absolute() else coco8.parent / root
    if not (root / data["val"]).is_dir():  # drawn or downloaded when it is first asked for
        from ultralytics.data.utils import check_det_dataset

        return sorted(Path(check_det_dataset(str(coco8))["val"]).glob("*.jpg"))[0]
    return sorted((root / data["val"]).glob("*.jpg"))[0]


def interrupted(family: str, coco8: Path, folder: Path) -> Path:
    """The last.pt of a training that ended after the first of two epochs, as by Ctrl-C."""

    class Interrupt(Exception):
        pass

    def interrupt(trainer) -> None:
        raise Interrupt

    model = YOLO(name(family))
    model.add_callback("on_model_save", interrupt)
    with pytest.raises(Interrupt):
        model.train(data=str(coco8), epochs=2, project=str(folder), name="interrupted", **QUICK)
    return folder / "interrupted" / "weights" / "last.pt"


def epochs(folder: Path) -> list[int]:
    with open(folder / "results.csv", newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("family", FAMILIES)
def test_by_the_command_line(family, coco8, picture, run_cli, tmp_path):
    yolo = lambda mode, *args: run_cli(["yolo", mode, *args], cwd=tmp_path)  # noqa: E731
    yolo("train", f"model={name(family)}", f"data={coco8}", *flags(epochs=1, project=tmp_path, name="train"))
    best = tmp_path / "train" / "weights" / "best.pt"
    assert epochs(tmp_path / "train") == [1]

    # Each in a fresh process, from the checkpoint alone.
    yolo("val", f"model={best}", f"data={coco8}", *flags(project=tmp_path, name="val"))
    yolo("predict", f"model={best}", f"source={picture}", "imgsz=64", f"project={tmp_path}", "name=predict")
    assert list((tmp_path / "predict").glob("*.jpg"))

    last = interrupted(family, coco8, tmp_path)
    yolo("train", "resume", f"model={last}", "device=cpu")
    assert epochs(tmp_path / "interrupted") == [1, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_from_python(family, coco8, picture, run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = YOLO(name(family))
    initial = {key: value.clone() for key, value in model.model.state_dict().items()}
    model.train(data=str(coco8), epochs=1, project=str(tmp_path), name="train", **QUICK)
    best = tmp_path / "train" / "weights" / "best.pt"

    reloaded = YOLO(best)
    trained = reloaded.model.state_dict()
    rows = {key.split(".")[1] for key in initial if not torch.equal(initial[key], trained[key].to(initial[key]))}
    assert {"0", "4", "6", "8", "9", "22"} <= rows  # backbone, SPPF and head have learned

    assert reloaded.val(data=str(coco8), project=str(tmp_path), name="val", **QUICK).box.map >= 0
    boxes = reloaded.predict(picture, imgsz=64, conf=0.0001, verbose=False)[0].boxes
    code = (
        "import numpy as np; from ultralytics import YOLO;"
        f"np.save('boxes.npy', YOLO({str(best)!r}).predict({str(picture)!r}, imgsz=64, conf=0.0001)[0].boxes.data)"
    )
    run_cli(["python", "-c", code], cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "boxes.npy"), boxes.data.numpy(), rtol=1e-4, atol=1e-3)

    last = interrupted(family, coco8, tmp_path)
    YOLO(last).train(resume=True, device="cpu")
    assert epochs(tmp_path / "interrupted") == [1, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_stocks_weights_carry_over_and_the_backbone_freezes(family, coco8, tmp_path):
    YOLO("yolov8n.yaml").save(tmp_path / "stock.pt")
    stock = YOLO(tmp_path / "stock.pt").model.state_dict()
    before = {}

    def remember(trainer) -> None:
        before.update({key: value.clone() for key, value in trainer.model.named_parameters()})

    model = YOLO(name(family))
    model.add_callback("on_train_start", remember)
    options = {"pretrained": str(tmp_path / "stock.pt"), "freeze": 10, "val": False, "project": str(tmp_path)}
    # As many classes as stock has: the last layer's channels depend on it.
    data = yaml.safe_load(coco8.read_text())
    same_classes = len(data["names"]) == 80
    model.train(data=str(coco8), epochs=1, **options, **QUICK)
    row = lambda key: int(key.split(".")[1])  # noqa: E731
    outside = [key for key in before if row(key) >= 9 and (same_classes or ".cv3." not in key)]
    assert [key for key in outside if not torch.equal(before[key], stock[key])] == []
    after = dict(model.trainer.model.named_parameters())
    assert {row(key) for key in after if not torch.equal(before[key], after[key])} >= {12, 15, 18, 21, 22}
    assert [key for key in after if row(key) < 10 and not torch.equal(before[key], after[key])] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_exports_equal_pytorch(family, tmp_path):
    torch.manual_seed(0)
    model = YOLO(name(family))
    randomise_batch_norm(model.model)
    model.save(tmp_path / "model.pt")
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = YOLO(tmp_path / "model.pt").model.eval()(image)[0].numpy()

    script = torch.jit.load(YOLO(tmp_path / "model.pt").export(format="torchscript", imgsz=(64, 96)))
    onnxruntime = pytest.importorskip("onnxruntime", reason="comes with the export extra")
    session = onnxruntime.InferenceSession(YOLO(tmp_path / "model.pt").export(format="onnx", imgsz=(64, 96)))
    with torch.no_grad():
        outputs = {
            "torchscript": script(image),
            "onnx": session.run(None, {session.get_inputs()[0].name: image.numpy()}),
        }
    for form, output in outputs.items():
        output = np.asarray(output[0] if isinstance(output, (list, tuple)) else output)
        assert np.abs(output - expected).max() < 1e-3 * np.abs(expected).max(), form

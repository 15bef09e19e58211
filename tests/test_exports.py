"""Exported models against PyTorch on two photographs: raw tensors, and boxes after NMS.

docs/export.md tells what came out, and which formats are not tried. Where a format's packages are missing, its tests
are skipped; with `--exports`, as `make exports` runs them, they fail.
"""

import copy
import functools
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, randomise_batch_norm, script
from torch import nn
from torchvision.ops import box_iou
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import LetterBox
from ultralytics.engine.results import Boxes
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import ASSETS

from yolo_backbones import configs
from yolo_backbones.families import families

FAMILIES = sorted({path.stem.replace("yolov8", "yolov8n") for path in configs.models().values()})
SIDE = 160
CONF, IOU = 0.25, 0.7  # of NMS; Ultralytics' own
NAMES = ["person", "bus", "tie"]
# Ultralytics' two photographs, and what stands on them: [class, left, top, right, bottom] in pixels, by eye.
PHOTOS: dict[str, list[tuple[int, int, int, int, int]]] = {
    "bus.jpg": [(1, 17, 231, 805, 742), (0, 49, 398, 245, 903), (0, 670, 392, 810, 878), (0, 221, 405, 345, 857)],
    "zidane.jpg": [(0, 123, 198, 1111, 711), (0, 748, 41, 1147, 711), (2, 438, 437, 525, 717)],
}


@dataclass(frozen=True, eq=False)
class Form:
    """A way to export, and how near to PyTorch it has to come.

    Attributes:
        format: as `export` calls it.
        packages: modules that are imported for it.
        raw: of a box's coordinates, over the image's side, and of a score: the largest difference in any anchor. None
            where there are no raw tensors, or where a few of the thousands may be far off.
        score: of a box after NMS: the largest difference of its score.
        overlap: of a box after NMS: the least IoU with its counterpart.
        options: of `export`.
    """

    format: str
    packages: tuple[str, ...] = ()
    raw: float | None = 1e-3
    score: float = 1e-3
    overlap: float = 0.99
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.format, *self.options])


ONNX = "onnx", "onnxslim", "onnxruntime"
# By itself, OpenVINO computes in bfloat16 where the processor can. Raw tensors are compared in float32.
BFLOAT16 = {"score": 0.15, "overlap": 0.9}
# Half precision has 11 bits, bfloat16 8, integers 8.
HALF = {"raw": 0.01, "score": 0.01, "overlap": 0.95}
HALF_WEIGHTS = {"raw": 0.1, "score": 0.1, "overlap": 0.9}
INT8 = {"raw": None, "score": 0.2, "overlap": 0.7}
INT8_HEAD = {**INT8, "score": 0.5}  # LiteRT's: the head too, which OpenVINO's leaves alone
# MNN's converter would install aliyun by itself.
MNN = *ONNX, "MNN", "aliyun"
ONNX_HALF = Form("onnx", ONNX, **HALF, options={"half": True})
FORMS = [
    Form("torchscript"),
    Form("torchscript", raw=None, options={"nms": True}),
    Form("onnx", ONNX),
    Form("onnx", ONNX, options={"dynamic": True}),
    Form("onnx", ONNX, raw=None, options={"nms": True}),
    ONNX_HALF,
    Form("openvino", ("openvino",), **BFLOAT16),
    Form("openvino", ("openvino",), **BFLOAT16, options={"dynamic": True}),
    Form("openvino", ("openvino",), raw=0.05, **BFLOAT16, options={"half": True}),
    Form("openvino", ("openvino", "nncf"), **INT8, options={"int8": True}),
    Form("ncnn", ("ncnn", "pnnx")),
    Form("ncnn", ("ncnn", "pnnx"), **HALF_WEIGHTS, options={"half": True}),
    Form("mnn", MNN),
    Form("mnn", MNN, **HALF_WEIGHTS, options={"half": True}),
    Form("executorch", ("executorch",)),
    Form("litert", ("litert_torch", "ai_edge_litert")),
    Form("litert", ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"), **INT8_HEAD, options={"int8": True}),
]
COREML = [Form("coreml", ("coremltools",), options=options) for options in ({}, {"half": True}, {"nms": True})]
DYNAMIC = [form for form in FORMS if form.options.get("dynamic")]


def of_families(*parameters: Any) -> list[Any]:
    """Every family with every parameter; a family's in one worker, which trains it once."""
    return [
        pytest.param(family, *([value] if parameters else []), id=f"{family}-{value}".removesuffix("-"),
                     marks=pytest.mark.xdist_group(f"exports-{family}"))
        for family in FAMILIES
        for value in (parameters or ("",))
    ]  # fmt: skip


def photo(name: str, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    """(1, 3, height, width), as Ultralytics hands a picture to a model."""
    picture = LetterBox((height, width))(image=cv2.imread(str(ASSETS / name)))
    return torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())[None].float() / 255


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `data.yaml` of the two photographs, by which int8 is calibrated."""
    folder = tmp_path_factory.mktemp("photographs")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for name in PHOTOS:
        (folder / "images" / name).write_bytes((ASSETS / name).read_bytes())
        (folder / "labels" / name).with_suffix(".txt").write_text("")
    config = {"path": str(folder), "train": "images", "val": "images", "names": dict(enumerate(NAMES))}
    (folder / "data.yaml").write_text(yaml.safe_dump(config))
    return folder / "data.yaml"


def batch() -> dict[str, torch.Tensor]:
    """Both photographs, their mirror images and darker copies of all, and the boxes, as the loss takes them.

    SKNet normalises what it squeezes a whole image to: of two images alone the variance is next to nothing, and the
    weights that BatchNorm is merged into magnify the rounding to integers.
    """
    rows = []
    for i, (name, boxes) in enumerate(PHOTOS.items()):
        height, width = cv2.imread(str(ASSETS / name)).shape[:2]
        side = max(height, width)  # letterboxed: centred in a square
        left, top = (side - width) / 2, (side - height) / 2
        for cls, x1, y1, x2, y2 in boxes:
            place = ((x1 + x2) / 2 + left, (y1 + y2) / 2 + top, x2 - x1, y2 - y1)
            rows.append([i, cls, *(value / side for value in place)])
    rows = torch.tensor(rows)
    mirrored = rows * torch.tensor([1, 1, -1, 1, 1, 1]) + torch.tensor([len(PHOTOS), 0, 1, 0, 0, 0])
    rows = torch.cat([rows, mirrored])
    darker = rows + torch.tensor([2 * len(PHOTOS), 0, 0, 0, 0, 0])
    rows = torch.cat([rows, darker])
    images = torch.cat([photo(name) for name in PHOTOS])
    images = torch.cat([images, images.flip(3)])
    images = torch.cat([images, images / 2])
    return {"img": images, "batch_idx": rows[:, 0], "cls": rows[:, 1:2], "bboxes": rows[:, 2:]}


def fit(name: str, file: Path, steps: int = 80) -> None:
    """Trains a model on the two photographs until it detects what stands on them, and saves it."""
    torch.manual_seed(0)
    yolo = YOLO(f"{name}.yaml")
    config = {**yolo.model.yaml, "nc": len(NAMES)}
    yolo.model = type(yolo.model)(config, verbose=False)
    model, data = yolo.model.train(), batch()
    model.args, model.names = get_cfg(), dict(enumerate(NAMES))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        model(data)[0].sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
        schedule.step()
    # The running statistics lag behind so few steps: take those of the finished weights.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model(data["img"])
    model.eval()
    yolo.save(file)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`fitted(name)` is a checkpoint that detects what stands on the photographs."""

    @functools.cache
    def get(name: str) -> Path:
        file = tmp_path_factory.mktemp("fitted") / f"{name}.pt"
        fit(name, file)
        for picture, boxes in zip(PHOTOS, boxes_of(file)):
            assert {0} <= set(boxes.cls.int().tolist()) and len(boxes) >= 2, f"{name} does not know {picture}"
        return file

    return get


@pytest.fixture(scope="session")
def exported(
    request: pytest.FixtureRequest,
    fitted: Callable[[str], Path],
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Form], Path]:
    """`exported(name, form)` is the file that the fitted model was exported to."""

    @functools.cache
    def get(name: str, form: Form) -> Path:
        need(request, *form.packages)
        checkpoint = tmp_path_factory.mktemp("exported") / f"{name}.pt"  # the export is written beside it
        checkpoint.write_bytes(fitted(name).read_bytes())
        data = {"data": str(photographs)} if "int8" in form.options else {}
        return Path(YOLO(checkpoint).export(format=form.format, imgsz=SIDE, verbose=False, **form.options, **data))

    return get


def need(request: pytest.FixtureRequest, *packages: str) -> None:
    """Skips the test where packages are missing; fails it with `--exports`."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        stop = pytest.fail if request.config.getoption("exports") else pytest.skip
        stop(f"{', '.join(missing)} not installed; `make exports` installs what every format needs")


def raw(file: Path, image: torch.Tensor) -> np.ndarray:
    """What a model or an exported file says of an image before NMS, (B, 4 + classes, anchors)."""
    if file.suffix == ".pt":  # as it was trained: neither merged nor fused
        with torch.no_grad():
            return YOLO(file).model.eval()(image)[0].numpy()
    if file.name.endswith("_openvino_model"):
        import openvino

        xml = next(file.glob("*.xml"))
        network = openvino.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return network(image.numpy())[0]
    outputs = AutoBackend(str(file))(image)
    return np.asarray(outputs[0] if isinstance(outputs, (list, tuple)) else outputs)


def difference(ours: np.ndarray, reference: np.ndarray) -> float:
    """The largest of the boxes' differences, over the image's side, and of the scores'."""
    assert ours.shape == reference.shape
    apart = np.abs(ours - reference)
    return float(max(apart[:, :4].max() / SIDE, apart[:, 4:].max()))


def detect(file: Path, **options: Any) -> Iterator[Boxes]:
    """What `yolo predict` finds on each photograph."""
    model = YOLO(file, task="detect")
    for name in PHOTOS:
        options = {"imgsz": SIDE, "rect": False, "conf": CONF, "iou": IOU, "verbose": False} | options
        yield model.predict(ASSETS / name, **options)[0].boxes


@functools.cache
def boxes_of(checkpoint: Path) -> tuple[Boxes, ...]:
    """What PyTorch finds, once for all formats."""
    return tuple(detect(checkpoint))


def assert_same_boxes(ours: Boxes, reference: Boxes, score: float, overlap: float) -> None:
    """Each box of either has one of its class, place and score among the other's.

    But where rounding may decide: by the threshold of the score, and by that of the overlap at which NMS drops a box.
    """
    for some, others in ((ours, reference), (reference, ours)):
        shared = box_iou(some.xyxy, others.xyxy)
        for box, iou in zip(some, shared):
            same_class = others.cls == box.cls
            same = same_class & (iou >= overlap) & ((others.conf - box.conf).abs() <= score)
            dropped = same_class & ((iou - IOU).abs() <= 1 - overlap) & (others.conf >= box.conf - score)
            if box.conf > CONF + score and not dropped.any():
                assert same.any(), f"{box.data} is not in {others.data}"


@pytest.mark.parametrize(("family", "form"), of_families(*FORMS))
def test_equals_pytorch(family, form, fitted, exported):
    checkpoint, file = fitted(family), exported(family, form)
    if form.raw is not None:
        for name in PHOTOS:
            apart = difference(raw(file, photo(name)), raw(checkpoint, photo(name)))
            assert apart <= form.raw
    for ours, reference in zip(detect(file), boxes_of(checkpoint)):
        assert_same_boxes(ours, reference, form.score, form.overlap)


@pytest.mark.parametrize(("family", "form"), of_families(*DYNAMIC))
def test_dynamic_takes_other_sizes_and_batches(family, form, fitted, exported):
    images = torch.cat([photo(name, 96, 192) for name in PHOTOS])
    apart = difference(raw(exported(family, form), images), raw(fitted(family), images))
    assert apart <= form.raw


@pytest.mark.parametrize(("family", "form"), of_families(*COREML))
def test_converts_to_coreml(family, form, exported):
    """Only macOS runs the result, so what it says of itself is read."""
    file = exported(family, form)
    import coremltools

    spec = coremltools.models.MLModel(str(file), skip_model_load=True).get_spec()
    assert [given.name for given in spec.description.input if given.type.HasField("imageType")] == ["image"]
    outputs = {output.name for output in spec.description.output}
    assert outputs == {"confidence", "coordinates"} if form.options.get("nms") else len(outputs) == 1


@pytest.mark.parametrize("family", of_families())
@pytest.mark.parametrize("merged", [False, True], ids=["unmerged", "merged"])
def test_half_precision_stands_activations_scaled_tenfold(family, merged, fitted):
    """Each row of the backbone gets ten times what it gets on a photograph.

    Ten times the image alone would not do: a clipping activation or an attention in front hides it from later rows.
    """
    model = YOLO(fitted(family)).model.eval()
    if merged:
        model.fuse(verbose=False)
    x = photo("bus.jpg")
    with torch.no_grad():
        for row in model.model[:10]:
            expected = row(10 * x)
            y = copy.deepcopy(row).half()((10 * x).half()).float()
            assert y.isfinite().all(), row
            assert (y - expected).norm() <= 0.01 * expected.norm(), row
            x = row(x)


@pytest.mark.parametrize("family", of_families())
def test_half_precision_in_onnx_stands_an_image_scaled_tenfold(family, fitted, exported):
    for name in PHOTOS:
        image = 10 * photo(name)
        ours, expected = raw(exported(family, ONNX_HALF), image), raw(fitted(family), image)
        assert np.isfinite(ours).all()
        assert np.linalg.norm(ours - expected) <= 0.02 * np.linalg.norm(expected)


# Bases and tasks besides YOLOv8's detector, and backbones besides the families.
OTHERS = [
    "yolov8n-starnet-seg",
    "yolov8n-fasternet-pose",
    "yolov8n-vanillanet-obb",
    "yolov8n-skconv-cls",
    "yolo11n-fasternet",
    "yolo26n-vanillanet-seg",
    "yolov8n-resnet18",
    "yolov8n-starnet_s050",
]


@pytest.mark.parametrize("name", OTHERS)
def test_others_equal_pytorch_in_onnx(name, request, tmp_path):
    """Raw tensors, since random weights detect nothing."""
    need(request, *ONNX)
    torch.manual_seed(0)
    yolo = YOLO(f"{name}.yaml")
    randomise_batch_norm(yolo.model)
    yolo.save(tmp_path / "model.pt")
    file = YOLO(tmp_path / "model.pt").export(format="onnx", imgsz=SIDE, verbose=False)
    with torch.no_grad():
        expected = AutoBackend(str(tmp_path / "model.pt"))(photo("bus.jpg"))
    ours = AutoBackend(file)(photo("bus.jpg"))
    assert len(tensors(ours)) == (2 if "-seg" in name else 1) <= len(tensors(expected))
    for one, other in zip(tensors(ours), tensors(expected)):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-3 * other.abs().max()


def tensors(outputs: Any) -> list[torch.Tensor]:
    """What a model says first, and a segmentation model's prototypes; then, in PyTorch, what only the loss takes."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    first = outputs[0]
    return list(first) if isinstance(first, tuple) else [part for part in outputs if isinstance(part, torch.Tensor)]


def test_a_detector_without_nms_equals_pytorch(fitted, exported):
    name = "yolo26n-starnet"
    checkpoint, file = fitted(name), exported(name, Form("onnx", ONNX, options={"nms": False}))
    assert raw(file, photo("bus.jpg")).shape[-1] == 6  # boxes, no anchors
    for ours, reference in zip(detect(file), detect(checkpoint, nms=False)):
        assert_same_boxes(ours, reference, 1e-3, 0.99)


# Nodes that compute nothing of the network.
OVERHEAD = (
    "Cast", "ConstantOfShape", "Expand", "Gather", "Identity", "Range", "Reshape", "Shape", "Slice",
    "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


@functools.cache
def counts(name: str, dynamic: bool) -> Any:
    return script("nodes").counts(name, dynamic)


@pytest.mark.slow  # exports
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("family", of_families())
def test_the_graph_has_no_node_that_neither_stock_nor_the_definition_needs(family, dynamic, request):
    need(request, *ONNX)
    needed = families()[family.removeprefix("yolov8n-")].operators
    written, written_of_stock = counts(family, dynamic)[0], counts("yolov8n", dynamic)[0]
    for ours, stock in zip(counts(family, dynamic), counts("yolov8n", dynamic)):
        assert set(ours) - set(stock) <= needed
        spare = {op for op in OVERHEAD if op not in needed and ours[op] > stock[op]}
        # Where the graph was written without, the simplifier has folded less of the detector's own head.
        assert {op: (ours[op], stock[op]) for op in spare if written[op] > written_of_stock[op]} == {}
    simplified = counts(family, dynamic)[1]
    assert simplified["Identity"] == 0
    assert dynamic or simplified["Cast"] == 0


@pytest.mark.slow  # exports
def test_the_table_of_nodes_is_up_to_date(request):
    need(request, *ONNX)
    nodes = script("nodes")
    shown = nodes.PAGE.read_text(encoding="utf-8").split(nodes.START)[1].split(nodes.END)[0].strip()
    fixed, dynamic = ({name: counts(name, dynamic)[1] for name in nodes.MODELS} for dynamic in (False, True))
    assert shown.splitlines() == list(nodes.table(fixed, dynamic)), f"run python {ROOT.name}/benchmarks/nodes.py"

"""The seam: names that resolve, blocks that register, and Ultralytics left as it was otherwise."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
import ultralytics.nn.tasks as tasks
import yaml
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import checks

import yolo_backbones
from yolo_backbones import configs, register, registry, seam

ROOT = Path(__file__).resolve().parent.parent
STAR = configs.models()["yolov8-starnet"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str, cwd: Path, *flags: str, **env: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code)],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Names


@pytest.mark.parametrize(
    "name",
    [
        "yolov8s-starnet.yaml",
        "yolov8s-starnet.yml",
        "cfg/yolov8s-starnet.yaml",
        "./cfg/yolov8s-starnet.yaml",
        "v2m/yolov8s-starnet.yaml",
        "/no/such/place/yolov8s-starnet.yaml",
        Path("cfg/yolov8s-starnet.yaml"),
        str(STAR.with_name("yolov8s-starnet.yaml")),
    ],
)
def test_a_shipped_config_is_found_from_anywhere(name, elsewhere):
    config = yaml_model_load(name)
    assert config["scale"] == "s"
    assert config["backbone"][0][2] == "StarStem"
    assert config["yaml_file"] == str(Path(name))


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("family", configs.models())
def test_every_scale_letter_is_found(family, scale, elsewhere):
    config = yaml_model_load(family.replace("v8", f"v8{scale}") + ".yaml")
    assert config["scale"] == scale


def test_without_a_letter_the_first_scale_is_taken(elsewhere):
    assert sum(p.numel() for p in YOLO("yolov8-starnet.yaml").model.parameters()) == sum(
        p.numel() for p in YOLO("yolov8n-starnet.yaml").model.parameters()
    )


def test_sknet_is_another_name_of_skconv(elsewhere):
    assert yaml_model_load("yolov8m-sknet.yaml")["backbone"] == yaml_model_load("yolov8m-skconv.yaml")["backbone"]


@pytest.mark.parametrize("folder", [".", "cfg", "v2m", "a/yolo11x/b"])
@pytest.mark.parametrize("file", ["yolov8n-starnet.yaml", "yolov8-starnet.yaml"])
def test_a_file_on_disk_wins(folder, file, elsewhere):
    path = Path(folder, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAR.read_text().replace("nc: 80", "nc: 7"))
    assert yaml_model_load(Path(folder, "yolov8n-starnet.yaml"))["nc"] == 7
    assert yaml_model_load(Path(folder, "yolov8n-starnet.yaml"))["scale"] == "n"


def test_ultralytics_names_stay_its_own(elsewhere):
    for name in ("yolov8n.yaml", "yolov8s-ghost.yaml", "yolo11n-seg.yaml"):
        assert yaml_model_load(name) == yaml_model_load.__wrapped__(name)


def test_a_name_that_ultralytics_has_too_is_its_own(elsewhere, monkeypatch):
    monkeypatch.setattr(configs, "models", lambda: {"yolov8-ghost": STAR})
    assert yaml_model_load("yolov8n-ghost.yaml")["backbone"][0][2] != "StarStem"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("yolov8n-starnt.yaml", "yolov8n-starnet.yaml"),
        ("yolov8s-fastnet.yaml", "yolov8s-fasternet.yaml"),
        ("yolov8-vanilanet.yaml", "yolov8-vanillanet.yaml"),
        ("yolov8x-skcov.yaml", "yolov8x-skconv.yaml"),
        ("yolov8n-gost.yaml", "yolov8n-ghost.yaml"),
        ("YOLOv8n-StarNt.yaml", "yolov8n-starnet.yaml"),
    ],
)
def test_an_unknown_name_gets_the_nearest(typed, meant, elsewhere):
    with pytest.raises(FileNotFoundError, match=rf"'{typed}' does not exist; did you mean .*\b{meant}"):
        YOLO(typed)


def test_a_name_without_its_suffix_gets_it(elsewhere):
    with pytest.raises(FileNotFoundError, match=r"did you mean yolov8n-starnet\.yaml\?"):
        YOLO("yolov8n-starnet")


def test_weights_that_nobody_published_are_told_from_the_config(elsewhere):
    with pytest.raises(
        FileNotFoundError, match=r"'yolov8n-starnet\.pt' does not exist, .*yolov8n-starnet\.yaml is the"
    ):
        YOLO("yolov8n-starnet.pt")


def test_a_mistyped_data_set_gets_the_nearest(elsewhere):
    with pytest.raises(FileNotFoundError, match=r"did you mean shapes\.yaml\?"):
        checks.check_file("shape.yaml")


def test_a_name_like_none_gets_the_shipped_ones(elsewhere):
    with pytest.raises(FileNotFoundError, match=r"does not exist; shipped backbones: .*yolov8-starnet"):
        YOLO("frobnicate.yaml")


def test_shapes_is_found_from_anywhere(elsewhere):
    assert checks.check_file("shapes.yaml") == str(configs.CFG / "datasets" / "shapes.yaml")
    assert checks.check_file("cfg/datasets/shapes.yaml") == str(configs.CFG / "datasets" / "shapes.yaml")
    (elsewhere / "shapes.yaml").write_text("mine")
    assert checks.check_file("shapes.yaml") == "shapes.yaml"


def test_a_data_set_that_is_not_where_it_should_be_is_not_replaced(elsewhere):
    for missing in ("/data/mine/shapes.yaml", "mine/shapes.yaml", None):
        with pytest.raises(FileNotFoundError):
            checks.check_file(missing)


def test_an_address_is_not_taken_for_a_name(elsewhere):
    with pytest.raises(FileNotFoundError):  # Ultralytics itself opens none for a model
        yaml_model_load("http://127.0.0.1:9/yolov8n-starnet.yaml")


# Rows


def model_with(row: list, **extra) -> DetectionModel:
    config = yaml_model_load("yolov8n-starnet.yaml")
    config["backbone"][2] = row
    return DetectionModel({**config, **extra}, verbose=False)


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ([-1, 1, "StarStage", []], TypeError, r"StarStage: .* gives \[\], but it takes \[c2, mlp_ratio=4, .*missing"),
        ([-1, 1, "StarStage", [64, 4, 0, "relu6", 7, False, 9]], TypeError, r"StarStage: .* gives .*too many"),
        ([-1, 1, "StarStage", 64], TypeError, r"StarStage: the YAML row gives 64 where a list belongs: \[c2, "),
        ([-1, 1, "StarStge", [64]], ValueError, "names a block StarStge, which is unknown; did you mean StarStage"),
        ([-1, 1, "StarStage", [64, -1]], ValueError, "StarStage: mlp_ratio=-1 has to be"),
        ([-1, 1, "SKConv", [64, 1, 0]], ValueError, "SKConv: M=0 has to be"),
        ([-1, 1, "SKConv", [64, 1, 2, 5]], ValueError, "SKConv: c1=16 is not divisible by g=5"),
        ([-1, 1, "FasterStage", [64, 5]], ValueError, "FasterStage: c2=16 is not divisible by n_div=5"),
        ([-1, 1, "FasterStage", [64, 4, 2, "elephant"]], ValueError, "FasterStage: act='elephant' is no known"),
    ],
)  # fmt: skip
def test_a_mistaken_row_names_block_argument_and_rule(row, error, message, elsewhere):
    config = yaml_model_load("yolov8n-starnet.yaml")
    config["backbone"][2] = row
    Path("yolov8n-mistaken.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(error, match=message):
        YOLO("yolov8n-mistaken.yaml")


def test_rows_are_scaled_in_width_and_depth():
    stage = model_with([-1, 6, "StarStage", [64, 2]]).model[2]
    assert len(stage.blocks) == 2
    assert stage.blocks[0].f1.weight.shape == (32, 16, 1, 1)


# Blocks of the user's own


def test_own_block_is_scaled_and_repeated(scratch):
    @register(like="C2f")
    class Mine(nn.Module):
        def __init__(self, c1, c2, n=1, k=3):
            super().__init__()
            self.m = nn.Sequential(*(nn.Conv2d(c1 if i == 0 else c2, c2, k, padding=k // 2) for i in range(n)))

        def forward(self, x):
            return self.m(x)

    row = model_with([-1, 6, "Mine", [128, 5]]).model[2]
    assert type(row) is Mine
    assert [tuple(conv.weight.shape) for conv in row.m] == [(32, 16, 5, 5), (32, 32, 5, 5)]


def test_hgstem_contract_scales_nothing(scratch):
    @register(like="HGStem")
    class Fixed(nn.Module):
        def __init__(self, c1, cm, c2):
            super().__init__()
            self.m = nn.Sequential(nn.Conv2d(c1, cm, 1), nn.Conv2d(cm, c2, 1))

        def forward(self, x):
            return self.m(x)

    model = model_with([-1, 1, "Fixed", [10, 24]])
    assert model.model[2].m[1].weight.shape == (24, 10, 1, 1)
    assert model.model[3].conv.in_channels == 24


class Taken(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()


class Repeated(nn.Module):
    def __init__(self, c1, c2, n=1, k=3):
        super().__init__()


class Unrepeated(nn.Module):
    def __init__(self, c1, c2, k=3):
        super().__init__()


@pytest.mark.parametrize(
    ("cls", "like", "error", "message"),
    [
        (Taken, ["Conv"], ValueError, "no such contract"),
        (Repeated, "Conv", ValueError, r"takes \(c1, c2, n, k\); .*'C2f' for a block that takes its repeats as n"),
        (
            Unrepeated,
            "C2f",
            ValueError,
            r"will call Unrepeated\(c1, c2, n, \.\.\.\), but its __init__ takes \(c1, c2, k\)",
        ),
        (lambda c1, c2: None, "Conv", TypeError, "a block is a class derived from torch.nn.Module"),
        (nn.Conv2d(3, 3, 1), "Conv", TypeError, "a block is a class derived from torch.nn.Module"),
        (dict, "Conv", TypeError, "a block is a class derived from torch.nn.Module"),
        (Taken, "Bottleneck", ValueError, r"no such contract; choose 'Conv' for \(c1, c2, \.\.\.\), 'C2f' for"),
        (Taken, "C2f", ValueError, r"will call Taken\(c1, c2, n, \.\.\.\), but its __init__ takes \(c1, c2\)"),
        (type("C2f", (Taken,), {}), "Conv", ValueError, "Ultralytics has a C2f of its own .* rename the class"),
        (type("StarStage", (Taken,), {}), "Conv", ValueError, "the name is taken by yolo_backbones.families.starnet"),
    ],
)
def test_a_registration_that_cannot_work_says_why(cls, like, error, message, scratch):
    before = dict(registry.blocks())
    with pytest.raises(error, match=message):
        register(cls, like=like)
    assert registry.blocks() == before


def test_registering_again_is_no_clash(scratch):
    assert register(Taken, like="Conv") is Taken
    assert register(Taken, like="Conv") is Taken


def test_own_blocks_reach_child_processes(scratch, elsewhere):
    (elsewhere / "own.py").write_text(
        textwrap.dedent("""
        from torch import nn
        from yolo_backbones import register

        @register(like="Conv")
        class Own(nn.Conv2d):
            def __init__(self, c1, c2, k=1):
                super().__init__(c1, c2, k, padding=k // 2)
        """)
    )
    child = "import ultralytics.nn.tasks as t; print(t.Own(3, 4).__class__.__module__)"
    parent = f"""
    import own, subprocess, sys
    print(subprocess.check_output([sys.executable, "-c", {child!r}], cwd="/").decode())
    """
    assert run(parent, elsewhere, PYTHONPATH=f"{ROOT}{os.pathsep}{elsewhere}").split()[-1] == "own"
    assert run(child, elsewhere, YOLO_BACKBONES_BLOCKS="own.py").split()[-1] == "own"
    assert (
        run(parent.replace("own, ", "ultralytics.nn.tasks, "), elsewhere, YOLO_BACKBONES_BLOCKS="own.py").split()[-1]
        == "own"
    )


def test_own_blocks_that_are_not_there_are_named(elsewhere):
    """And stop neither the others nor the package's own."""
    (elsewhere / "own.py").write_text("print('imported')")
    (elsewhere / "sub").mkdir()  # not beside the others, where Python itself would find it
    (elsewhere / "sub" / "types.py").write_text("print('never imported: Python has a types of its own')")
    entries = os.pathsep.join(["nowhere.py", "no.where", "sub/types.py", "own.py"])
    out = run("import ultralytics.nn.tasks as t; print(t.StarStage)", elsewhere, YOLO_BACKBONES_BLOCKS=entries)
    assert "never imported" not in out
    assert "imported" in out
    assert "StarStage" in out.splitlines()[-1]
    for told in (
        "nowhere.py', which cannot be imported: there is no such file",
        "'no.where'",
        "types is loaded already",
    ):
        assert told in out


def test_a_block_of_the_script_itself_is_warned_of(elsewhere):
    (elsewhere / "script.py").write_text(
        "from torch import nn\nfrom yolo_backbones import register\n\n"
        "@register(like='Conv')\nclass Own(nn.Conv2d):\n"
        "    def __init__(self, c1, c2):\n        super().__init__(c1, c2, 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "move it into a module and import it" in done.stderr


# The seam


def test_activating_again_changes_nothing():
    before = {name: getattr(tasks, name) for name in ("yaml_model_load", "StarStage")}, tasks.BaseModel.fuse
    threads = [threading.Thread(target=seam.activate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = {name: getattr(tasks, name) for name in ("yaml_model_load", "StarStage")}, tasks.BaseModel.fuse
    assert after[0]["yaml_model_load"] is before[0]["yaml_model_load"]
    assert after[1] is before[1]
    assert not hasattr(tasks.BaseModel.fuse.__wrapped__, "__wrapped__")


def test_ultralytics_own_models_are_built_as_before():
    assert sum(p.numel() for p in DetectionModel("yolov8n.yaml", verbose=False).parameters()) == 3_157_200


def test_activation_reaches_modules_that_were_imported_before():
    """In a Python that runs without its site-packages' start-up files, where Ultralytics is imported first."""
    code = f"""
    import sys
    sys.path += {sys.path!r}
    from ultralytics import YOLO
    from ultralytics.data.utils import check_det_dataset
    import yolo_backbones
    print(type(YOLO("yolov8n-starnet.yaml").model.model[0]).__name__)
    print(check_det_dataset.__globals__["check_file"]("shapes.yaml"))
    """
    out = run(code, ROOT.parent, "-S").split()
    assert out[-2] == "StarStem"
    assert out[-1].endswith("shapes.yaml")


@pytest.mark.parametrize(
    "file",
    [
        "seam",
        "registry",
        "detectors",
        "composition",
        "weights.fit",
        "layers.conv",
        "families",
        "families.sknet",
        "backbones",
        "backbones.network",
        "backbones.timm.features",
    ],
)
def test_whichever_file_is_imported_first(file, elsewhere):
    code = f"""
    import yolo_backbones.{file}
    from ultralytics import YOLO
    print(len(YOLO("yolov8n-skconv.yaml").model.model))
    """
    assert run(code, elsewhere).split()[-1] == "23"


def test_version_is_told():
    assert yolo_backbones.__version__.count(".") == 2


@pytest.mark.parametrize("family", configs.models())
def test_restricted_loading_takes_our_classes(family, elsewhere):
    YOLO(family.replace("v8", "v8n") + ".yaml").save("ours.pt")
    code = "from ultralytics import YOLO; import torch; print(len(YOLO('ours.pt').model(torch.zeros(1, 3, 64, 64))))"
    assert run(code, elsewhere, ULTRALYTICS_SAFE_LOAD="1").split()[-1] == "2"


def test_restricted_loading_takes_own_blocks_and_what_they_are_built_from(elsewhere):
    (elsewhere / "own.py").write_text(
        textwrap.dedent("""
        from torch import nn
        from yolo_backbones import register

        @register(like="Conv")
        class Own(nn.Module):
            def __init__(self, c1, c2):
                super().__init__()
                self.inner = Inner(c1, c2, 1)

            def forward(self, x):
                return self.inner(x)

        class Inner(nn.Conv2d):
            pass
        """)
    )
    config = yaml_model_load("yolov8n-starnet.yaml")
    config["backbone"][2] = [-1, 1, "Own", [128]]
    Path("yolov8n-own.yaml").write_text(yaml.safe_dump(config))
    env = {"YOLO_BACKBONES_BLOCKS": "own.py", "ULTRALYTICS_SAFE_LOAD": "1"}
    run("from ultralytics import YOLO; YOLO('yolov8n-own.yaml').save('own.pt')", elsewhere, **env)
    code = "from ultralytics import YOLO; print(type(YOLO('own.pt').model.model[2].inner).__name__)"
    assert run(code, elsewhere, **env).split()[-1] == "Inner"


def test_a_block_from_a_module_that_is_not_loaded_stops_no_checkpoint(scratch, elsewhere):
    register(type("Gone", (Taken,), {"__module__": "gone"}), like="Conv")  # as of code that runpy ran
    YOLO("yolov8n.yaml").save("stock.pt")
    assert len(YOLO("stock.pt").model.model) == 23


def test_a_multi_gpu_worker_builds_the_model(elsewhere, coco8):
    """The file that Ultralytics starts in each worker, as it writes it, run by a fresh Python."""
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils.dist import generate_ddp_file

    options = {"model": "cfg/yolov8n-fasternet.yaml", "data": str(coco8), "imgsz": 64, "epochs": 1, "batch": 2}
    trainer = DetectionTrainer(
        overrides={**options, "workers": 0, "plots": False, "val": False, "device": "cpu", "project": str(elsewhere)}
    )
    file = Path(generate_ddp_file(trainer))
    done = subprocess.run(
        [sys.executable, file],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FasterStage" in done.stdout
    last = torch.load(next(elsewhere.rglob("last.pt")), weights_only=False)
    assert type((last["ema"] or last["model"]).model[2]).__name__ == "FasterStage"


def test_start_up_imports_nothing_heavy_that_ultralytics_does_not(elsewhere):
    """timm and torchvision.ops take seconds to import, and most processes need neither."""
    code = """
    import sys
    import ultralytics.nn.tasks
    print(*(name for name in ("timm", "torchvision", "torch._dynamo", "huggingface_hub") if name in sys.modules))
    """
    assert run(code, elsewhere) == run(code, elsewhere, YOLO_BACKBONES_DISABLE="1")


@pytest.mark.parametrize("family", ["starnet", "vanillanet", "fasternet", "skconv", "lsknet"])
def test_a_familys_model_imports_nothing_heavy(elsewhere, family):
    """timm, and the compiler that torch imports when it computes on the meta device, take 190 MB."""
    code = f"""
    import sys
    from ultralytics import YOLO
    YOLO("yolov8n-{family}.yaml")
    print([name for name in ("timm", "sympy", "torch._dynamo", "huggingface_hub") if name in sys.modules])
    """
    assert run(code, elsewhere).splitlines()[-1] == "[]"


def test_restricted_loading_takes_stochastic_depth(elsewhere):
    config = yaml_model_load("yolov8n-starnet.yaml")
    config["backbone"][2][3] = [64, 4, 0.1]
    Path("yolov8n-drop.yaml").write_text(yaml.safe_dump(config))
    YOLO("yolov8n-drop.yaml").save("drop.pt")
    code = """
    from ultralytics import YOLO
    print(*{type(m).__name__ for m in YOLO("drop.pt").model.modules()} & {"StochasticDepth"})
    """
    assert run(code, elsewhere, ULTRALYTICS_SAFE_LOAD="1").split()[-1] == "StochasticDepth"

"""Train, validate, predict and export. Only the model's name differs from plain Ultralytics."""

from ultralytics import YOLO, settings

if __name__ == "__main__":  # on Windows and macOS, each worker process imports this file again
    model = YOLO("yolov8n-starnet.yaml")  # the letter after v8 is the scale: n, s, m, l or x
    model.train(data="shapes.yaml", epochs=20, imgsz=160)  # or your own data set's YAML

    metrics = model.val()
    print(f"mAP50-95: {metrics.box.map:.3f}")

    model.predict(f"{settings['datasets_dir']}/shapes/images/val", save=True)  # or your own picture, folder or video
    model.export(format="onnx")

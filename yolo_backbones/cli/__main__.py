"""`python -m yolo_backbones.cli` is the `yolo-backbones` command."""

from . import main

main()

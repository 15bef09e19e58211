"""The backbones' building blocks, one paper a file."""

# First, whichever of the files is imported first: this activates the plugin, which imports all of them. Were it left to
# the first file that needs a layer of Ultralytics, that file would be half imported by then, and the others fail on it.
import ultralytics.nn.tasks  # noqa: F401

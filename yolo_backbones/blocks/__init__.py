"""The backbones' building blocks, one paper a file."""

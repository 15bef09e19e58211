"""What the benchmark's processes do, one module for each kind; only these import torch or a backend."""

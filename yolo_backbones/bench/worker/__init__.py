"""The benchmark's processes, one module for each kind; only these import torch or a backend."""

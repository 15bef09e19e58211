"""Every network of timm as a backbone.

Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
"""

from .backbone import TimmBackbone, find

__all__ = ["TimmBackbone", "find"]

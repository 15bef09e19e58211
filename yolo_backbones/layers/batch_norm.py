"""BatchNorms that stay as they are while the layers around them learn."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """List a network's BatchNorms."""
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def freeze_batch_norms(net: nn.Module) -> int:
    """Turn scale and shift of each BatchNorm into buffers; return how many BatchNorms there are.

    Parameters that want no gradient would not do: Ultralytics' trainer has them want one again. The layers stay what
    they are, so fusing, loading and exporting know them, and state dicts have the same names. Statistics are kept by
    evaluation mode, which is up to the caller.
    """
    found = batch_norms(net)
    for norm in found:
        for name, parameter in list(norm.named_parameters(recurse=False)):
            delattr(norm, name)
            norm.register_buffer(name, parameter.detach())
    return len(found)

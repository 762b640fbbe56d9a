"""Where PyTorch runs a model."""

from __future__ import annotations

import torch

from align_data.common.errors import InputError


def torch_device(name: str | None) -> torch.device:
    """Return the named device, by default a GPU if there is one; InputError if there is no such device."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"the device {name} cannot be used: {str(error).partition(chr(10))[0]}") from error
    return device

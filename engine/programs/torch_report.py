"""Report what torch finds here as one JSON line: `python -P -m engine.programs.torch_report`."""

from __future__ import annotations

import msgspec
import torch
import torchvision


class TorchReport(msgspec.Struct, frozen=True, kw_only=True):
    """Versions and devices."""

    torch: str
    torchvision: str
    cuda_build: str | None
    """CUDA version of the torch build; None for a CPU build."""
    gpus: tuple[str, ...]
    num_threads: int


def report() -> TorchReport:
    """Collect versions and devices from torch."""
    return TorchReport(
        torch=str(torch.__version__),
        torchvision=torchvision.__version__,
        cuda_build=torch.version.cuda,
        gpus=tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))),
        num_threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    print(msgspec.json.encode(report()).decode())

"""Download the published files of a dataset: `python -P -m engine.programs.fetch NAME FOLDER`.

A separate process because torchvision, which provides the URLs and checksums, imports torch. On failure the last line
of stderr gives the reason.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

SILENCE_SECONDS = 20.0
"""Timeout for connecting and for each read."""


def fetch(name: str, folder: Path) -> None:
    """Download a dataset's published files into a folder and verify their checksums.

    Raises:
        OSError: the server is unreachable.
        RuntimeError: a file differs from what torchvision expects.
    """
    from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST
    from torchvision.datasets.utils import download_url

    if name == "fashion-mnist":
        (mirror,) = FashionMNIST.mirrors
        for file_name, md5 in FashionMNIST.resources:
            download_url(mirror + file_name, folder, filename=file_name, md5=md5)
        return
    cifar = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    download_url(cifar.url, folder, filename=cifar.filename, md5=cifar.tgz_md5)


def main() -> int:
    """Entry point: exit status 0 with the files in the folder, or 1."""
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        fetch(sys.argv[1], Path(sys.argv[2]))
    except (OSError, RuntimeError) as error:
        print(f"\n{getattr(error, 'reason', error)}".replace("\r", " "), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

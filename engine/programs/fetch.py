"""Downloads the published files of a dataset: `python -P -m engine.programs.fetch NAME FOLDER`.

A process of its own because torchvision, which knows the servers and checksums, brings torch with it. The last line of
standard error says why it failed.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

SILENCE_SECONDS = 20.0
"""How long a server may say nothing, connecting included."""


def fetch(name: str, folder: Path) -> None:
    """Put the published files of one dataset into a folder, with their checksums checked.

    Raises:
        OSError: no server can be reached.
        RuntimeError: what came is not what torchvision expects.
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

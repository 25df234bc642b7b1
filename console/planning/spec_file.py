"""Runs as a file from which `depthscope train --from` trains them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from console.text.formatting import clean
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.base.version import VERSION
from engine.control.protocol import NewRun
from engine.data import datasets
from engine.spec.devices import check_device, find_devices
from engine.spec.run import RunSpec, check_fits_data

SPEC_LIST_FORMAT = 1
SPEC_LIST_NAME = "spec.json"
"""Within a report."""
MOST_BYTES = 8 << 20
"""Longer files are refused; a thousand runs fit in a tenth of it."""


class ListedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run of the list."""

    name: str
    spec: RunSpec
    data_sha256: str | None = None
    """Of the images that it was trained on; None where that is not known."""


class SpecList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of a report's spec.json."""

    format: int = SPEC_LIST_FORMAT
    depthscope: str = VERSION
    """The version that wrote it."""
    experiment: str
    """What it was called where it was trained; training it again makes an experiment of another name."""
    runs: tuple[ListedRun, ...]


def encode_spec_list(specs: SpecList) -> bytes:
    """The file, indented, for people to read and to compare."""
    return msgspec.json.format(msgspec.json.encode(specs), indent=2) + b"\n"


def read_spec_list(path: Path) -> SpecList:
    """The runs of a file, or of the spec.json of a report's directory.

    Raises:
        UsageError: it cannot be read, or holds no list of run specifications; the text says where and why.
    """
    if path.is_dir():
        path /= SPEC_LIST_NAME
        if not path.exists():
            raise UsageError(f"{clean(str(path.parent))} is a directory without {SPEC_LIST_NAME}: name a report's")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{clean(str(path))} cannot be read: {error.strerror}") from error
    wanted = f"{clean(str(path))} is no list of runs such as a report's spec.json"
    if len(content) > MOST_BYTES:
        raise UsageError(f"{wanted}: it is longer than {MOST_BYTES >> 20} MiB")
    try:
        specs = msgspec.json.decode(content, type=SpecList)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{wanted}: {clean(str(error))}") from error
    if specs.format != SPEC_LIST_FORMAT:
        raise UsageError(f"{wanted}: format {specs.format} is not known, this depthscope reads {SPEC_LIST_FORMAT}")
    if not specs.runs:
        raise UsageError(f"{wanted}: it lists no run")
    return specs


def plan_listed(home: Home, specs: SpecList, report: Callable[[str], None]) -> list[NewRun]:
    """The runs of a list, each checked against the data and the devices that are here.

    Args:
        home: Where datasets are cached.
        specs: The list.
        report: Is told of images that are not those of the list.

    Raises:
        UsageError: a dataset or a device of the list is not here.
    """
    here = find_devices()
    for run in specs.runs:
        num_train, num_test, num_classes = datasets.describe(home, run.spec.data.name)
        try:
            check_fits_data(run.spec, num_train=num_train, num_test=num_test, num_classes=num_classes)
            check_device(run.spec, here)
        except ValueError as error:
            raise UsageError(f"{clean(run.name)}: {error}") from error
    for line in strange_images(home, specs.runs):
        report(line)
    return [NewRun(name=run.name, spec=run.spec) for run in specs.runs]


def strange_images(home: Home, runs: Sequence[ListedRun]) -> list[str]:
    """A line for every dataset whose images are here, but are not those that a list was trained on."""
    lines = []
    for name in dict.fromkeys(run.spec.data.name for run in runs):
        wanted = {run.data_sha256 for run in runs if run.spec.data.name == name and run.data_sha256 is not None}
        info = datasets.dataset_info(home, name)
        if wanted and info is not None and info.digest() not in wanted:
            lines.append(
                f"{name} is not what the list was trained on: its SHA-256 is {info.digest()[:12]}…,"
                f" there it was {min(wanted)[:12]}…"
            )
    return lines

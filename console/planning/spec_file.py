"""Spec files: lists of runs that `depthscope train --from` trains again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from console.text.formatting import clean
from engine.base.decoding import Whole, decode_json
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.base.version import VERSION
from engine.control.protocol import NewRun
from engine.data import datasets
from engine.data.cache import read_info
from engine.spec.devices import check_device, find_devices
from engine.spec.run import RunSpec, check_fits_data

SPEC_LIST_FORMAT = 1
SPEC_LIST_NAME = "spec.json"
"""File name within a report."""
MOST_BYTES = 8 << 20
"""Size limit of a file; a thousand runs take a tenth of it."""


class ListedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One run of the list."""

    name: str
    spec: RunSpec
    data_sha256: str | None = None
    """Checksum of the images it was trained on; None if unknown."""


class SpecList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Contents of a report's spec.json."""

    format: Whole = SPEC_LIST_FORMAT
    depthscope: str = VERSION
    """Version that wrote the file."""
    experiment: str
    """Original name; training again makes an experiment with a new name."""
    runs: tuple[ListedRun, ...]


def encode_spec_list(specs: SpecList) -> bytes:
    """Encode as indented JSON, which is easy to read and diff."""
    return msgspec.json.format(msgspec.json.encode(specs), indent=2) + b"\n"


def read_spec_list(path: Path) -> SpecList:
    """Read a spec file, given its path or a report's directory.

    Raises:
        UsageError: the file cannot be read or is not a list of run specs.
    """
    if path.is_dir():
        path /= SPEC_LIST_NAME
        if not path.exists():
            raise UsageError(f"{clean(str(path.parent))} has no {SPEC_LIST_NAME}: give a report's directory")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {clean(str(path))}: {error.strerror}") from error
    invalid = f"{clean(str(path))} is not a list of runs such as a report's spec.json"
    if len(content) > MOST_BYTES:
        raise UsageError(f"{invalid}: larger than {MOST_BYTES >> 20} MiB")
    try:
        specs = decode_json(content, SpecList)
    except msgspec.DecodeError as error:
        raise UsageError(f"{invalid}: {clean(str(error))}") from error
    if specs.format != SPEC_LIST_FORMAT:
        raise UsageError(f"{invalid}: unknown format {specs.format}, this version reads format {SPEC_LIST_FORMAT}")
    if not specs.runs:
        raise UsageError(f"{invalid}: the list is empty")
    return specs


def plan_listed(home: Home, specs: SpecList, report: Callable[[str], None]) -> list[NewRun]:
    """Plan the runs of a spec file for this machine; report each dataset whose images differ from the original ones.

    Raises:
        UsageError: a dataset or device does not exist here.
    """
    here = find_devices()
    for run in specs.runs:
        num_train, num_test, num_classes = datasets.describe(home, run.spec.data.name)
        try:
            check_fits_data(run.spec, num_train=num_train, num_test=num_test, num_classes=num_classes)
            check_device(run.spec, here)
        except ValueError as error:
            raise UsageError(f"{clean(run.name)}: {error}") from error
    for line in changed_datasets(home, specs.runs):
        report(line)
    return [NewRun(name=run.name, spec=run.spec) for run in specs.runs]


def changed_datasets(home: Home, runs: Sequence[ListedRun]) -> list[str]:
    """One line for each cached dataset whose images are not those the runs were trained on."""
    lines = []
    for name in dict.fromkeys(run.spec.data.name for run in runs):
        wanted = {run.data_sha256 for run in runs if run.spec.data.name == name and run.data_sha256 is not None}
        info = read_info(home, name)
        if wanted and info is not None and info.digest() not in wanted:
            lines.append(
                f"{name} differs from the dataset these runs were trained on: its SHA-256 is {info.digest()[:12]}…,"
                f" theirs was {min(wanted)[:12]}…"
            )
    return lines

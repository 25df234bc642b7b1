"""Write exported rows to files; the only importer of pyarrow and tensorboard, which are optional."""

from __future__ import annotations

import csv
import importlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from console.report.export_rows import COLUMNS, Kind, Row
from console.report.output_directory import fill_directory
from console.text.formatting import clean
from engine.base.errors import DepthscopeError, UsageError
from engine.runs.run import Run

ROWS_AT_A_TIME = 50_000
SAFE = re.compile(r"[^A-Za-z0-9._-]+")
MOST_OF_A_NAME = 100
"""Characters; file systems allow 255 bytes, which must also hold the run id."""


def write_csv(file: IO[str], rows: Iterable[Row]) -> None:
    """Write CSV with a header; non-finite values are empty cells."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(msgspec.structs.astuple, rows))


def write_jsonl(file: IO[str], rows: Iterable[Row]) -> None:
    """Write one JSON object to a line; non-finite values are null."""
    encode = msgspec.json.Encoder().encode
    for row in rows:
        file.write(encode(row).decode() + "\n")


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Write Parquet with typed columns; non-finite values are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, Any] = {
        "depth": pa.int32(), "width": pa.int32(), "seed": pa.int64(), "epoch": pa.int32(), "step": pa.int64(),
        "at": pa.float64(), "position": pa.int32(), "value": pa.float64(),
    }  # fmt: skip
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    remaining = iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(remaining, ROWS_AT_A_TIME)):
            columns = zip(*map(msgspec.structs.astuple, batch), strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def write_tensorboard(directory: Path, rows: Iterable[Row]) -> None:
    """Write TensorBoard event files, a directory for each run of grouped rows; non-finite values are left out."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for (experiment, name, run), found in itertools.groupby(rows, lambda row: (row.experiment, row.name, row.run)):
        folder = directory / file_name(experiment) / f"{file_name(name)}-{run}"
        folder.mkdir(parents=True)
        writer = EventFileWriter(str(folder))
        for row in found:
            if row.value is not None:
                value = Summary.Value(tag=tag(row), simple_value=row.value)
                writer.add_event(Event(wall_time=row.at or 0.0, step=row.step, summary=Summary(value=[value])))
        writer.close()


def tag(row: Row) -> str:
    """TensorBoard tag of a value; the part before the slash names the section."""
    return f"{row.metric}/{row.layer}" if row.kind == Kind.GRADIENT else f"{row.kind}/{row.metric}"


def file_name(text: str) -> str:
    """Turn an untrusted name into a safe directory name."""
    return SAFE.sub("_", text)[:MOST_OF_A_NAME].strip(".") or "_"


@dataclass(frozen=True, slots=True)
class Format:
    """An export format; exactly one of its three writers is set."""

    name: str
    library: str | None = None
    """Module required, from the extra of the format's name; None if the standard library suffices."""
    write_text: Callable[[IO[str], Iterable[Row]], None] | None = None
    """Writes to stdout or a text file."""
    write_binary: Callable[[Path, Iterable[Row]], None] | None = None
    """Writes to a file."""
    write_directory: Callable[[Path, Iterable[Row]], None] | None = None
    """Writes into an empty directory."""


FORMATS = {
    one.name: one
    for one in (
        Format("csv", write_text=write_csv),
        Format("jsonl", write_text=write_jsonl),
        Format("parquet", "pyarrow.parquet", write_binary=write_parquet),
        Format("tensorboard", "tensorboard.summary.writer.event_file_writer", write_directory=write_tensorboard),
    )
}
"""Export formats by the value of `--format`."""


def check_importable(wanted: Format) -> None:
    """Refuse a format whose library is not installed.

    Raises:
        UsageError: the library is missing; the message names the extra to install.
    """
    if wanted.library is None:
        return
    try:
        importlib.import_module(wanted.library)
    except ImportError as error:
        raise UsageError(
            f"--format {wanted.name} needs the extra {wanted.name}: `uv sync --extra {wanted.name}` in a clone,"
            f" or install depthscope[{wanted.name}]"
        ) from error


def write_export(path: Path, wanted: Format, rows: Iterable[Row], *, of: str, force: bool) -> None:
    """Write an export atomically.

    Args:
        path: A file, or the directory of a format that needs one.
        wanted: The format.
        rows: What to write.
        of: The runs in it; a directory is only replaced by an export of the same ones.
        force: Whether an existing file may be replaced.

    Raises:
        UsageError: the path is taken, or nothing can be written there.
        DepthscopeError: the disk is full.
    """
    write_directory = wanted.write_directory
    if write_directory is None:
        write_file(path, wanted, rows, force=force)
    else:
        fill_directory(path, kind="TensorBoard export", of=of, write=lambda staging: write_directory(staging, rows))


def write_file(path: Path, wanted: Format, rows: Iterable[Row], *, force: bool) -> None:
    """Write an export that is one file; see `write_export`."""
    shown = clean(str(path))
    if path.is_dir():
        raise UsageError(f"{shown} is a directory: choose a file")
    if path.exists() and not path.is_file():
        write_special_file(path, wanted, rows)
        return
    if path.exists() and not force:
        raise UsageError(f"{shown} exists: choose another file, or replace it with --force")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if wanted.write_binary is not None:
            wanted.write_binary(temporary, rows)
        elif wanted.write_text is not None:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                wanted.write_text(file, rows)
        temporary.rename(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"{shown} cannot be written ({error.strerror}): choose another file") from error
    except OSError as error:
        raise DepthscopeError(f"{shown} could not be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_special_file(path: Path, wanted: Format, rows: Iterable[Row]) -> None:
    """Write an export to a device or a FIFO, such as /dev/stdout; replacing it as a file would destroy it."""
    shown = clean(str(path))
    if wanted.write_text is None:
        raise UsageError(f"{shown} is not a regular file, which --format {wanted.name} needs")
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            wanted.write_text(file, rows)
    except OSError as error:
        raise DepthscopeError(f"{shown} could not be written: {error.strerror}") from error


def selection(runs: Sequence[Run]) -> str:
    """Experiments of an export; only an export of the same ones is replaced."""
    return ", ".join(dict.fromkeys(clean(run.experiment) for run in runs))

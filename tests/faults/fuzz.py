"""Fuzz one decoder by coverage: `uv run --group fuzz python -m tests.faults.fuzz journal -max_total_time=60`.

The first argument is a target of `tests/faults/fuzz_targets.py` (journal, protocol, spec, labels, "exit record",
config, "dataset header", archive, weights, ...), the rest are libFuzzer options. If a target raises, it exits with
status 77 and saves the input.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["engine", "models"]):
    from tests.faults.fuzz_targets import SEEDS, Targets


def main() -> None:
    """Entry point."""
    name, options = sys.argv[1], sys.argv[2:]
    if name not in SEEDS:
        sys.exit(f"no target is called {name!r}: there are {', '.join(sorted(SEEDS))}")
    warnings.filterwarnings("ignore", message="Detected pickle protocol")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(SEEDS[name]):
            (corpus / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *options, str(corpus)], Targets(Path(folder)).by_name()[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()

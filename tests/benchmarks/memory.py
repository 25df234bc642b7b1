"""Memory networks save for the backward pass: `uv run python -m tests.benchmarks.memory [--json]`.

The closed form at batch 128, beside what autograd is seen to save on the CPU. Counted are batches of 1 and 2; what the
second image adds, 127 times, is what batch 128 would save beside the first: activations grow with the batch, statistics
and copies of weights do not. `run` is the whole estimate for a GPU, with weights, data and what the libraries take.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform

import torch

from console.text.formatting import byte_size, table
from engine.estimates.memory import training_memory
from engine.spec.precision import BYTES_OF_ACTIVATION, Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from models.activations import saved_bytes
from models.catalog import ModelSpec, label, model_spec
from tests.memory_trace import saved_by_autograd

BATCH = 128
NUM_TRAIN, NUM_TEST = 50_000, 10_000
SIX_GB, SIX_GIB = 6 * 10**9, 6 << 30
NETWORKS = [
    ("resnet", 20, "basic"),
    ("resnet", 110, "basic"),
    ("plain", 110, "basic"),
    ("preact", 50, "bottleneck"),
    ("he-resnet", 110, "basic"),
    ("resnet", 101, "bottleneck"),
    ("resnet", 110, "bottleneck"),
]
PRECISIONS = (Precision.FP32, Precision.BF16)


def counted_bytes(model: ModelSpec, precision: Precision, *, checkpointed: bool) -> int:
    """Extrapolate the bytes saved for a batch of 128 from those of one image and of two."""
    one, two = (saved_by_autograd(model, batch, precision, checkpointed=checkpointed) for batch in (1, 2))
    return one + (BATCH - 1) * (two - one)


def measure(model: ModelSpec, precision: Precision, *, checkpointed: bool) -> dict[str, object]:
    """Compute a row of the table."""
    spec = RunSpec(
        model=model,
        recipe=recipe("reference", batch_size=BATCH, precision=precision, checkpoint_activations=checkpointed),
    )
    estimate = training_memory(spec, [precision], on_gpu=True, num_train=NUM_TRAIN, num_test=NUM_TEST)
    closed = saved_bytes(model, BATCH, number_bytes=BYTES_OF_ACTIVATION[precision], checkpointed=checkpointed)
    counted = counted_bytes(model, precision, checkpointed=checkpointed)
    return {
        "network": label(model),
        "precision": precision.value,
        "checkpointed": checkpointed,
        "closed_form_bytes": closed,
        "counted_bytes": counted,
        "ratio": closed / counted,
        "run_bytes": estimate.total_bytes,
        "fits_6_gb": estimate.total_bytes <= SIX_GB,
        "fits_6_gib": estimate.total_bytes <= SIX_GIB,
    }


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print rows for programs")
    as_json = parser.parse_args().json
    rows = [
        measure(model_spec(architecture, depth, block=block), precision, checkpointed=checkpointed)
        for (architecture, depth, block), precision, checkpointed in itertools.product(
            NETWORKS, PRECISIONS, (False, True)
        )
    ]
    if as_json:
        print(json.dumps({"torch": torch.__version__, "batch_size": BATCH, "rows": rows}))
        return
    print(f"batch {BATCH}; counted on the CPU from batches of 1 and 2; torch {torch.__version__}, {platform.machine()}")
    header = ["network", "precision", "blocks", "closed form", "counted", "ratio", "run", "6 GB", "6 GiB"]
    print(
        table(
            header,
            [
                [
                    str(row["network"]),
                    str(row["precision"]),
                    "recomputed" if row["checkpointed"] else "kept",
                    byte_size(float(str(row["closed_form_bytes"]))),
                    byte_size(float(str(row["counted_bytes"]))),
                    f"{row['ratio']:.4f}",
                    byte_size(float(str(row["run_bytes"]))),
                    "fits" if row["fits_6_gb"] else "no",
                    "fits" if row["fits_6_gib"] else "no",
                ]
                for row in rows
            ],
            align="<<<>>>><<",
        )
    )


if __name__ == "__main__":
    main()

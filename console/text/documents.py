"""JSON documents that `--json` prints for runs and plans; fields are named as in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.analysis.diagnosis import Finding, outlook
from engine.control.protocol import NewRun
from engine.estimates.fitting import Verdict
from engine.runs.journal import Epoch, Step
from engine.runs.run import EventRow, Run
from models import catalog, cost


def run_document(run: Run) -> dict[str, Any]:
    """A run as the index has it, with its label, parameter count and time."""
    return {
        "network": catalog.label(run.spec.model),
        "num_parameters": cost.num_parameters(run.spec.model),
        "taken_seconds": run.taken_seconds,
        **{name: value for name, value in msgspec.to_builtins(run).items() if name not in ("spec", "seen_at")},
        "spec": msgspec.to_builtins(run.spec),
    }


def row_document(row: Epoch | Step) -> dict[str, Any]:
    """A line of the journal, without what is the journal's alone."""
    return {name: value for name, value in msgspec.to_builtins(row).items() if name not in ("kind", "seq")}


def run_details(
    run: Run, epochs: Sequence[Epoch], steps: Sequence[Step], events: Sequence[EventRow], findings: Sequence[Finding]
) -> dict[str, Any]:
    """A run with all its metrics, events and findings."""
    return {
        "run": run_document(run),
        "findings": msgspec.to_builtins(findings),
        "outlook": outlook(run, epochs, findings) or None,
        "epochs": [row_document(row) for row in epochs],
        "steps": [row_document(row) for row in steps],
        "events": msgspec.to_builtins(events),
    }


def plan_document(planned: Sequence[NewRun], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Planned runs, each with its memory estimate and whether it fits."""
    return {
        "runs": [
            {
                "name": run.name,
                "num_parameters": cost.num_parameters(run.spec.model),
                "forward_macs": cost.forward_macs(run.spec.model),
                "memory": {
                    **msgspec.to_builtins(verdict.estimate),
                    "total_bytes": verdict.estimate.total_bytes,
                    "limit_bytes": verdict.limit_bytes,
                    "fits": verdict.fits,
                },
                "spec": msgspec.to_builtins(run.spec),
            }
            for run, verdict in zip(planned, verdicts, strict=True)
        ]
    }

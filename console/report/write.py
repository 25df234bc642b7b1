"""Write a report: Markdown, HTML, figures, and the specification of every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from console.comparison.claims import parse_claim
from console.planning.spec_file import SPEC_LIST_NAME, ListedRun, SpecList, encode_spec_list
from console.report.contents import contents
from console.report.facts import Facts
from console.report.figures import draw_figures
from console.report.html import as_html
from console.report.markdown import as_markdown
from console.report.output_directory import fill_directory
from engine.analysis.diagnosis import diagnose, sentence

FIGURES = "figures"


def write_report(facts: Facts, path: Path, *, last: int | None = None, wanted: Sequence[str] = ()) -> list[str]:
    """Write the report of an experiment, or replace an earlier one of the same experiment.

    Args:
        facts: Experiment to report.
        path: Directory for `report.md`, `report.html`, `spec.json` and `figures/`.
        last: Also show means over that many last epochs; None for none.
        wanted: Claims beside the default ones, as for `parse_claim`.

    Returns:
        Files written, relative to the directory.

    Raises:
        UsageError: the directory cannot be written or holds foreign files, or a claim names no two networks.
        OutputNotWritten: the disk is full or failing.
    """

    for word in wanted:
        parse_claim(word, facts.groups)

    def write(staging: Path) -> None:
        figures = draw_figures(facts)
        findings = {
            run.id: sentence(diagnose(run, facts.epochs[run.id], facts.gradients[run.id])) for run in facts.runs
        }
        blocks = contents(facts, figures, findings=findings, last=last, wanted=wanted)
        (staging / FIGURES).mkdir()
        for figure in figures:
            (staging / FIGURES / f"{figure.name}.svg").write_bytes(figure.drawn.svg)
            (staging / FIGURES / f"{figure.name}.png").write_bytes(figure.drawn.png)
        (staging / SPEC_LIST_NAME).write_bytes(encode_spec_list(spec_list(facts)))
        pictures = {figure.name: figure.drawn.svg for figure in figures}
        (staging / "report.html").write_text(as_html(blocks, pictures), encoding="utf-8")
        (staging / "report.md").write_text(as_markdown(blocks, figures=FIGURES), encoding="utf-8")

    return fill_directory(path, kind="report", of=facts.experiment, write=write)


def spec_list(facts: Facts) -> SpecList:
    """All runs of the experiment, finished or not, for `depthscope train --from`."""
    return SpecList(
        experiment=facts.experiment,
        runs=tuple(
            ListedRun(name=run.name, spec=run.spec, data_sha256=facts.provenance[run.id].data_sha256)
            for run in facts.runs
        ),
    )

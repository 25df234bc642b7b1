"""Names, tags, notes and stars: changed all or nothing, kept in run directories, restored without the index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.protocol import Done, NewRun, Relabel, Remove, RenameExperiment, Submit
from engine.scheduler.handlers import handle
from engine.spec.devices import CPU
from tests.engine.scripted import Scene, scene


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Scene]:
    found = scene(Home(tmp_path / "home").create(), [CPU])
    yield found
    found.supervisor.reader.close()
    found.supervisor.store.close()


def test_labels_are_in_run_directory_and_index_and_survive_restarts(engine: Scene):
    """A rebuilt index has all labels."""
    first, second = engine.submit(None, None)
    engine.ask(Relabel(runs=(first, second), add_tags=("good", "Baseline"), starred=True, note=" two\n\x1bwords "))
    engine.ask(Relabel(runs=(second,), remove_tags=("GOOD",), starred=False, name="other"))

    engine = engine.successor(index_lost=True)
    runs = engine.supervisor.reader.runs()
    assert [(run.name, run.tags, run.starred, run.notes) for run in runs] == [
        ("run0", ("Baseline", "good"), True, "two words"),
        ("other", ("Baseline",), False, "two words"),
    ]
    engine.supervisor.reader.close()
    engine.supervisor.store.close()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"add_tags": ("a b",)}, "a tag must be one word"),
        ({"add_tags": ("-a",)}, "a tag must be one word"),
        ({"add_tags": ("x" * 41,)}, "at most 40 characters"),
        ({"add_tags": tuple(map(str, range(21)))}, "at most 20 tags"),
        ({"note": "x" * 2001}, "at most 2000 characters"),
        ({"name": "new"}, "only one run can be renamed at a time, got 2"),
        ({"name": "exp1/new"}, "must not contain /, as in experiment/run, got 'exp1/new'"),
    ],
)
def test_a_label_that_cannot_be_changes_nothing(engine: Scene, change: dict[str, object], text: str):
    """Neither of this run nor of others in the request."""
    runs = tuple(engine.submit(None, None))
    before = engine.supervisor.reader.runs()

    with pytest.raises(UsageError, match=text):
        handle(Relabel(runs=runs, starred=True, **change), engine.supervisor, started_at=0.0)  # type: ignore[arg-type]

    assert [run.starred for run in engine.supervisor.reader.runs()] == [False, False]
    assert engine.supervisor.reader.runs()[1:] == before[1:]
    assert not any(engine.supervisor.directory(run).read_labels().starred for run in runs)


def test_a_removed_run_refuses_the_others_too(engine: Scene):
    """Users cannot have meant a hidden run."""
    first, second = engine.submit(None, None)
    engine.ask(Remove(runs=(second,)))

    with pytest.raises(UsageError, match="is hidden"):
        engine.ask(Relabel(runs=(first, second), starred=True))
    assert not engine.supervisor.reader.run(first).starred


def test_two_runs_of_an_experiment_never_share_a_name(engine: Scene):
    """Experiment/name must be unique."""
    first, _ = engine.submit(None, None)

    with pytest.raises(UsageError, match="exp1 already has a run named 'run1'"):
        engine.ask(Relabel(runs=(first,), name="run1"))
    with pytest.raises(UsageError, match="must be printable"):
        engine.ask(Relabel(runs=(first,), name="a\x1bb"))


def test_an_experiment_is_renamed_as_a_whole_and_never_into_another(engine: Scene):
    """Including removed runs."""
    first, second = engine.submit(None, None)
    (third,) = engine.submit(None)
    engine.ask(Remove(runs=(second,)))
    engine.ask(RenameExperiment(experiment="exp1", name="depths"))

    assert {run.id: run.experiment for run in engine.supervisor.reader.runs(with_deleted=True)} == {
        first: "depths",
        second: "depths",
        third: "exp2",
    }
    with pytest.raises(UsageError, match="'exp2' already exists"):
        engine.ask(RenameExperiment(experiment="depths", name="exp2"))
    with pytest.raises(UsageError, match="no experiment is called 'exp1'"):
        engine.ask(RenameExperiment(experiment="exp1", name="x"))


def test_suggestions_find_exactly_one_run(engine: Scene):
    """Names of two experiments' runs are suggested with the experiment, and runs that share even that by their ids."""
    engine.submit(None, None)
    (third,) = engine.submit(None)
    engine.ask(Relabel(runs=(third,), name="run1"))
    reader = engine.supervisor.reader

    for word in ("run", "rum1", "exp1/run", "exp2/run9", "exp1"):
        with pytest.raises(UsageError) as refused:
            reader.find(word)
        said = str(refused.value)
        found = re.search(r"did you mean (.+)\?|such as ([^;]+);", said)
        assert found is not None, said
        for suggested in (found[1] or found[2]).split(", "):
            assert reader.find(suggested).name.startswith("run"), suggested

    again = handle(
        Submit(runs=(NewRun(name="run1", spec=reader.run(third).spec),), experiment="exp2"),
        engine.supervisor,
        started_at=0.0,
    )
    assert isinstance(again, Done)
    with pytest.raises(UsageError, match=f"did you mean {third}, {again.runs[0]}|{again.runs[0]}, {third}"):
        reader.find("exp2/run")

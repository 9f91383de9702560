"""What another reading of a paper changes in an evaluation, through the engine and the verb."""

from __future__ import annotations

from pathlib import Path

from reclaim.records import StandIn, content_hash
from tests.workflow.project import Project


def test_a_planned_run_is_measured_under_other_readings_beside_in_jobs_of_their_own(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path, ("untrained",))
    [run] = project.plan.runs
    [knn] = [p for p in project.plan.protocols.values() if p.kind == "knn"]
    other = knn.model_copy(update={"neighbours": 1})
    name = f"knn-{content_hash(other)[:8]}"
    reading = {"evaluate.knn.neighbours=1": StandIn(config=run.config, protocols=(name,))}
    protocols = {**project.plan.protocols, name: other}
    more = {"protocols": protocols, "readings": {run.config: reading}}
    target = "results/tiny/measurements.csv"
    gather = ("--", target)
    plain = project.made(*gather)
    project.cut(project.plan.model_copy(update=more), "tiny", [run])
    assert project.made(*gather) == {"reread": 1, "gather": 1}, "what was measured stays"
    assert plain["evaluate"] == 1 and "reread" not in plain
    table = (tmp_path / target).read_text(encoding="utf-8").splitlines()
    measured = {row.split(",")[6] for row in table[1:]}
    assert measured == {"linear", "knn", "geometry", "fine_tune", "knn-neighbours-1"}
    assert project.made("-n", *gather) == {}
    done = project.run("reclaim", "evaluate", run.id, "--protocol", "knn-neighbours-1")
    assert "already evaluated by knn-neighbours-1" in done
    refused = project.start("reclaim", "evaluate", run.id, "--protocol", "knn-neighbours-2")
    assert refused.returncode == 2
    assert "has no protocol 'knn-neighbours-2'; planned: linear, knn" in refused.stderr

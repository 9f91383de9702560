# Every stage from data to report, once per scale: `snakemake --cores all --config scale=fashion`.
import sys
from pathlib import Path

from snakemake.utils import min_version, validate

from reclaim.records import ReclaimError
from reclaim.registry import jobs
from reclaim.registry.claims.text import read_yaml
from reclaim.registry.rehearsal import rehearsal_of

min_version("9.27")
try:
    read_yaml(Path("params.yaml"))  # strictly: no tags, no references, nothing twice
except ReclaimError as error:
    raise WorkflowError(str(error))


configfile: "params.yaml"


validate(config, "workflow/schemas/params.schema.yaml")
SWEEPS = str(config["sweeps"]).lower() == "true"  # `--config sweeps=true` is text
REHEARSED = str(config["rehearsal"]).lower() == "true"
try:
    SCALE = rehearsal_of(config["scale"]) if REHEARSED else config["scale"]
    jobs.resolve(SCALE, sweeps=SWEEPS)
    PLAN = jobs.read_plan(SCALE, SWEEPS)
except ReclaimError as error:
    raise WorkflowError(str(error))
for run in PLAN.runs if REHEARSED else ():
    if run.variant:
        print(f"{run.id}: {run.variant}: two runs are to fit into 24 GiB", file=sys.stderr)

RESULTS = f"results/{PLAN.scale}"
GPUS = int(PLAN.scale == "paper")
RUNS = [f"{run.recipe}/{run.id}" for run in PLAN.runs]
EVALUATIONS = [
    f"{run.recipe}/{run.id}/{name}" for run in PLAN.runs for name in jobs.measures(PLAN, run)
]
MEMORY = {run.id: run.cost.memory_mib for run in PLAN.runs}
HOURS = {run.id: run.cost.gpu_hours or 0 for run in PLAN.runs}
INITS = {run.id: str(jobs.init_manifest(Path(RESULTS), run.init)) for run in PLAN.runs if run.init}


wildcard_constraints:
    recipe="[a-z0-9_]+",
    dataset="[a-z0-9_]+",
    weights="[a-z0-9_]+",
    tail="[0-9a-f]{8}-s[0-9]+",
    reading="[a-z_]+-[A-Za-z0-9_-]+",


include: "workflow/rules/needs.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/verdicts.smk"
include: "workflow/rules/audit.smk"


localrules:
    all,
    audit,
    bundle,
    fetch,
    fetch_weights,
    gather,
    judge,
    report,


rule all:
    default_target: True
    input:
        expand(f"{RESULTS}/runs/{{run}}/run.json", run=RUNS),
        [] if REHEARSED else [f"{RESULTS}/report.html", f"{RESULTS}/bundle.json"],
        "results/audit.json",
        expand(
            f"{RESULTS}/evaluations/{{evaluation}}/metrics.json",
            evaluation=EVALUATIONS if REHEARSED else [],
        ),

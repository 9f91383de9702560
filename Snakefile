# Every stage from data to report, once per scale: `snakemake --cores all --config scale=fashion`.
from snakemake.utils import min_version, validate

from reclaim.records import ReclaimError
from reclaim.registry import jobs

min_version("9.27")


configfile: "params.yaml"


validate(config, "workflow/schemas/params.schema.yaml")
try:
    jobs.resolve(config["scale"])
    PLAN = jobs.read_plan(config["scale"])
except ReclaimError as error:
    raise WorkflowError(str(error))

RESULTS = f"results/{PLAN.scale}"
GPUS = int(PLAN.scale == "paper")
PROTOCOLS = sorted({protocol.kind for protocol in PLAN.protocols.values()})
RUNS = [f"{run.recipe}/{run.id}" for run in PLAN.runs]


wildcard_constraints:
    recipe="[a-z0-9_]+",
    dataset="[a-z0-9_]+",
    tail="[0-9a-f]{8}-s[0-9]+",


include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/verdicts.smk"
include: "workflow/rules/audit.smk"


localrules:
    all,
    audit,
    fetch,
    gather,
    judge,
    report,


rule all:
    default_target: True
    input:
        expand(f"{RESULTS}/runs/{{run}}/run.json", run=RUNS),
        f"{RESULTS}/report.html",
        "results/audit.json",

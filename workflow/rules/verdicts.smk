rule gather:
    input:
        expand(RESULTS + "/evaluations/{run}/{protocol}/metrics.json", run=RUNS, protocol=PROTOCOLS),
    output:
        RESULTS + "/measurements.csv",
    log:
        RESULTS + "/logs/gather.log",
    conda:
        "../../envs/reclaim.yaml"
    params:
        scale=PLAN.scale,
    shell:
        "reclaim gather --scale {params.scale} > {log} 2>&1"


rule judge:
    input:
        RESULTS + "/measurements.csv",
        "workflow/plans/" + PLAN.scale + ".json",
        jobs.claim_files(),
    output:
        RESULTS + "/verdicts.json",
    log:
        RESULTS + "/logs/judge.log",
    conda:
        "../../envs/reclaim.yaml"
    params:
        scale=PLAN.scale,
    shell:
        "reclaim judge --scale {params.scale} > {log} 2>&1"


rule report:
    input:
        RESULTS + "/measurements.csv",
        RESULTS + "/verdicts.json",
    output:
        report(
            RESULTS + "/report.html",
            caption="../report/report.rst",
            category="Verdicts",
            labels={"scale": PLAN.scale},
        ),
    log:
        RESULTS + "/logs/report.log",
    conda:
        "../../envs/reclaim.yaml"
    params:
        scale=PLAN.scale,
    shell:
        "reclaim report --scale {params.scale} > {log} 2>&1"

rule gather:
    input:
        expand(f"{RESULTS}/evaluations/{{evaluation}}/metrics.json", evaluation=EVALUATIONS),
        f"{RESULTS}/jobs/plan.json",
        jobs.code_files("gather"),
    output:
        f"{RESULTS}/measurements.csv",
        f"{RESULTS}/curves.csv",
    log:
        f"{RESULTS}/logs/gather.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        scale=PLAN.scale,
    shell:
        "reclaim gather --scale {params.scale} > {log} 2>&1"


rule judge:
    input:
        f"{RESULTS}/measurements.csv",
        f"{RESULTS}/jobs/plan.json",
        jobs.claim_files(),
        jobs.code_files("judge"),
    output:
        f"{RESULTS}/verdicts.json",
        f"{RESULTS}/seeds_wanted.json",
        f"{RESULTS}/summary.json",
    log:
        f"{RESULTS}/logs/judge.log",
    benchmark:
        f"{RESULTS}/benchmarks/judge.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        scale=PLAN.scale,
    shell:
        "reclaim judge --scale {params.scale} > {log} 2>&1"


rule report:
    input:
        f"{RESULTS}/measurements.csv",
        f"{RESULTS}/verdicts.json",
        f"{RESULTS}/jobs/plan.json",
        jobs.claim_files(),
        jobs.code_files("report"),
    output:
        report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Verdicts",
            labels={"scale": PLAN.scale},
        ),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        scale=PLAN.scale,
    shell:
        "reclaim report --scale {params.scale} > {log} 2>&1"


rule bundle:
    input:
        expand(f"{RESULTS}/runs/{{run}}/run.json", run=RUNS),
        expand(f"{RESULTS}/evaluations/{{evaluation}}/metrics.json", evaluation=EVALUATIONS),
        f"{RESULTS}/measurements.csv",
        f"{RESULTS}/verdicts.json",
        f"{RESULTS}/seeds_wanted.json",
        f"{RESULTS}/jobs/plan.json",
        "envs/requirements.lock",
        jobs.code_files("bundle"),
    output:
        f"{RESULTS}/bundle.json",
    log:
        f"{RESULTS}/logs/bundle.log",
    benchmark:
        f"{RESULTS}/benchmarks/bundle.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        scale=PLAN.scale,
    shell:
        "reclaim bundle --scale {params.scale} > {log} 2>&1"

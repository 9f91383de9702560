# A run's id names its recipe and data set, so its paths say what it needs. Outputs are the manifests
# alone, as files to update: neither a checkpoint nor a finished run is ever deleted for a rerun.
#
# After a job that failed, Snakemake puts back each output that was there before it, from a copy, and
# deletes the others, unless `keep-incomplete` is set (9.27: `Job.postprocess` and `Job.cleanup`). It
# is, in the profile: a manifest is written last, whole or not at all, so what is there is finished,
# as what `evaluate` had measured before the protocol that failed. A manifest that was put back is an
# old one, also where the job had written a new one by then. So `evaluate` begins with what takes
# seconds and ends with the probe, which has checkpoints; and `reclaim resolve`, at the next start,
# finds the manifest newer than its job and of another, and has the job tried again.


rule pretrain:
    input:
        job=f"{RESULTS}/jobs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.json",
        data="results/data/{dataset}/manifest.json",
        init=init_of,
    output:
        update(f"{RESULTS}/runs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/run.json"),
    log:
        f"{RESULTS}/logs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.pretrain.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.pretrain.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        gpu=GPUS,
        gpu_mem_mb=gpu_memory,
        mem_mb=memory,
        runtime=minutes,
    params:
        run="{recipe}-{dataset}-{tail}",
        scale=PLAN.scale,
    shell:
        "reclaim pretrain {params.run} --scale {params.scale} > {log} 2>&1"


rule evaluate:
    input:
        job=f"{RESULTS}/jobs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.evaluate.json",
        run=f"{RESULTS}/runs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/run.json",
    output:
        update(
            [
                f"{RESULTS}/evaluations/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/{name}/metrics.json"
                for name in jobs.EVALUATIONS["evaluate"]
            ]
        ),
    log:
        f"{RESULTS}/logs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.evaluate.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.evaluate.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        gpu=GPUS,
        gpu_mem_mb=gpu_memory,
        mem_mb=memory,
        runtime=480 if GPUS else 60,
    params:
        run="{recipe}-{dataset}-{tail}",
        scale=PLAN.scale,
    shell:
        "reclaim evaluate {params.run} --scale {params.scale} --protocol linear knn geometry"
        " > {log} 2>&1"


rule fine_tune:
    input:
        job=f"{RESULTS}/jobs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.fine_tune.json",
        run=f"{RESULTS}/runs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/run.json",
    output:
        update(
            f"{RESULTS}/evaluations/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/fine_tune/metrics.json"
        ),
    log:
        f"{RESULTS}/logs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.fine_tune.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.fine_tune.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        gpu=GPUS,
        gpu_mem_mb=gpu_memory,
        mem_mb=memory,
        runtime=1440 if GPUS else 60,
    params:
        run="{recipe}-{dataset}-{tail}",
        scale=PLAN.scale,
    shell:
        "reclaim evaluate {params.run} --scale {params.scale} --protocol fine_tune > {log} 2>&1"


rule reread:
    input:
        job=f"{RESULTS}/jobs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.reread.json",
        run=f"{RESULTS}/runs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/run.json",
    output:
        update(
            f"{RESULTS}/evaluations/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}/{{reading}}/metrics.json"
        ),
    log:
        f"{RESULTS}/logs/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.{{reading}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{recipe}}/{{recipe}}-{{dataset}}-{{tail}}.{{reading}}.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        gpu=GPUS,
        gpu_mem_mb=gpu_memory,
        mem_mb=memory,
        runtime=1440 if GPUS else 60,
    params:
        run="{recipe}-{dataset}-{tail}",
        scale=PLAN.scale,
    shell:
        "reclaim evaluate {params.run} --scale {params.scale} --protocol {wildcards.reading}"
        " > {log} 2>&1"

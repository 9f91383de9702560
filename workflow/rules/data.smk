rule fetch:
    output:
        update("results/data/{dataset}/manifest.json"),
    log:
        "results/data/{dataset}.log",
    benchmark:
        "results/data/{dataset}.tsv"
    retries: 1
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "reclaim fetch data {wildcards.dataset} > {log} 2>&1"

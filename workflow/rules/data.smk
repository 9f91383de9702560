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


rule fetch_weights:
    output:
        update("results/weights/{weights}/manifest.json"),
    log:
        "results/weights/{weights}.log",
    benchmark:
        "results/weights/{weights}.tsv"
    retries: 1
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "reclaim fetch weights {wildcards.weights} > {log} 2>&1"

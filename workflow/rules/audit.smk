rule audit:
    input:
        jobs.claim_files(),
        jobs.code_files("audit"),
    output:
        "results/audit.json",
    log:
        "results/logs/audit.log",
    benchmark:
        "results/benchmarks/audit.tsv"
    conda:
        "../../envs/reclaim.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "reclaim audit > {log} 2>&1"

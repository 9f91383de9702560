# What a run needs, by its id: what it starts from, memory, time.


def run_of(wildcards):
    return f"{wildcards.recipe}-{wildcards.dataset}-{wildcards.tail}"


def init_of(wildcards):
    """The manifest of what a run starts from: another run, fetched weights, or nothing."""
    return INITS.get(run_of(wildcards), [])


def gpu_memory(wildcards):
    """MiB on its GPU, by the plan's estimate: `--resources gpu=3 gpu_mem_mb=24000` lets three share."""
    return GPUS * MEMORY[run_of(wildcards)]


def minutes(wildcards):
    """Twice what the plan estimates, a day at least."""
    return max(1440, int(120 * HOURS[run_of(wildcards)])) if GPUS else 240


def memory(wildcards):
    """MiB of the machine: a run without a GPU has all it needs there."""
    return 16000 if GPUS else max(2500, MEMORY[run_of(wildcards)])

"""Unlock the current folder after a killed Snakemake, unless a Snakemake still works in it.

Only the processes of this host are seen: one that works in it from another host is not.
"""

import subprocess
import sys
from pathlib import Path

import psutil


def holders(folder: Path) -> list[int]:
    """Ids of the Snakemake processes, orphaned jobs of a killed one included, in `folder`.

    One of another user, whose folder cannot be read, may be in it and counts.
    """
    return [
        process.pid
        for process in psutil.process_iter(["cwd", "cmdline"])
        if process.info["cwd"] in (str(folder.resolve()), None)
        and any(Path(word).name == "snakemake" for word in process.info["cmdline"] or [])
    ]


def main() -> None:
    """Unlock where a lock has no holder; leave a live one to Snakemake, which explains it."""
    folder = Path.cwd()
    if any((folder / ".snakemake" / "locks").glob("*")) and not holders(folder):
        sys.exit(subprocess.run(["snakemake", "--unlock"], check=False).returncode)


if __name__ == "__main__":
    main()

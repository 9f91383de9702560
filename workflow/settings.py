"""See that params.yaml holds plain settings alone: the first command of every stage of DVC.

DVC itself puts them into the second one, for a shell; it stops where the first one fails.
"""

import sys
from pathlib import Path

import jsonschema
import yaml

from reclaim.records import ReclaimError
from reclaim.registry.claims.text import read_yaml

SCHEMA = Path(__file__).parent / "schemas/params.schema.yaml"


def check(path: Path) -> None:
    """Raises ReclaimError, one line with file and line, for the first setting that is not plain."""
    document = read_yaml(path)
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    faults = jsonschema.Draft202012Validator(schema).iter_errors(document.value)
    if fault := next(faults, None):
        raise document.fault(tuple(fault.absolute_path), f"{fault.message}; mend the setting")


if __name__ == "__main__":
    try:
        check(Path("params.yaml"))
    except ReclaimError as error:
        print(f"settings: {error}", file=sys.stderr)
        sys.exit(2)

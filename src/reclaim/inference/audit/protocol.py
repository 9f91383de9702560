"""Check `protocol`: can a re-run be made from what is printed, and does it fit together?

Every value of a protocol says where it comes from. Counted is how many are printed, and tested is
whether printed ones can hold together: a number printed twice, a split of more images than there
are, a queue that no number of batches fills.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any, get_args

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.findings import Basis
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import Divergence, ProtocolValue, Reading
from reclaim.registry.claims.files import Source
from reclaim.registry.datasets import DATASETS

SOURCES: tuple[Source, ...] = get_args(Source)
IN_PRINT = "printed"
CHECK = "protocol"
ENTERED = Basis(
    "the claims folder enters all that print and released code say",
    "the settings that are inferred, assumed or missing, from the authors",
)
ONE_RUN = Basis("the values are of one and the same training", "the configuration that was run")

# What every training needs to be stated, whatever the method; `evaluate` for every evaluation.
NEEDED = (
    "network.arch", "views", "optimiser.name", "optimiser.lr", "optimiser.weight_decay",
    "optimiser.schedule", "epochs", "batch", "seeds",
)  # fmt: skip
NEEDED_TO_EVALUATE = ("epochs", "batch", "lr")
TRAINED = ("linear", "fine_tune")
MOST = 10_000  # combinations of readings that are tried


def tally(sources: Iterable[str]) -> dict[str, int]:
    """How many values come from each source, in the order of `SOURCES`.

    >>> tally(["printed", "assumed", "printed"])
    {'printed': 2, 'released-code': 0, 'inferred': 0, 'assumed': 1}
    """
    counted = Counter(sources)
    return {source: counted[source] for source in SOURCES}


def left_over(queue: int, batch: int) -> int:
    """How many places of a queue whole batches leave: 0 where the batch divides it.

    A queue that takes in a batch of keys and drops the oldest batch (MoCo, He et al. 2020,
    Algorithm 1) holds whole batches alone.

    >>> left_over(16384, 256), left_over(16385, 256)
    (0, 1)
    """
    return queue % batch


def too_many(parts: Sequence[int], whole: int) -> int:
    """How many more images parts without a common one need than there are: 0 where they fit.

    >>> too_many((90_000, 10_000), 100_000), too_many((100_000, 10_000), 100_000)
    (0, 10000)
    """
    return max(0, sum(parts) - whole)


# --- relations between settings ------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """How many images a data set has to train and to test on, 0 where that is not known or does not
    bound them; `cells` print one of these numbers, by the setting that they bound."""

    train: int = 0
    test: int = 0
    cells: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Relation:
    """What values at some paths must satisfy under an assumption: `fault` says what is wrong, ""
    if nothing is."""

    name: str
    paths: tuple[str, ...]
    fault: Callable[[Sequence[int], Images], str]
    assumption: str


def _queue(values: Sequence[int], _: Images) -> str:
    queue, batch = values
    if rest := left_over(queue, batch):
        return f"a queue of {queue:,} is no whole number of batches of {batch:,} ({rest:,} over)"
    return ""


def _split(values: Sequence[int], images: Images) -> str:
    learnt, tested, held_out = values
    if images.train and held_out and (extra := too_many((learnt, tested), images.train)):
        return (
            f"{learnt:,} images to learn from and {tested:,} others of the same {images.train:,} "
            f"to test on are {extra:,} too many"
        )
    return ""


def _subset(values: Sequence[int], images: Images) -> str:
    if images.train and (extra := too_many(values, images.train)):
        return f"{values[0]:,} images to learn from are {extra:,} more than there are"
    return ""


def _tested(values: Sequence[int], images: Images) -> str:
    if images.test and (extra := too_many(values, images.test)):
        return f"{values[0]:,} images to test on are {extra:,} more than there are"
    return ""


def _warm_up(values: Sequence[int], _: Images) -> str:
    if extra := too_many(values[:1], values[1]):
        return f"{values[0]:,} epochs of warm-up are {extra:,} more than the {values[1]:,} in all"
    return ""


def _hardest(values: Sequence[int], _: Images) -> str:
    if extra := too_many(values[:1], values[1]):
        return f"the {values[0]:,} hardest of a queue of {values[1]:,} are {extra:,} too many"
    return ""


def _in_batch(values: Sequence[int], _: Images) -> str:
    hardest, batch = values
    if extra := too_many((hardest,), 2 * batch - 2):
        return f"the {hardest:,} hardest of a batch of {batch:,} pairs are {extra:,} too many"
    return ""


ONCE = "no image counts twice, and the data set is the one that is named"
FEWER = "the hardest are some of the negatives that there are"
RELATIONS = (
    Relation("split", ("dataset.subset", "facts.test_images", "dataset.held_out"), _split, ONCE),
    Relation("subset", ("dataset.subset",), _subset, ONCE),
    Relation("test_images", ("facts.test_images",), _tested, ONCE),
    Relation("warm_up", ("optimiser.warmup_epochs", "epochs"), _warm_up, "the warm-up is a part"),
)
WITH_A_QUEUE = (
    Relation("queue", ("twin.queue", "batch"), _queue, "the queue takes in whole batches"),
    Relation("hardest", ("knobs.hardest", "twin.queue"), _hardest, FEWER),
)
WITHOUT = (Relation("hardest", ("knobs.hardest", "batch"), _in_batch, FEWER),)


# --- the protocols of papers ---------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A value and where it is said."""

    value: Any
    source: str
    locator: str


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """Where a paper's settings come from, and which of its printed ones cannot hold together."""
    for case in cases:
        yield _facts(case)
        broken: set[str] = set()
        for found in _broken(case):
            broken |= set(found.evidence["paths"])
            yield found
        yield from _said_twice(case, broken)


def _runs(case: Case) -> list[tuple[str, str]]:
    """Recipe and data set of every printed result."""
    return list(dict.fromkeys((claim.recipe, claim.dataset) for claim in case.values.values()))


def _facts(case: Case) -> Finding:
    values = case.paper.protocol
    counts = tally(value.source for value in values)
    missing = sorted(_missing(case))
    open_paths = {
        source: list(dict.fromkeys(value.path for value in values if value.source == source))
        for source in ("inferred", "assumed")
    }
    known = ", ".join(f"{number} {source}" for source, number in counts.items())
    message = f"{len(values)} facts are entered for {len(_runs(case))} trainings: {known}"
    message += f"; needed and not entered: {', '.join(missing)}." if missing else "."
    fixed = not (missing or counts["inferred"] or counts["assumed"])
    if not fixed:
        message += " Print and released code leave the rest of a re-run open, so a number that a "
        message += "re-run does not reach proves nothing by itself; the authors could say it."
    about: dict[str, Any] = {"kind": "facts", "facts": len(values), "sources": counts}
    about |= open_paths | {"missing": missing, "paths": []}
    verdict: AuditVerdict = "consistent" if fixed else "untestable"
    return case.finding(CHECK, (), verdict, message, ENTERED, **about)


def _missing(case: Case) -> set[str]:
    """The needed paths at which some run has no value."""
    missing: set[str] = set()
    for claim in case.values.values():
        needed = set(NEEDED)
        if claim.evaluation in TRAINED:
            needed |= {f"evaluate.{claim.evaluation}.{name}" for name in NEEDED_TO_EVALUATE}
        missing |= needed - set(case.paper.protocol_of(claim.recipe, claim.dataset))
    return missing


def _broken(case: Case) -> Iterator[Finding]:
    """A finding for every relation that printed values break in some run; one for the others."""
    broken: dict[Any, Finding] = {}
    held: set[str] = set()
    for recipe, dataset in _runs(case):
        protocol = case.paper.protocol_of(recipe, dataset)
        images = _images(case, protocol, dataset)
        for relation in (*RELATIONS, *(WITH_A_QUEUE if "twin.queue" in protocol else WITHOUT)):
            tried = _tried(relation, protocol, images)
            fits = [said for said, fault in tried if not fault]
            for said, fault in tried:
                if _in_print(said) and not fault:
                    held.add(relation.name)
                elif _in_print(said) and (relation.name, said) not in broken:
                    made = _contradiction(case, relation, said, fault, fits, images)
                    broken[relation.name, said] = made
    yield from broken.values()
    if held:
        message = f"Printed settings hold together in these relations: {', '.join(sorted(held))}."
        about = {"kind": "relations", "relations": sorted(held), "paths": []}
        yield case.finding(CHECK, (), "consistent", message, ONE_RUN, **about)


def _images(case: Case, protocol: Mapping[str, ProtocolValue], dataset: str) -> Images:
    """The sizes of a data set by the paper's tables and entry or the registry, the greatest.

    The number of test images is not bounded by the test set where they may be held out.
    """
    train, test = (case.printed_images(dataset, part) for part in ("train", "test"))
    known = DATASETS[dataset].n_train if dataset in DATASETS else 0
    held_out = "dataset.held_out" in protocol and any(
        said.value for said in _all_said(protocol["dataset.held_out"])
    )
    return Images(
        train=max((known, *train.values())),
        test=0 if held_out else max((case.test_images(dataset) or 0, *test.values())),
        cells={"dataset.subset": train, "facts.test_images": test},
    )


Settings = tuple[Said, ...]


def _tried(
    relation: Relation, protocol: Mapping[str, ProtocolValue], images: Images
) -> list[tuple[Settings, str]]:
    """Every combination of what is said at a relation's paths, and what is wrong with it."""
    combined = islice(product(*(_said(protocol, path) for path in relation.paths)), MOST)
    return [(said, relation.fault([it.value for it in said], images)) for said in combined]


def _in_print(said: Iterable[Said]) -> bool:
    return all(it.source == IN_PRINT for it in said)


def _said(protocol: Mapping[str, ProtocolValue], path: str) -> list[Said]:
    """The whole numbers that are said at a path: its value and its readings."""
    if (value := protocol.get(path)) is None:
        return []
    return [it for it in _all_said(value) if isinstance(it.value, int)]


def _all_said(value: ProtocolValue) -> list[Said]:
    own = Said(value.value, value.source, value.locator)
    return [own, *(_of(reading) for reading in value.readings)]


def _contradiction(
    case: Case,
    relation: Relation,
    said: Settings,
    fault: str,
    fits: Sequence[Settings],
    images: Images,
) -> Finding:
    where = [f"{path} {it.locator}" for path, it in zip(relation.paths, said, strict=True)]
    cells = images.cells.get(relation.paths[0], {})
    where += [f"{cell} {case.paper.printed(cell)}" for cell in cells]
    message = f"As printed, {fault} ({'; '.join(where)})."
    if fits:
        changed = min((_changes(relation, said, other) for other in fits), key=len)
        values = ", ".join(f"{path} {value}" for path, value in changed.items())
        message += f" It would fit with {values}."
        message += "".join(f" {_taken(entry)}" for entry in _explain(case, relation, said, changed))
    about: dict[str, Any] = {"kind": "relation", "relation": relation.name}
    about |= {"paths": list(relation.paths), "printed": [it.value for it in said]}
    about |= {"fits": [[it.value for it in other] for other in fits]}
    basis = Basis(f"{ONE_RUN.assumption}; {relation.assumption}", ONE_RUN.resolve)
    return case.finding(CHECK, cells, "contradiction", message, basis, **about)


def _changes(relation: Relation, said: Settings, other: Settings) -> dict[str, Any]:
    """The values of `other` that are not those of `said`, by path."""
    both = zip(relation.paths, said, other, strict=True)
    return {path: new.value for path, old, new in both if old.value != new.value}


def _explain(
    case: Case, relation: Relation, said: Settings, changed: Mapping[str, Any]
) -> Iterator[Divergence]:
    """The divergences that have one of the values which would have to change."""
    wrong = {
        path: it.value for path, it in zip(relation.paths, said, strict=True) if path in changed
    }
    for entry in case.paper.divergences.values():
        values = [reading.value for reading in entry.readings]
        if any(wrong[path] in values for path in entry.paths if path in wrong):
            yield entry


def _said_twice(case: Case, known: Iterable[str]) -> Iterator[Finding]:
    """Paths at which different values are printed, unless a broken relation shows them."""
    for paths, what, said, why in (*_divergent(case), *_several(case)):
        values = list(dict.fromkeys(str(it.value) for it in said if it.source == IN_PRINT))
        if len(values) < 2 or (paths and set(paths) <= set(known)):
            continue
        known = {*known, *paths}
        printed = [it for it in said if it.source == IN_PRINT]
        numbers = all(isinstance(it.value, int | float) for it in printed)
        each = " and ".join(f"{it.value} ({it.locator})" for it in printed)
        message = f"{what}: printed are {each}; at most one is what was run. {why}"
        about = {"kind": "said_twice", "paths": list(paths), "printed": values}
        verdict: AuditVerdict = "contradiction" if numbers else "untestable"
        yield case.finding(CHECK, (), verdict, message, ONE_RUN, **about)


def _divergent(case: Case) -> Iterator[tuple[tuple[str, ...], str, list[Said], str]]:
    for entry in case.paper.divergences.values():
        yield entry.paths, entry.what, [_of(it) for it in entry.readings], _taken(entry)


def _taken(entry: Divergence) -> str:
    return f"A re-run takes {entry.default}: {entry.why}"


def _several(case: Case) -> Iterator[tuple[tuple[str, ...], str, list[Said], str]]:
    for value in case.paper.protocol:
        yield (value.path,), value.path, _all_said(value), f"A re-run takes {value.value}."


def _of(reading: Reading) -> Said:
    return Said(reading.value, reading.source, reading.locator)

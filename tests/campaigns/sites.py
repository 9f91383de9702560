"""Calls that a campaign watches: what is called, from which line of reclaim, and how often."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from unittest.mock import patch

import reclaim

SOURCE = Path(reclaim.__file__).parent
ON_BEHALF = {"records", "fitting"}  # modules that work for whoever called them

Phase = Literal["before", "after"]
Watched = tuple[Any, str, str]
"""An object, the name of its function, and what a call of it is called."""

DISK: tuple[Watched, ...] = (
    (tempfile, "mkstemp", "create"),
    (os, "fsync", "fsync"),
    (os, "chmod", "chmod"),
    (os, "replace", "rename"),
    (os, "unlink", "unlink"),
    (os, "mkdir", "mkdir"),
    (shutil, "rmtree", "remove"),
)


@dataclass(frozen=True, order=True)
class Site:
    """A call site: what is called, by which function, in which line."""

    what: str
    where: str
    line: int


Notify = Callable[[Site, Phase, tuple[Any, ...]], None]


def caller(depth: int) -> tuple[str, int]:
    """The function of reclaim on whose behalf a call is made, and its line.

    Of a call within `checkpoints` also whose checkpoint it is.
    """
    frame: FrameType | None = sys._getframe(depth)
    within, line = "", 0
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if SOURCE in path.parents and path.stem not in ON_BEHALF:
            name, line = f"{path.stem}.{frame.f_code.co_name}", line or frame.f_lineno
            if path.stem != "checkpoints":
                return f"{within}{name}", line
            within = within or f"{name} of "
        frame = frame.f_back
    return f"{within}the caller", line


@contextmanager
def watching(watched: Sequence[Watched], notify: Notify) -> Iterator[None]:
    """Tell of every call of the watched functions, before and after it; what `notify` raises goes
    to whoever called."""
    with ExitStack() as stack:
        for owner, name, what in watched:
            stack.enter_context(patch.object(owner, name, told(getattr(owner, name), what, notify)))
        yield


def told(function: Callable[..., Any], what: str, notify: Notify) -> Callable[..., Any]:
    """The function, with `notify` before and after it."""

    @functools.wraps(function)
    def watched(*args: Any, **named: Any) -> Any:
        site = Site(what, *caller(2))
        notify(site, "before", args)
        try:
            result = function(*args, **named)
        except Exception:  # a folder that is there already, say
            notify(site, "after", args)
            raise
        notify(site, "after", args)
        return result

    return watched

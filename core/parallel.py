"""Threads: a crew that runs jobs side by side, BLAS held to a number of threads, and the even cut of a range."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType

import numpy as np
from threadpoolctl import threadpool_limits

Job = Callable[[], object]


@lru_cache(1024)
def even_cuts(n: int, parts: int) -> tuple[tuple[int, int], ...]:
    """Cut range(n) into `parts` stretches whose lengths differ by one at most."""
    return tuple((n * i // parts, n * (i + 1) // parts) for i in range(parts))


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Crew:
    """Some threads, the caller's among them, that run lists of jobs. Use it in a `with` block.

    Job i goes to thread i mod threads, so who does what never depends on the clock.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs and wait for the last; then raise the first error, if any."""
        if self._pool is None or len(jobs) == 1:
            for job in jobs:
                job()
            return
        hands = min(self.threads, len(jobs))
        others = [self._pool.submit(_each, jobs[i::hands]) for i in range(1, hands)]  # one hand-over a thread
        try:
            _each(jobs[::hands])
        finally:
            errors = [other.exception() for other in others]
        for error in errors:
            if error is not None:
                raise error


def _each(jobs: Sequence[Job]) -> None:
    with np.errstate(all="ignore"):  # NumPy's settings belong to a thread; whoever asked looks at the result
        for job in jobs:
            job()


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Hold BLAS to a number of threads. It is a setting of the whole process, put back at the end.

    Warns where the BLAS at hand cannot be set.
    """
    with threadpool_limits(limits=count, user_api="blas") as limits:
        if not any(pool["user_api"] == "blas" for pool in limits._original_info):
            warnings.warn("this BLAS cannot be told its number of threads; speed may suffer", RuntimeWarning, 3)
        yield

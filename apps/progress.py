"""What a person sees of a training on a terminal: a bar, a line an epoch, and the end result. All on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Any

import numpy as np

from apps.training import Plan, Result
from core import Epoch, Step
from core.metrics import wilson_interval


class Progress:
    """Shows the events of a training; use it in a `with` block.

    On a terminal, a bar with loss, accuracy, examples per second and time left; elsewhere the lines alone.
    """

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console

        self.plan = plan
        self.console = Console(stderr=sys.stderr is not None, quiet=sys.stderr is None, highlight=False)
        self.bar = self._make_bar() if self.console.is_terminal else None
        self.began, self.shown, self.seen, self.loss = 0.0, 0.0, 0, 0.0
        self.metrics: dict[str, float] = {}

    def _make_bar(self) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self.console,
            refresh_per_second=4,
            transient=True,
        )
        self.total = bar.add_task("epoch 1", total=None, numbers="")
        return bar

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        self.began = monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            self._step(event)
        else:
            self.console.print(self._sentence(event), soft_wrap=True)

    def _step(self, event: Step) -> None:
        """Smooth the numbers over about 20 batches, and redraw four times a second."""
        self.seen += event.examples
        fresh = 0.05 if self.loss else 1.0
        self.loss += fresh * (event.loss - self.loss)
        for name, value in event.metrics.items():
            self.metrics[name] = self.metrics.get(name, value) + fresh * (value - self.metrics.get(name, value))
        if self.bar is None or monotonic() - self.shown < 0.25:
            return
        self.shown = monotonic()
        rate = self.seen / (self.shown - self.began)
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in ({"loss": self.loss} | self.metrics).items())
        epochs = self.plan.recipe.epochs
        self.bar.update(
            self.total,
            description=f"epoch {event.epoch + 1}/{epochs}",
            completed=event.step,
            total=epochs * event.batches,
            numbers=f"{numbers}  {rate:,.0f} {self.plan.task.unit}/s",
        )

    def _sentence(self, event: Epoch) -> str:
        numbers = {"loss": event.loss} | event.metrics
        held = {f"held-out {name}": value for name, value in event.validation.items()}
        text = "  ".join(f"{name} {value:.4f}" for name, value in (numbers | held).items())
        return f"epoch {event.epoch + 1:>3}/{self.plan.recipe.epochs}  {text}  {event.seconds:.1f} s"


def counted(what: str, pieces: Sequence[Any]) -> Iterator[Any]:
    """The pieces one by one, with a bar on a terminal that tells how many are done."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=sys.stderr is not None, quiet=sys.stderr is None)
    yield from track(pieces, what, console=console, transient=True, disable=not console.is_terminal)


def report(plan: Plan, result: Result) -> str:
    """The end of a training or evaluation, in a few lines."""
    lines = [f"{plan.task.name} {plan.model}, tested on {result.examples:,} {plan.task.unit} of {plan.data.name}"]
    for name, value in result.metrics.items():
        text = f"  {name.replace('_', ' '):<18} {value:.4f}"
        if name == "accuracy":
            low, high = wilson_interval(value, result.examples)
            text += f"   (95 % interval {low:.4f} to {high:.4f})"
        lines.append(text)
    if mistaken := confusions(result.confusion, plan.data.labels):
        lines.append(f"  most often mistaken: {mistaken}")
    return "\n".join(lines)


def confusions(matrix: np.ndarray, labels: tuple[str, ...], most: int = 4) -> str:
    """ "4 read as 9 (6 times), …", the most frequent first; empty where nothing was mistaken"""
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    pairs = [np.unravel_index(i, off.shape) for i in np.argsort(off, axis=None, kind="stable")[::-1][:most]]
    found = [
        f"{labels[true]} read as {labels[read]} ({off[true, read]} times)" for true, read in pairs if off[true, read]
    ]
    return ", ".join(found).replace("(1 times)", "(once)").replace("(2 times)", "(twice)")


def notice(text: str) -> None:
    """A sentence on standard error, where there is one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)

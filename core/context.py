"""What a pass remembers: the context of every call site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from core.gradients import Gradients
    from core.layer import Parameter, Statistic, Table
    from core.parallel import Crew

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_NOTHING: Array = np.empty(0)
_ONES, _MULTIPLES = object(), object()  # names that no layer can take


class Context:
    """What one call site of one layer keeps; owned by whoever runs the pass, the same at every step.

    train     whether the pass is one of training: dropout and the like are on
    keeps     whether `backward` may follow, so that what it needs is kept; as `train` where nothing else is said
    grads     where parameter gradients go (None when serving)
    rng       the stream of the pass, made when first asked for and drawn from in the order of the pass
    dtype     the floating type of the model's parameters, and of every buffer
    needs_dx  whether `backward` must return the gradient of the input; may be False where nobody reads it
    crew      threads with nothing else to do, for `side_by_side`; None where there are none
    saved     what `forward` left for `backward`
    ctx[i]    the context of the i-th inner call; `inner(n)` gives the first n as a list
    """

    __slots__ = (
        "_apart",
        "_held",
        "_inner",
        "_outermost",
        "_stream",
        "crew",
        "dtype",
        "grads",
        "keeps",
        "needs_dx",
        "saved",
        "train",
    )

    def __init__(
        self,
        train: bool = False,
        grads: Gradients | None = None,
        stream: Callable[[], np.random.Generator] | None = None,
        dtype: npt.DTypeLike = np.float32,
        keeps: bool | None = None,
    ) -> None:
        self.train = train
        self.keeps = train if keeps is None else keeps
        self.grads = grads
        self.dtype = np.dtype(dtype)
        self.needs_dx = True
        self.crew: Crew | None = None
        self.saved: tuple[Any, ...] = ()
        self._stream = stream
        self._inner: list[Context] = []
        self._held: dict[Any, tuple[Any, Any, Array]] = {}  # name -> (view, what it was made for, flat memory)
        self._outermost = self  # who holds the scratch memory
        self._apart = False  # whether inner calls may run side by side, so that each needs its own

    def __getitem__(self, i: int) -> Context:
        return self.inner(i + 1)[i]

    def inner(self, count: int) -> list[Context]:
        """The contexts of the first `count` inner calls, at least."""
        while len(self._inner) < count:
            context = Context(self.train, self.grads, self._stream, self.dtype, self.keeps)
            context.crew = self.crew
            if not self._apart:
                context._outermost = self._outermost
            self._inner.append(context)
        return self._inner

    @property
    def rng(self) -> np.random.Generator:
        if self._stream is None:
            raise ValueError("this pass draws random numbers, but its Context was made without a stream")
        return self._stream()

    def side_by_side(self, jobs: Sequence[Callable[[], object]]) -> None:
        """Run jobs of which none reads or writes what another one writes, buffers included: give each its ctx[i]."""
        if self.crew is not None:
            if not self._apart:
                self._apart = True
                for inner in self._inner:
                    inner._hold_scratch(inner)
            self.crew.run(jobs)
            return
        for job in jobs:
            job()

    def save(self, *arrays: Any) -> None:
        """Keep arrays for `backward`, if it may follow."""
        if self.keeps:
            self.saved = arrays

    def add_grad(self, parameter: Parameter, grad: Array) -> None:
        """grad(parameter) += grad"""
        if self.grads is not None:
            self.grads.add(parameter, grad)

    def add_product(self, parameter: Parameter, a: Array, b: Array) -> None:
        """grad(parameter) += a @ b, without a temporary on the first write of a step."""
        if self.grads is not None:
            self.grads.add_product(parameter, a, b)

    def add_rows(self, table: Table, rows: Array, grad: Array) -> None:
        """grad(table)[rows] += grad, the rows being different from each other."""
        if self.grads is not None:
            self.grads.add_rows(table, rows, grad)

    def report(self, statistic: Statistic, value: Array, weight: int) -> None:
        """Tell the loop what this pass saw of a running statistic, which it writes between steps.

        weight: how many numbers the value is a mean of.
        """
        if self.grads is not None:
            self.grads.reports.append((statistic, value.copy(), weight))

    def buffer(self, name: Any, shape: Shape, dtype: npt.DTypeLike | None = None) -> Array:
        """The same memory at every step, in C order and with what was last left in it (zeros at first).

        It grows to the largest shape seen and stays, so that a warm step allocates nothing. A name keeps the dtype of
        its first use (by default the context's).
        """
        held = self._held.get(name)
        if held is not None and held[1] == shape:
            view: Array = held[0]
            return view
        return self._hold(name, shape, shape, dtype)

    def scratch(self, name: str, shape: Shape, dtype: npt.DTypeLike | None = None) -> Array:
        """A buffer that all layers of a pass share: what it holds is lost when another one asks for the name.

        For what nobody needs once the call has returned: a deep network holds it once, where each layer would hold its
        own. Calls that run side by side share none: each ctx[i] of `side_by_side` holds its own.
        """
        return self._outermost.buffer(("scratch", name), shape, dtype)

    def like(self, name: str, x: Array, dtype: npt.DTypeLike | None = None, shape: Shape | None = None) -> Array:
        """A buffer with the memory order of x, and its shape where no other is given."""
        if shape is None:
            shape = x.shape
        if x.flags.c_contiguous:
            return self.buffer(name, shape, dtype)
        key = shape, x.strides
        held = self._held.get(name)
        if held is not None and held[1] == key:
            view: Array = held[0]
            return view
        order = sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], axis))
        view = self._hold(name, tuple(shape[axis] for axis in order), key, dtype)
        view = view.transpose(np.argsort(order))
        self._held[name] = view, key, self._held[name][2]
        return view

    def packed(self, name: str, x: Array) -> Array:
        """x itself where its elements fill their memory without gaps, in any order of axes; else a copy in a buffer."""
        span = x.itemsize + sum((n - 1) * abs(step) for n, step in zip(x.shape, x.strides, strict=True))
        if span <= x.nbytes:
            return x
        copy = self.like(name, x)
        np.copyto(copy, x)
        return copy

    def ones(self, n: int) -> Array:
        """n ones: sums over a batch are products with them, which BLAS does fastest."""
        held = self._held.get(_ONES)
        if held is not None and held[1] == n:
            view: Array = held[0]
            return view
        view = self._hold(_ONES, (n,), n, None)
        view.fill(1)
        return view

    def multiples(self, n: int, k: int) -> Array:
        """0, k, 2 k, … (n - 1) k: where the rows of a flat (n · k) array begin."""
        held = self._held.get(_MULTIPLES)
        if held is not None and held[1] == (n, k):
            view: Array = held[0]
            return view
        view = self._hold(_MULTIPLES, (n,), (n, k), np.int64)
        view[...] = np.arange(0, n * k, k)
        return view

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returned the first time: for what stays the same as long as the context lives."""
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = make(), None, _NOTHING
        return held[0]

    def _hold_scratch(self, outermost: Context) -> None:
        self._outermost = outermost
        for inner in self._inner:
            inner._hold_scratch(inner if self._apart else outermost)

    def _hold(self, name: Any, shape: Shape, key: Any, dtype: npt.DTypeLike | None) -> Array:
        size, held = prod(shape), self._held.get(name)
        flat = held[2] if held is not None else None
        if flat is None or flat.size < size:
            room = size if flat is None else size + size // 4  # what has grown twice will grow again
            flat = np.zeros(room, self.dtype if dtype is None else dtype)
        view = flat[:size].reshape(shape)
        self._held[name] = view, key, flat
        return view

    @property
    def nbytes(self) -> int:
        """The bytes held by this context and all inner ones."""
        own = sum(flat.nbytes for _, _, flat in self._held.values())
        return own + sum(inner.nbytes for inner in self._inner)

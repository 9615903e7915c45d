"""What recurrent layers share: the products that need no recurrence, the walk over time, and both ways of it.

Inside, memory is time-major and batch-last: at step t a state is a contiguous block (H, N) and all gates are one
block (G, N), so that a step is one product and a few operations on contiguous memory. Steps are taken in chunks
that stay in the cache: the inputs' product before the chunk's scan, the gradients of weights and inputs after it. Where
a second thread is at hand, the two share these products, chunk by chunk in turn, before or after the whole scan.

No mask is needed. Going forward, what stands behind an end comes after all that counts; going back, nothing arrives
from there, so its gradients are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from core.context import Array, Context, Shape
from core.initializers import glorot_uniform, orthogonal, zeros
from core.layer import Layer, Parameter
from core.layers.global_pool1d import steps_of
from core.layers.recurrent_input import Words, input_of
from core.padded import Padded
from core.parallel import even_cuts

Gates = tuple[tuple[int, int], ...]
ONES = {dtype: np.array(1, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}  # 0-d: cheapest
_CHUNK = 1 << 17  # numbers in the gates of a chunk
_HANDS = 2  # that add up the gradients of weights, whether or not each has a thread: so the bits are the same


class Recurrent(Layer):
    """h_t = cell(x_t, h_{t−1}), for t = 1 … the length of each sequence

    x (N, T, E), an array or `Padded`   W (E, G·H)   U (H, G·H)   b (G·H,)      G gates of H units
    y (N, T, H) for output "sequence", or the last h (N, H) for "last"

    A subclass lists its gates and walks over time in `_scan` and `_retrace`. Rows of the products that end in
    σ(a) = 1 / (1 + e⁻ᵃ) are negated beforehand: an exponential takes half the time of a tanh.

    gates             the blocks of the input's product in the order of memory: (which gate of W, factor)
    recurrent_gates   the same of the product with U
    blocks            how many blocks (H, N) of gradients `_retrace` makes at a step
    states            how many arrays make a state: h alone, or h and more
    kept              how many blocks (H, N) `_retrace` needs of a step besides its gates and states

    Raises ValueError where x has other than E features, or a state another shape than (N, H).
    """

    takes_padded = True
    gates: ClassVar[Gates]
    recurrent_gates: ClassVar[Gates]
    blocks: ClassVar[int]
    states: ClassVar[int] = 1
    kept: ClassVar[int] = 0

    def __init__(self, inputs: int, units: int, *, rng: np.random.Generator, output: str = "sequence") -> None:
        if output not in ("sequence", "last"):
            raise ValueError(f'output is "sequence" or "last", not "{output}"')
        count = len(self.gates)
        self.units, self.output = units, output
        self.weight = Parameter(np.concatenate([glorot_uniform((inputs, units), rng) for _ in range(count)], axis=1))
        self.recurrent = Parameter(np.concatenate([orthogonal((units, units), rng) for _ in range(count)], axis=1))
        self.bias = Parameter(zeros((count * units,)), decays=False)

    def forward(self, x: Any, ctx: Context) -> Any:
        y, final = self.scan(x, ctx)
        return y if self.output == "sequence" else final[0]

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        if self.output == "sequence":
            return self.scan_backward(dy, None, ctx)[0]
        return self.scan_backward(None, (dy,), ctx)[0]

    def scan(self, x: Any, ctx: Context, initial: tuple[Array, ...] | None = None) -> tuple[Any, tuple[Array, ...]]:
        """(y (N, T, H), final state), whatever `output` says, from an initial state (zero where none is given).

        A state is a tuple of `states` arrays (N, H). The final one is that at each sequence's end.
        """
        v, lengths = (x.values, x.lengths) if isinstance(x, Words) else steps_of(self, x)
        self._check(x.vectors if isinstance(x, Words) else v)
        n, t, *_ = v.shape
        steps = int(lengths.max(initial=0))
        w, u = self._matrices(ctx)
        given = input_of(x, v, w, self._bias(ctx), ctx)
        states = [ctx.buffer(f"state {i}", (t + 1, self.units, n)) for i in range(self.states)]
        for i, state in enumerate(states):
            state[0] = 0 if initial is None else self._checked(initial[i], n).T
        chunks, hands = self._chunks(steps, n), ctx.inner(_HANDS)
        height = steps if ctx.keeps else max((last - first for first, last in chunks), default=0)
        z = ctx.buffer("z", (height, len(w), n))
        kept = ctx.buffer("kept", (height, self.kept, self.units, n))

        def read_all(hand: int) -> None:
            for first, last in chunks[hand::_HANDS]:
                given.read(first, last, z[first:last], hands[hand])

        if shared := _shared(ctx):
            ctx.side_by_side([partial(read_all, hand) for hand in range(_HANDS)])
        for first, last in chunks:
            now = slice(first, last) if ctx.keeps else slice(last - first)
            if not shared:
                given.read(first, last, z[now], hands[0])
            with np.errstate(over="ignore"):  # e⁻ᵃ = ∞ where a gate is closed: σ = 0
                self._scan(z[now], u, [state[first : last + 1] for state in states], kept[now], ctx)
        ctx.save(given, lengths, states, z, kept, u)
        y = states[0][1:].transpose(2, 0, 1)
        at = np.arange(n)
        return Padded(y, lengths) if isinstance(x, Padded) else y, tuple(s[lengths, :, at] for s in states)

    def scan_backward(
        self, dy: Array | None, dfinal: tuple[Array, ...] | None, ctx: Context
    ) -> tuple[Array | None, tuple[Array, ...]]:
        """(dx, gradient of the initial state) from those of y and of the final state, None where zero.

        Of the final state, the gradients of its last arrays may be left out.
        """
        given, lengths, states, z, kept, u = ctx.saved
        steps, width, n = z.shape
        carried = [ctx.buffer(f"d state {i}", (self.units, n)) for i in range(self.states)]
        for carry in carried:
            carry.fill(0)
        arrive = self._arrivals(dy, dfinal, lengths, carried, ctx)
        given.start_back(steps, ctx)
        sums = [_Sums(self, u, ctx[hand]) for hand in range(_HANDS)]
        chunks, shared = self._chunks(steps, n), _shared(ctx)
        height = steps if shared else max((last - first for first, last in chunks), default=0)
        held = ctx.buffer("d", (height, self.blocks, self.units, n))

        def part(first: int, last: int) -> Array:
            return held[first:last] if shared else held[: last - first]

        def learn(hand: int, first: int, last: int) -> None:
            d = part(first, last).reshape(last - first, -1, n)
            flat = sums[hand].add(d, states[0][first:last])
            given.learn(first, last, d[:, :width], flat[:width], sums[hand].dw, ctx[hand])

        def learn_all(hand: int) -> None:
            for first, last in chunks[::-1][hand::_HANDS]:
                learn(hand, first, last)

        for i, (first, last) in enumerate(reversed(chunks)):
            now, some = slice(first, last), [state[first : last + 1] for state in states]
            self._retrace(first, z[now], u, some, kept[now], carried, arrive, part(first, last), ctx)
            if not shared:
                learn(i % _HANDS, first, last)
        if shared:
            ctx.side_by_side([partial(learn_all, hand) for hand in range(_HANDS)])
        dx = given.finish_back(sums[0].dw, ctx)
        arrive(-1)
        sums[0].hand_over(sums[1:], ctx)
        return dx, tuple(carry.T for carry in carried)

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * x[0] * x[1] * (self.weight.value.size + self.recurrent.value.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.weight.value)}, {self.units})"

    # --- what a kind of recurrence says ---------------------------------------------------------------

    def _scan(self, z: Array, u: Array, states: list[Array], kept: Array, ctx: Context) -> None:
        """Walk over C steps: z (C, G, N) and the first of states (C + 1, H, N) → the others; z becomes the gates.

        kept (C, kept, H, N) is for what `_retrace` needs besides.
        """
        raise NotImplementedError

    def _retrace(
        self,
        first: int,
        z: Array,
        u: Array,
        states: list[Array],
        kept: Array,
        carried: list[Array],
        arrive: Callable[[int], None],
        d: Array,
        ctx: Context,
    ) -> None:
        """Walk back and fill d (C, blocks, H, N): its first blocks are dz, its last ones those of U h.

        states (C + 1, H, N) as `_scan` left them. `arrive(t)` adds to `carried`, the gradients of the states, what
        comes from outside after step t, the steps being `first` and those that follow.
        """
        raise NotImplementedError

    def _recurrent_bias(self) -> Parameter | None:
        """The bias of the last recurrent gate, where it has one of its own."""
        return None

    # --- what they share ------------------------------------------------------------------------------

    def _check(self, v: Array) -> None:
        inputs, dtype = len(self.weight.value), self.weight.value.dtype
        if v.shape[-1] != inputs or v.dtype != dtype:
            raise ValueError(f"{self!r} takes {inputs} features of {dtype} a step, but x is {v.dtype} {v.shape}")

    def _matrices(self, ctx: Context) -> tuple[Array, Array]:
        """(W (G, E), U (G', H)), transposed, in the order of memory, and negated where σ follows"""
        made: list[Array] = []
        for parameter, gates in ((self.weight, self.gates), (self.recurrent, self.recurrent_gates)):
            h, value = self.units, parameter.value
            matrix = ctx.buffer(f"matrix {len(made)}", (len(gates) * h, len(value)))
            for i, (gate, factor) in enumerate(gates):
                np.multiply(value[:, gate * h : gate * h + h].T, factor, out=matrix[i * h : i * h + h])
            made.append(matrix)
        return made[0], made[1]

    def _bias(self, ctx: Context) -> Array:
        """(G, 1), likewise"""
        h, bias = self.units, ctx.buffer("bias", (len(self.bias.value), 1))
        for i, (gate, factor) in enumerate(self.gates):
            np.multiply(self.bias.value[gate * h : gate * h + h], factor, out=bias[i * h : i * h + h, 0])
        return bias

    def _chunks(self, steps: int, n: int) -> tuple[tuple[int, int], ...]:
        numbers = steps * len(self.gates) * self.units * n
        return even_cuts(steps, min(steps, -(-numbers // _CHUNK)))

    def _checked(self, state: Array, n: int) -> Array:
        if state.shape != (n, self.units):
            raise ValueError(f"{self!r} takes a state {(n, self.units)}, not {state.shape}")
        return state

    def _arrivals(
        self, dy: Array | None, dfinal: tuple[Array, ...] | None, lengths: Array, carried: list[Array], ctx: Context
    ) -> Callable[[int], None]:
        """A function that adds to the carried gradients what arrives from outside after step t (−1: at the start)."""
        steps = None
        if dy is not None:
            steps = dy.transpose(1, 2, 0)  # (T, H, N)
            if not steps.flags.c_contiguous:
                blocks = ctx.buffer("dy", steps.shape)
                np.copyto(blocks, steps)
                steps = blocks
        ending: dict[int, Array] = {}
        if dfinal is not None:
            ending = {int(t) - 1: np.flatnonzero(lengths == t) for t in np.unique(lengths)}

        def arrive(t: int) -> None:
            if steps is not None and t >= 0:
                carried[0] += steps[t]
            if dfinal is not None and t in ending:
                for carry, d in zip(carried, dfinal, strict=False):
                    carry[:, ending[t]] += d[ending[t]].T

        return arrive


def _shared(ctx: Context) -> bool:
    """Whether there is a second thread to share the products with, and memory for those of all steps."""
    return ctx.keeps and ctx.crew is not None and ctx.crew.threads > 1


class _Sums:
    """The gradients of a recurrent layer's weights, added up over chunks of steps."""

    def __init__(self, layer: Recurrent, u: Array, ctx: Context) -> None:
        self.layer, self.ctx = layer, ctx
        self.dw = ctx.buffer("dw", (len(layer.gates) * layer.units, len(layer.weight.value)))
        self.du = ctx.buffer("du", u.shape)
        self.db = ctx.buffer("db", (layer.blocks * layer.units,))
        for total in (self.dw, self.du, self.db):
            total.fill(0)

    def add(self, d: Array, h: Array) -> Array:
        """d (C, rows, N)   h (C, H, N), each before its step   → d as (rows, C·N); adds to du and db"""
        ctx, (c, g, n) = self.ctx, d.shape
        flat, before = ctx.buffer("flat d", (g, c, n)), ctx.buffer("flat h", (h.shape[1], c, n))
        np.copyto(flat, d.transpose(1, 0, 2))
        np.copyto(before, h.transpose(1, 0, 2))
        flat, before = flat.reshape(g, c * n), before.reshape(-1, c * n)
        self.du += np.dot(flat[g - len(self.du) :], before.T, out=ctx.buffer("du part", self.du.shape))
        self.db += np.dot(flat, ctx.ones(c * n), out=ctx.buffer("db part", self.db.shape))
        return flat

    def hand_over(self, others: Sequence[_Sums], ctx: Context) -> None:
        """Give the sums, and those of others, to a context, with the gates in the order of the parameters."""
        for other in others:
            self.dw += other.dw
            self.du += other.du
            self.db += other.db
        layer, h = self.layer, self.layer.units
        for parameter, total, gates in (
            (layer.weight, self.dw, layer.gates),
            (layer.recurrent, self.du, layer.recurrent_gates),
            (layer.bias, self.db[: len(self.dw), None], layer.gates),
        ):
            grad = ctx.buffer(f"grad {total.shape[1]}", (total.shape[1], len(total)))
            for i, (gate, factor) in enumerate(gates):
                np.multiply(total[i * h : i * h + h].T, factor, out=grad[:, gate * h : gate * h + h])
            ctx.add_grad(parameter, grad.reshape(parameter.value.shape))
        bias = layer._recurrent_bias()
        if bias is not None:
            ctx.add_grad(bias, self.db[-h:])

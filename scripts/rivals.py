"""The networks of scripts/workloads.py in PyTorch, JAX and onnxruntime, each in the best way we know.

All start from our weights, and refuse to be timed unless loss and gradients of the first step agree with ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Workload

from core import Layer, Parameter, Sequential

Numbers = Callable[[Parameter], np.ndarray]  # a parameter's weights, or its gradient, of the first step


def numbers(model: Layer, folder: Path, kind: str) -> Numbers:
    """What ours left in `folder`: weights for kind "w", gradients for "g"."""
    with np.load(folder / "first.npz") as first:
        found = {parameter: first[f"{kind}{i}"] for i, parameter in enumerate(model.trainable())}
    return lambda parameter: found[parameter]


def agree(what: str, theirs: Any, ours: np.ndarray) -> None:
    """Raises ValueError where two arrays differ by more than single precision explains, ties of maxima included."""
    theirs = np.asarray(theirs)
    apart = float(np.linalg.norm(theirs - ours) / (np.linalg.norm(ours) + 1e-12))
    if theirs.shape != ours.shape or not apart < 5e-3:
        raise ValueError(f"{what} {theirs.shape} differs by {apart:.2g} of its length from ours {ours.shape}")


def load(contender: str) -> None:
    """Import what a contender needs, so that its memory can be told from that of its work."""
    if contender == "jax":
        import jax  # noqa: F401
    else:
        import torch  # noqa: F401
    if contender == "onnxruntime":
        import onnxruntime  # noqa: F401


# --- PyTorch --------------------------------------------------------------------------------------------------------


class Twins:
    """A model of ours as a PyTorch module.

    pairs   (a parameter of theirs, its weights in ours, its gradient in ours), in their layout
    """

    def __init__(self, model: Sequential, dropout: float, sparse: bool) -> None:
        import torch as installed

        self.torch: Any = installed
        self.dropout, self.sparse = dropout, sparse
        self.flat = False  # whether what comes are rows, no longer images
        self.pairs: list[tuple[Any, Callable[[Numbers], np.ndarray], Callable[[Numbers], np.ndarray]]] = []
        self.module = self.torch.nn.Sequential(*(made for layer in model.layers for made in self.of(layer)))

    def of(self, layer: Any) -> list[Any]:
        """The modules that do what a layer does."""
        nn, name = self.torch.nn, type(layer).__name__
        self.flat |= name == "Flatten"
        if name in ("Flatten", "ReLU"):
            return [getattr(nn, name)()]
        if name == "Dropout":
            return [nn.Dropout(self.dropout)]
        if name == "Dense":
            return [self._matched(nn.Linear(*layer.weight.value.shape, bias=layer.bias is not None), layer)]
        if name in ("Conv2D", "ConvPool2D"):
            c, k, _, o = layer.weight.value.shape
            pad = layer.window.pads(9, 9)[0][0]
            convolution = self._matched(nn.Conv2d(c, o, k, padding=pad, bias=layer.bias is not None), layer)
            return [convolution, nn.MaxPool2d(2)] if name == "ConvPool2D" else [convolution]
        if name == "BatchNorm":
            norm = (nn.BatchNorm1d if self.flat else nn.BatchNorm2d)(len(layer.gain.value))
            self._pair(norm.weight, layer.gain, np.asarray)
            self._pair(norm.bias, layer.shift, np.asarray)
            return [norm]
        if name == "EmbeddingConvMaxPool1D":
            return [self._of_text(layer.embedding, "Embedding"), self._filters(layer.filters)]
        if name == "EmbeddingRecurrent":
            return [*self.of(layer.embedding), *self.of(layer.reader)]
        return [self._of_text(layer, name)]

    def _of_text(self, layer: Any, name: str) -> Any:
        torch, nn = self.torch, self.torch.nn
        if name in ("Embedding", "EmbeddingBag"):
            made = getattr(nn, name)(*layer.weight.value.shape, sparse=self.sparse)
            self._pair(made.weight, layer.weight, np.asarray)
            return made
        cells = [layer] if name in ("LSTM", "GRU") else [layer.forwards, layer.backwards]
        e, h = cells[0].weight.value.shape[0], cells[0].units
        recurrent = getattr(nn, type(cells[0]).__name__)(e, h, bidirectional=len(cells) == 2)
        for cell, suffix in zip(cells, ("l0", "l0_reverse"), strict=False):
            self._pair(getattr(recurrent, f"weight_ih_{suffix}"), cell.weight, np.transpose)
            self._pair(getattr(recurrent, f"weight_hh_{suffix}"), cell.recurrent, np.transpose)
            self._pair(getattr(recurrent, f"bias_ih_{suffix}"), cell.bias, np.asarray)
            self._second_bias(getattr(recurrent, f"bias_hh_{suffix}"), cell)

        def last(x: Any) -> Any:  # time first: what it computes in
            _, state = recurrent(x.transpose(0, 1))
            state = state[0] if isinstance(state, tuple) else state
            return torch.cat(tuple(state), 1) if len(state) == 2 else state[0]

        return self._module(last, recurrent)

    def _filters(self, filters: Any) -> Any:
        torch, nn = self.torch, self.torch.nn
        branches = nn.ModuleList()
        for each in filters:
            k, e, o = each.weight.value.shape
            convolution = nn.Conv1d(e, o, k)
            self._pair(convolution.weight, each.weight, lambda w: w.transpose(2, 1, 0))
            self._pair(convolution.bias, each.bias, np.asarray)
            branches.append(convolution)

        def widths(x: Any) -> Any:
            x = x.transpose(1, 2)
            return torch.cat([convolution(x).amax(2) for convolution in branches], 1)

        return self._module(widths, branches)

    def _module(self, function: Any, inner: Any) -> Any:
        nn = self.torch.nn

        class Module(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Any) -> Any:
                return function(x)

        return Module()

    def _matched(self, module: Any, layer: Any) -> Any:
        self._pair(module.weight, layer.weight, lambda w: np.moveaxis(w, -1, 0))  # (I, O) → (O, I)
        if layer.bias is not None:
            self._pair(module.bias, layer.bias, np.asarray)
        return module

    def _pair(self, theirs: Any, ours: Parameter, turned: Callable[[np.ndarray], np.ndarray]) -> None:
        numbers = lambda of: turned(of(ours))  # noqa: E731
        self.pairs.append((theirs, numbers, numbers))

    def _second_bias(self, theirs: Any, cell: Any) -> None:
        """It stands beside the other one, which begins as ours, and learns as that one does; q alone has its own."""
        own, h = getattr(cell, "recurrent_bias", None), cell.units

        def weights(of: Numbers) -> np.ndarray:
            zero = np.zeros_like(of(cell.bias))
            return zero if own is None else np.concatenate([zero[: 2 * h], of(own)])

        def gradients(of: Numbers) -> np.ndarray:
            return of(cell.bias) if own is None else np.concatenate([of(cell.bias)[: 2 * h], of(own)])

        self.pairs.append((theirs, weights, gradients))

    def take_over(self, weights: Numbers) -> None:
        with self.torch.no_grad():
            for theirs, ours, _ in self.pairs:
                theirs.copy_(self.torch.from_numpy(np.ascontiguousarray(ours(weights))))

    def check(self, gradients: Numbers) -> None:
        for theirs, _, ours in self.pairs:
            grad = theirs.grad.to_dense() if theirs.grad.is_sparse else theirs.grad
            agree("the gradient", grad, ours(gradients))


def torch_network(work: Workload, folder: Path, dropout: float, variant: str) -> tuple[Any, Twins, Sequential]:
    """(the module with our weights, …)"""
    ours = work.build(np.random.default_rng(1), dropout)
    twins = Twins(ours, dropout, "sparse" in variant)
    twins.take_over(numbers(ours, folder, "w"))
    torch = twins.torch
    torch.set_num_threads(2)
    if "channels-last" in variant:
        twins.module.to(memory_format=torch.channels_last)
    return twins.module, twins, ours


def torch_training(work: Workload, folder: Path, variant: str) -> Iterator[None]:
    """A step each time it is asked: fused Adam, for sparse embeddings SparseAdam beside it."""
    module, twins, ours = torch_network(work, folder, 0.0, variant)
    torch, size = twins.torch, work.recipe.batch_size
    x, t = map(torch.from_numpy, work.data())
    if "channels-last" in variant:
        x = x.to(memory_format=torch.channels_last)
    loss = torch.nn.CrossEntropyLoss()
    value = loss(module(x[:size]), t[:size])
    value.backward()
    with np.load(folder / "first.npz") as first:
        agree("the loss", value.item(), first["loss"])
    twins.check(numbers(ours, folder, "g"))
    module, twins, _ = torch_network(work, folder, 0.5, variant)
    tables = [p for p in module.parameters() if p.shape[0] >= 10_000] if "sparse" in variant else []
    rest = [p for p in module.parameters() if all(p is not table for table in tables)]
    optimizers = [torch.optim.Adam(rest, lr=1e-3, fused=True)]
    if tables:
        optimizers.append(torch.optim.SparseAdam(tables, lr=1e-3))
    if "compile" in variant:
        module = torch.compile(module)
    while True:
        order = torch.randperm(len(x))
        for i in range(0, len(x), size):
            rows = order[i : i + size]
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss(module(x[rows]), t[rows]).backward()
            for optimizer in optimizers:
                optimizer.step()
            yield


def torch_serving(work: Workload, folder: Path, variant: str, batch: int) -> Iterator[None]:
    """A batch each time it is asked, in inference mode."""
    module, twins, _ = torch_network(work, folder, 0.0, variant)
    torch = twins.torch
    module.eval()
    x = torch.from_numpy(work.data()[0][:batch])
    if "channels-last" in variant:
        x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        _check_outputs(folder, module(x).numpy())
        while True:
            module(x)
            yield


def _check_outputs(folder: Path, y: np.ndarray) -> None:
    with np.load(folder / "first.npz") as first:
        n = min(len(y), len(first["y"]))
        agree("outputs", y[:n], first["y"][:n])


# --- onnxruntime ----------------------------------------------------------------------------------------------------


def onnx_serving(work: Workload, folder: Path, variant: str, batch: int) -> Iterator[None]:
    """A batch each time it is asked, of the model that PyTorch exports: one thread for one example, else two."""
    import onnxruntime

    module, twins, _ = torch_network(work, folder, 0.0, "")
    module.eval()
    x = work.data()[0][:batch]
    file = folder / f"model{batch}{variant.replace(' ', '')}.onnx"
    twins.torch.onnx.export(module, (twins.torch.from_numpy(x),), str(file), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if batch == 1 else 2
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x}
    _check_outputs(folder, session.run(None, given)[0])
    while True:
        session.run(None, given)
        yield


# --- JAX ------------------------------------------------------------------------------------------------------------


def jax_training(work: Workload, folder: Path, variant: str) -> Iterator[None]:
    """A step each time it is asked: one compiled function, which reuses the memory of what it is given."""
    import jax as installed
    import jax.numpy as jnp

    jax: Any = installed
    jax.config.update("jax_default_prng_impl", "unsafe_rbg")  # the quickest masks
    ours = work.build(np.random.default_rng(1), 0.5)
    weights, expected = numbers(ours, folder, "w"), numbers(ours, folder, "g")
    place = {parameter: i for i, parameter in enumerate(ours.trainable())}
    size = work.recipe.batch_size

    def loss(w: list[Any], x: Any, t: Any, key: Any) -> Any:
        for layer in ours.layers:
            x = _jax_layer(layer, x, lambda p: w[place[p]], key)
        return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], 1).mean()

    def step(w: list[Any], m: list[Any], v: list[Any], count: Any, x: Any, t: Any, key: Any) -> Any:
        value, g = jax.value_and_grad(loss)(w, x, t, key)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        w = [a - rate * b / (jnp.sqrt(c) + 1e-8) for a, b, c in zip(w, m, v, strict=True)]
        return w, m, v, count + 1, value

    x, t = work.data()
    w = [jnp.array(weights(parameter)) for parameter in ours.trainable()]
    value, g = jax.jit(jax.value_and_grad(loss))(w, x[:size], t[:size], None)
    with np.load(folder / "first.npz") as first:
        agree("the loss", value, first["loss"])
    for parameter, grad in zip(ours.trainable(), g, strict=True):
        agree("the gradient", grad, expected(parameter))
    compiled = jax.jit(step, donate_argnums=(0, 1, 2))
    m, v = [jnp.zeros_like(a) for a in w], [jnp.zeros_like(a) for a in w]
    count, rng = jnp.float32(1), np.random.default_rng(0)
    while True:
        order = rng.permutation(len(x))
        for i in range(0, len(x), size):
            rows = order[i : i + size]
            key = jax.random.key(int(rng.integers(2**31)))
            w, m, v, count, value = compiled(w, m, v, count, x[rows], t[rows], key)
            value.block_until_ready()
            yield


def _jax_layer(layer: Any, x: Any, w: Callable[[Parameter], Any], key: Any) -> Any:
    import jax
    import jax.numpy as jnp

    name = type(layer).__name__
    if name == "Flatten":
        return x.reshape(len(x), -1)
    if name == "ReLU":
        return jnp.maximum(x, 0)
    if name == "Dropout":
        return x if key is None else jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * 2, 0)
    if name == "Dense":
        y = x @ w(layer.weight)
        return y if layer.bias is None else y + w(layer.bias)
    if name in ("Conv2D", "ConvPool2D"):
        pad = layer.window.pads(9, 9)
        y = jax.lax.conv_general_dilated(x, w(layer.weight), (1, 1), pad, dimension_numbers=("NCHW", "IHWO", "NCHW"))
        if name == "ConvPool2D":
            y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        return y if layer.bias is None else y + w(layer.bias)[:, None, None]
    if name == "BatchNorm":
        axes = (0, 2, 3) if x.ndim == 4 else (0,)
        shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        gain, shift = w(layer.gain).reshape(shape), w(layer.shift).reshape(shape)
        return (x - mean) * jax.lax.rsqrt(variance + layer.epsilon) * gain + shift
    if name == "Embedding":
        return w(layer.weight)[x]
    if name == "EmbeddingBag":
        return w(layer.weight)[x].mean(1)
    if name == "EmbeddingConvMaxPool1D":
        vectors = _jax_layer(layer.embedding, x, w, key)
        return jnp.concatenate([_jax_layer(each, vectors, w, key) for each in layer.filters], 1)
    if name == "EmbeddingRecurrent":
        return _jax_layer(layer.reader, _jax_layer(layer.embedding, x, w, key), w, key)
    if name == "ConvMaxPool1D":
        y = jax.lax.conv_general_dilated(x, w(layer.weight), (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
        return y.max(1) + w(layer.bias)
    if name == "Bidirectional":
        return jnp.concatenate(
            [_jax_layer(layer.forwards, x, w, key), _jax_layer(layer.backwards, x[:, ::-1], w, key)], 1
        )
    return _jax_recurrent(layer, x, w, name)


def _jax_recurrent(layer: Any, x: Any, w: Callable[[Parameter], Any], name: str) -> Any:
    import jax
    import jax.numpy as jnp

    inputs = jnp.swapaxes(x, 0, 1) @ w(layer.weight) + w(layer.bias)  # (T, N, G)
    zero = jnp.zeros((len(x), layer.units), x.dtype)
    sigmoid = jax.nn.sigmoid

    def lstm(state: Any, given: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(given + h @ w(layer.recurrent), 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return (sigmoid(o) * jnp.tanh(c), c), None

    def gru(h: Any, given: Any) -> Any:
        (r, z, n), (a, b, q) = jnp.split(given, 3, 1), jnp.split(h @ w(layer.recurrent), 3, 1)
        z = sigmoid(z + b)
        fresh = jnp.tanh(n + sigmoid(r + a) * (q + w(layer.recurrent_bias)))
        return (1 - z) * fresh + z * h, None

    if name == "LSTM":
        return jax.lax.scan(lstm, (zero, zero), inputs)[0][0]
    return jax.lax.scan(gru, zero, inputs)[0]

"""Parameters, and the two methods that make a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from core.context import Array, Context, Shape


class Parameter:
    """An array that training changes. Write its numbers, `value[...] = …`, not the attribute.

    value      the array; during a training it is a view into one flat vector of all parameters
    decays     whether L1, L2 and weight decay apply: true for weights, false for biases, gains and shifts
    frozen     whether training leaves it alone; read when `fit` begins
    lr_factor  multiplies the learning rate
    """

    def __init__(self, value: Array, *, decays: bool = True) -> None:
        self.value = np.asarray(value)
        self.decays = decays
        self.frozen = False
        self.lr_factor = 1.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.value.shape}"


class Statistic(Parameter):
    """An array that belongs to the weights but is observed, not learned: a running mean, say.

    Layers report what they saw (`Context.report`), and the training loop moves the value towards it between
    steps: value += rate · (observed - value).
    """

    def __init__(self, value: Array, *, rate: float) -> None:
        super().__init__(value, decays=False)
        self.frozen = True
        self.rate = rate


class Table(Parameter):
    """A matrix (V, E) of which a pass reads a few rows, so that its gradient is zero but for those.

    Layers add it with `Context.add_rows`. Where the recipe says "lazy", an update touches those rows alone.
    """


class Layer:
    """A function with a hand-written derivative.

    `forward(x, ctx)` returns y; `backward(dy, ctx)` takes the gradient of y, adds the gradients of the layer's
    parameters to the context and returns the gradient of x. What `backward` needs, `forward` saves in the context:
    a pass never writes the layer, so many threads share one model. Neither method writes its argument, and what
    they return is valid until the next call with that context.

    Parameters and inner layers are found in the attributes, also inside lists, tuples and dicts.

    per_step      whether (N, T, F) is T · N rows to it, so that containers may give it the values of a `Padded` batch
    takes_padded  whether `forward` itself takes, and may give, a `Padded` batch; gradients are arrays all the same
    fused         whether the layers in it hold their weights only, and are never called
    """

    per_step: ClassVar[bool] = False
    takes_padded: ClassVar[bool] = False
    fused: ClassVar[bool] = False

    def forward(self, x: Any, ctx: Context) -> Any:
        """x → y; saves in ctx what `backward` needs."""
        raise NotImplementedError

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        """dy, shaped as y → dx, shaped as x; adds the parameters' gradients to ctx. None only if not ctx.needs_dx."""
        raise NotImplementedError

    def flops(self, x: Shape, y: Shape) -> int:
        """Floating-point operations of one `forward` from shape x to shape y, a multiply-add counted as two."""
        return int(np.prod(y))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) in order, each once; the name is the path of attributes, such as "layers.0.weight"."""
        seen: set[Parameter] = set()
        for name, parameter in _walk(self, ""):
            if parameter not in seen:
                seen.add(parameter)
                yield name, parameter

    def parameters(self) -> list[Parameter]:
        """Every parameter, once, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def trainable(self) -> list[Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.parameters() if not parameter.frozen]

    def freeze(self, frozen: bool = True) -> None:
        """Let training leave this layer's parameters and running statistics as they are; `freeze(False)` undoes it."""
        for parameter in self.parameters():
            parameter.frozen = frozen or isinstance(parameter, Statistic)

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply the learning rate of this layer's parameters by a factor."""
        if not (np.isfinite(factor) and factor >= 0):
            raise ValueError(f"a learning-rate factor is a finite number from 0 up, not {factor}")
        for parameter in self.parameters():
            parameter.lr_factor = float(factor)

    def __repr__(self) -> str:
        return type(self).__name__ + "()"


def _walk(node: Any, path: str) -> Iterator[tuple[str, Parameter]]:
    if isinstance(node, Parameter):
        yield path, node
    elif isinstance(node, Layer):
        for name, value in vars(node).items():
            yield from _walk(value, f"{path}.{name}" if path else name)
    elif isinstance(node, list | tuple | dict):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _walk(value, f"{path}.{key}" if path else str(key))


def dtype_of(model: Layer) -> np.dtype[Any]:
    """The floating type that all parameters of a model share (float32 for a model without any).

    Raises ValueError where parameters differ: mixed types would be up-cast in silence.
    """
    dtypes = {parameter.value.dtype for parameter in model.parameters()} or {np.dtype(np.float32)}
    if len(dtypes) > 1:
        raise ValueError(
            f"the model's parameters mix {' and '.join(sorted(map(str, dtypes)))}; convert them to one type"
        )
    return dtypes.pop()


def check_model(model: Any) -> None:
    """Refuse what is not a layer, a class or a name say, in words."""
    if not isinstance(model, Layer):
        raise TypeError(f"a model is a layer that was made, Sequential(…) say, not {model!r}")


def check_input(x: Any, model: Layer) -> None:
    """Refuse an input whose floating type is not the model's, in words, before a product does so in riddles."""
    dtype = dtype_of(model)
    if x.dtype.kind == "f" and x.dtype != dtype:
        raise ValueError(f"the input is {x.dtype} but the model's parameters are {dtype}; use x.astype(np.{dtype})")

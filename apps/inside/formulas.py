"""The formulas that the page “Inside” sets: of layers, losses and optimizers, forward and backward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from core import Layer

Formulas = tuple[str, ...]

DY, DX = r"\frac{\partial L}{\partial y}", r"\frac{\partial L}{\partial x}"
_WAY_BACK = (rf"{DX} = {DY}\,W^\top", rf"\frac{{\partial L}}{{\partial W}} = x^\top {DY}")
_BIAS = rf"\frac{{\partial L}}{{\partial b}} = {DY}"

LAYERS: Mapping[str, tuple[Formulas, Formulas]] = {  # forward, backward
    "Dense": ((r"y = x\,W + b",), (*_WAY_BACK, _BIAS)),
    "Conv2D": (
        (r"y_{opq} = b_o + \sum_{c,i,j} x_{c,\,p+i,\,q+j}\; W_{cijo}",),
        (
            r"\frac{\partial L}{\partial W_{cijo}} = \sum_{p,q} x_{c,\,p+i,\,q+j}\;\frac{\partial L}{\partial y_{opq}}",
            r"\frac{\partial L}{\partial x_{chw}} = \sum_{o,i,j} W_{cijo}\;"
            r"\frac{\partial L}{\partial y_{o,\,h-i,\,w-j}}",
        ),
    ),
    "ReLU": ((r"y = \max(x, 0)",), (rf"{DX} = {DY} \cdot [\,x > 0\,]",)),
    "Sigmoid": ((r"y = \frac{1}{1 + e^{-x}}",), (rf"{DX} = {DY} \cdot y\,(1 - y)",)),
    "Tanh": ((r"y = \tanh x",), (rf"{DX} = {DY} \cdot (1 - y^2)",)),
    "BatchNorm": (
        (r"y = \gamma\,\frac{x - \mathrm{mean}}{\sqrt{\mathrm{variance} + \varepsilon}} + \beta",),
        (rf"{DX} = {DY} \cdot \frac{{\gamma}}{{\sqrt{{\mathrm{{variance}} + \varepsilon}}}}",),
    ),
    "Total": ((r"y = b + \sum_f x_f",), (rf"\frac{{\partial L}}{{\partial x_f}} = {DY}", _BIAS)),
    "EmbeddingBag": (
        (r"y = b + \sum_t r_t\, W_{x_t}",),
        (r"\frac{\partial L}{\partial W_v} = \sum_{t\,:\,x_t = v} r_t\, \frac{\partial L}{\partial y}", _BIAS),
    ),
    "Versus": (
        (r"y = \left(-\tfrac{x}{2},\; \tfrac{x}{2}\right)",),
        (rf"{DX} = \tfrac12 \frac{{\partial L}}{{\partial y_2}} - \tfrac12 \frac{{\partial L}}{{\partial y_1}}",),
    ),
    "Calibrated": ((r"y = \frac{x}{T}",), (rf"{DX} = {DY} \cdot \frac{{1}}{{T}}",)),
}
LAYERS = {**LAYERS, "ConvPool2D": ((r"y = \mathrm{maxpool}_{2\times2}(x * W) + b",), LAYERS["Conv2D"][1])}

LOSSES: Mapping[str, Formulas] = {
    "SoftmaxCrossEntropy": (
        r"p_k = \frac{e^{z_k}}{\sum_j e^{z_j}} \qquad L = -\ln p_t",
        r"\frac{\partial L}{\partial z_k} = p_k - t_k",
    ),
    "BinaryCrossEntropy": (
        r"p = \frac{1}{1 + e^{-z}} \qquad L = -t \ln p - (1 - t) \ln (1 - p)",
        r"\frac{\partial L}{\partial z} = p - t",
    ),
    "MeanSquaredError": (r"L = (y - t)^2", r"\frac{\partial L}{\partial y} = 2\,(y - t)"),
}

OPTIMIZERS: Mapping[str, tuple[str, Formulas, str]] = {  # what it is called, its formulas, what its first step is
    "sgd": ("Gradient descent (SGD)", (r"\theta \leftarrow \theta - \eta\, g",), "Straight down the slope."),
    "momentum": (
        "Momentum",
        (r"v \leftarrow \mu\, v + g \qquad \theta \leftarrow \theta - \eta\, v",),
        "The ball starts at rest, so its first step is that of plain descent; later ones are longer.",
    ),
    "adagrad": (
        "AdaGrad",
        (r"s \leftarrow s + g^2", r"\theta \leftarrow \theta - \eta\, \frac{g}{\sqrt{s} + \varepsilon}"),
        "At first s = g², so every parameter moves by η, whatever the size of its gradient.",
    ),
    "rmsprop": (
        "RMSprop",
        (
            r"s \leftarrow \rho\, s + (1 - \rho)\, g^2",
            r"\theta \leftarrow \theta - \eta\, \frac{g}{\sqrt{s} + \varepsilon}",
        ),
        "At first s = 0.1 g², so every parameter moves by η / √0.1 = 3.16 η.",
    ),
    "adam": (
        "Adam",
        (
            r"m \leftarrow \beta_1 m + (1 - \beta_1)\, g \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2",
            r"\theta \leftarrow \theta - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \varepsilon}",
        ),
        "At the first step the size of the gradient cancels: every parameter moves by η, against its gradient's sign.",
    ),
}


def docstring(layer: Layer) -> str:
    """What a layer's docstring says of its formulas and shapes: the passage before what it raises."""
    return inspect.cleandoc(type(layer).__doc__ or "").split("\n\nRaises")[0]

"""Layers of a user's own: what is found in them, and the mistakes that would otherwise pass in silence."""

import numpy as np
import pytest

from core import (
    Adam,
    BinaryCrossEntropy,
    Concat,
    Dense,
    Examples,
    Layer,
    MeanSquaredError,
    Parameter,
    Recipe,
    Sequential,
    Tanh,
    correct,
    evaluate,
    fit,
    gradient_check,
    predict,
    summary,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 3)).astype(np.float32)


class Shift(Layer):
    """y = x + b, the parameter held by whatever `hold` makes of it"""

    def __init__(self, hold):
        self.held = hold(Parameter(np.zeros(3, np.float32)))

    def find(self):
        node = self.held
        while not isinstance(node, Parameter):
            node = next(iter(node.values() if isinstance(node, dict) else node))
        return node

    def forward(self, x, ctx):
        return x + self.find().value

    def backward(self, dy, ctx):
        ctx.add_grad(self.find(), dy.sum(axis=0))
        return dy


@pytest.mark.parametrize("hold", [lambda p: p, lambda p: [p], lambda p: {"b": (p,)}, lambda p: {"b": {"c": [p]}}])
def test_a_parameter_is_found_wherever_it_is_held(hold):
    layer = Shift(hold)
    assert len(layer.parameters()) == 1
    gradient_check(layer, X)
    for _ in fit(layer, MeanSquaredError(), Adam(0.1), Examples(X, X + 1), Recipe(epochs=30, batch_size=5)):
        pass
    np.testing.assert_allclose(layer.find().value, 1, atol=0.05)


def test_a_parameter_that_is_not_found_is_no_silent_loss():
    layer = Shift(lambda p: {p})
    with pytest.raises(ValueError, match="which the model does not list"):
        gradient_check(layer, X)
    model = Sequential(Dense(3, 3, rng=RNG), layer)
    with pytest.raises(ValueError, match="which the model does not list"):
        next(fit(model, MeanSquaredError(), Adam(0.1), Examples(X, X), Recipe()))


def test_a_gradient_of_the_wrong_shape_is_named():
    class Wrong(Shift):
        def backward(self, dy, ctx):
            ctx.add_grad(self.find(), dy)
            return dy

    with pytest.raises(ValueError, match=r"a gradient of shape \(20, 3\) was added for Parameter\(3,\)"):
        gradient_check(Wrong(lambda p: p), X)


class Forgets(Tanh):
    def backward(self, dy, ctx):
        super().backward(dy, ctx)


@pytest.mark.parametrize(
    "model", [Sequential(Dense(3, 3, rng=RNG), Forgets()), Sequential(Dense(3, 3, rng=RNG), Concat(Forgets()))]
)
def test_a_backward_that_returns_nothing_is_named(model):
    with pytest.raises(ValueError, match=r"Forgets\(\).backward returned no gradient"):
        next(fit(model, MeanSquaredError(), Adam(0.1), Examples(X, X), Recipe()))


def test_a_container_may_read_what_belongs_to_a_layer_in_it():
    class Transposed(Layer):
        def __init__(self, rng):
            self.inner = Dense(3, 3, rng=rng)

        def forward(self, x, ctx):
            return self.inner.forward(x, ctx[0]) @ self.inner.weight.value.T

        def backward(self, dy, ctx):
            return self.inner.backward(dy @ self.inner.weight.value, ctx[0])

    assert summary(Transposed(RNG), (3,)).parameters == 12


def test_layers_in_a_list_are_refused_in_words():
    with pytest.raises(TypeError, match="takes layers, one after the other, not list"):
        Sequential([Tanh()])


def test_correct_counts_what_a_classifier_tells_right():
    outputs = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    assert correct(outputs, np.array([1, 0, 0])) == 2
    logits, t = np.array([[-1.0], [2.0], [0.5]]), np.array([0, 1, 0])
    assert correct(logits, t) == correct(logits[:, 0], t) == correct(logits, t[:, None].astype(np.float32)) == 2
    assert correct(outputs, np.array([[0.4, 0.6], [0.1, 0.9], [0.7, 0.3]])) == 1
    with pytest.raises(ValueError, match="not those of a classifier"):
        correct(outputs, np.zeros((3, 2)))


def test_a_binary_model_reports_its_accuracy():
    t = (X[:, 0] > 0).astype(np.float32)
    model = Dense(3, 1, rng=RNG)
    for _ in fit(model, BinaryCrossEntropy(), Adam(0.1), Examples(X, t), Recipe(epochs=60, batch_size=10)):
        pass
    assert evaluate(model, Examples(X, t), BinaryCrossEntropy(), {"accuracy": correct})["accuracy"] > 0.9


def test_a_missing_batch_axis_is_named():
    with pytest.raises(ValueError, match=r"is the batch axis missing\? Use x\[None\]"):
        predict(Dense(3, 2, rng=RNG), X[0])

"""The engine against PyTorch, in float64: layers, losses, and twenty steps of every optimizer."""

from math import sqrt

import numpy as np
import pytest

from core import (
    ELU,
    GELU,
    LAYERS,
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    AdditiveBins,
    AveragePool2D,
    BatchNorm,
    BinaryCrossEntropy,
    ColumnEmbedding,
    Concat,
    Context,
    Conv2D,
    ConvPool2D,
    Dense,
    Dropout,
    Ensemble,
    EnsembleDense,
    Examples,
    Flatten,
    GlobalAveragePool2D,
    Gradients,
    Huber,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MeanAbsoluteError,
    MeanSquaredError,
    Momentum,
    Muon,
    Nesterov,
    PiecewiseLinear,
    Recipe,
    ReLU,
    Reshape,
    Residual,
    RMSprop,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Statistic,
    Tanh,
    Total,
    fit,
    predict,
)

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # these arrays are too small to share
nn, functional = torch.nn, torch.nn.functional

STEPS = 20


class Beside(nn.Module):
    """Torch's modules side by side, joined by a function: a sum for Residual, a concatenation for Concat."""

    def __init__(self, join, *branches):
        super().__init__()
        self.join, self.branches = join, nn.ModuleList(branches)

    def forward(self, x):
        return self.join([branch(x) for branch in self.branches])


def joined(parts):
    return torch.cat(parts, 1)


TWINS = {  # what is compared -> (ours from a generator, torch's, the shape of x)
    "dense": (lambda r: Dense(4, 3, rng=r), lambda: nn.Linear(4, 3), (5, 4)),
    "dense over time": (lambda r: Dense(4, 3, rng=r), lambda: nn.Linear(4, 3), (5, 2, 4)),
    "dense without bias": (lambda r: Dense(4, 3, rng=r, bias=False), lambda: nn.Linear(4, 3, bias=False), (5, 4)),
    "conv": (lambda r: Conv2D(2, 3, 3, rng=r), lambda: nn.Conv2d(2, 3, 3), (4, 2, 7, 6)),
    "conv, one pixel": (lambda r: Conv2D(3, 2, 1, rng=r), lambda: nn.Conv2d(3, 2, 1), (4, 3, 5, 5)),
    "conv, many windows": (lambda r: Conv2D(1, 2, 2, rng=r), lambda: nn.Conv2d(1, 2, 2), (32, 1, 14, 27)),
    "conv, stride": (
        lambda r: Conv2D(2, 3, (3, 2), rng=r, stride=(2, 3)),
        lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 3)),
        (4, 2, 9, 8),
    ),
    "conv, padding": (
        lambda r: Conv2D(2, 3, 3, rng=r, padding="same"),
        lambda: nn.Conv2d(2, 3, 3, padding="same"),
        (4, 2, 5, 6),
    ),
    "conv, dilation": (
        lambda r: Conv2D(2, 3, 3, rng=r, dilation=(2, 1), bias=False),
        lambda: nn.Conv2d(2, 3, 3, dilation=(2, 1), bias=False),
        (4, 2, 8, 5),
    ),
    "conv, all of it": (
        lambda r: Conv2D(2, 3, 3, rng=r, stride=2, padding=2, dilation=2),
        lambda: nn.Conv2d(2, 3, 3, stride=2, padding=2, dilation=2),
        (4, 2, 9, 8),
    ),
    "conv, uneven padding": (
        lambda r: Conv2D(2, 3, 2, rng=r, padding=((2, 1), (0, 3)), stride=(1, 2)),
        lambda: nn.Sequential(nn.ZeroPad2d((0, 3, 2, 1)), nn.Conv2d(2, 3, 2, stride=(1, 2))),
        (4, 2, 4, 5),
    ),
    "conv and pool": (
        lambda r: ConvPool2D(2, 3, 3, rng=r, padding=1),
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2)),
        (4, 2, 7, 8),
    ),
    "max pool": (lambda r: MaxPool2D(2), lambda: nn.MaxPool2d(2), (4, 2, 5, 6)),
    "max pool, overlapping": (lambda r: MaxPool2D(3, stride=2), lambda: nn.MaxPool2d(3, 2), (4, 2, 7, 8)),
    "average pool": (lambda r: AveragePool2D(2), lambda: nn.AvgPool2d(2), (4, 2, 5, 6)),
    "average pool, overlapping": (
        lambda r: AveragePool2D((3, 2), stride=(2, 1)),
        lambda: nn.AvgPool2d((3, 2), (2, 1)),
        (4, 2, 7, 8),
    ),
    "global average": (
        lambda r: GlobalAveragePool2D(),
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        (4, 3, 5, 2),
    ),
    "batch norm": (lambda r: BatchNorm(4), lambda: nn.BatchNorm1d(4), (6, 4)),
    "batch norm of images": (lambda r: BatchNorm(3), lambda: nn.BatchNorm2d(3), (4, 3, 2, 5)),
    "layer norm": (lambda r: LayerNorm(4), lambda: nn.LayerNorm(4), (5, 4)),
    "layer norm over time": (lambda r: LayerNorm(4), lambda: nn.LayerNorm(4), (3, 2, 4)),
    "flatten": (lambda r: Flatten(), nn.Flatten, (4, 2, 3, 5)),
    "reshape": (lambda r: Reshape(2, 3, 1), lambda: nn.Unflatten(1, (2, 3, 1)), (4, 6)),
    "relu": (lambda r: ReLU(), nn.ReLU, (5, 4)),
    "leaky relu": (lambda r: LeakyReLU(0.1), lambda: nn.LeakyReLU(0.1), (5, 4)),
    "elu": (lambda r: ELU(0.5), lambda: nn.ELU(0.5), (5, 4)),
    "gelu": (lambda r: GELU(), lambda: nn.GELU("tanh"), (5, 4)),
    "silu": (lambda r: SiLU(), nn.SiLU, (5, 4)),
    "sigmoid": (lambda r: Sigmoid(), nn.Sigmoid, (5, 4)),
    "tanh": (lambda r: Tanh(), nn.Tanh, (5, 4)),
    "softplus": (lambda r: Softplus(), nn.Softplus, (5, 4)),
    "softmax": (lambda r: Softmax(), lambda: nn.Softmax(-1), (5, 4)),
    "residual": (
        lambda r: Residual(Sequential(Conv2D(2, 3, 3, rng=r, padding=1), Tanh()), Conv2D(2, 3, 1, rng=r)),
        lambda: Beside(sum, nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh()), nn.Conv2d(2, 3, 1)),
        (4, 2, 5, 5),
    ),
    "concat": (
        lambda r: Concat(Conv2D(2, 3, 3, rng=r, padding=1), AveragePool2D(1)),
        lambda: Beside(joined, nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(1)),
        (4, 2, 4, 5),
    ),
    "ensemble": (
        lambda r: Ensemble(Dense(4, 3, rng=r), Dense(4, 3, rng=r)),
        lambda: Beside(lambda parts: sum(z.softmax(1) for z in parts).div(2).log(), nn.Linear(4, 3), nn.Linear(4, 3)),
        (5, 4),
    ),
    "a network": (
        lambda r: Sequential(
            Conv2D(1, 4, 3, rng=r), BatchNorm(4), ReLU(), MaxPool2D(2), Flatten(), Dense(36, 5, rng=r), GELU()
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 5),
            nn.GELU("tanh"),
        ),
        (6, 1, 8, 8),
    ),
}


def tensor(array):
    return torch.tensor(np.ascontiguousarray(array))


def agree(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6, atol=1e-6)


def as_torch(weight):
    """(I, O) → (O, I) and (C, K, K, O) → (O, C, K, K): our outputs come last, torch's first."""
    return np.moveaxis(weight, -1, 0)


def learned(layer):
    return [p for p in layer.parameters() if not isinstance(p, Statistic)]


def twins(make, make_torch, seed=0):
    """(our layer, torch's) in float64, with the same random parameters."""
    rng = np.random.default_rng(seed)
    ours, theirs = make(rng), make_torch().double()
    for parameter in ours.parameters():  # gains and shifts too: 1 and 0 would hide a mistake
        parameter.value = parameter.value.astype(np.float64)
    with torch.no_grad():
        for parameter, copy in zip(learned(ours), theirs.parameters(), strict=True):
            parameter.value = parameter.value + rng.uniform(-0.3, 0.3, parameter.value.shape)
            copy.copy_(tensor(as_torch(parameter.value)))
    return ours, theirs


def test_every_layer_has_a_twin():
    made = {type(make(np.random.default_rng(0))) for make, _, _ in TWINS.values()}
    elsewhere = {layer for layer in LAYERS if layer.takes_padded} - made  # in test_sequences_against_torch.py
    tables = {AdditiveBins, ColumnEmbedding, EnsembleDense, PiecewiseLinear, Total}  # in test_table_layers.py
    assert made == set(LAYERS) - elsewhere - tables - {Dropout}  # which draws other numbers


@pytest.mark.parametrize("name", TWINS)
def test_a_layer_computes_what_torch_computes(name):
    make, make_torch, shape = TWINS[name]
    ours, theirs = twins(make, make_torch)
    rng = np.random.default_rng(1)
    x, grads = rng.standard_normal(shape), Gradients(ours.trainable())
    ctx, x_torch = Context(True, grads, None, np.float64), tensor(x).requires_grad_()
    grads.start()
    y, y_torch = ours.forward(x, ctx), theirs(x_torch)
    agree(y, y_torch)
    dy = rng.standard_normal(y.shape)
    dx = ours.backward(dy, ctx)
    grads.finish()
    y_torch.backward(tensor(dy))
    agree(dx, x_torch.grad)
    for parameter, copy in zip(learned(ours), theirs.parameters(), strict=True):
        agree(as_torch(grads[parameter]), copy.grad)


@pytest.mark.parametrize("name", TWINS)
def test_a_serving_layer_computes_what_torch_computes(name):
    make, make_torch, shape = TWINS[name]
    ours, theirs = twins(make, make_torch)
    x = np.random.default_rng(2).standard_normal(shape)
    agree(ours.forward(x, Context(dtype=np.float64)), theirs.eval()(tensor(x)))


# --- losses ---------------------------------------------------------------------------------------

CLASS_WEIGHTS = 0.5, 2.0, 1.0, 3.0
DEFAULT = {"label_smoothing": 0.0, "class_weights": None}
SETTINGS = [DEFAULT | {"label_smoothing": s, "class_weights": w} for s in (0.0, 0.1) for w in (None, CLASS_WEIGHTS)]
WEIGHTS = [None, np.array([1.0, 0.0, 2.5, 0.5, 1.5, 3.0])]
TARGETS = np.array([0, 3, 1, 2, 3, 0])


def assert_loss(loss, each, y, t, weight):
    """`each` is torch's loss of every example, from the logits."""
    scale = 1 / loss.total_weight(t, weight)
    value, dy = loss(y, t, scale, Context(True, dtype=np.float64), weight)
    y_torch = tensor(y).requires_grad_()
    losses = each(y_torch)
    total = (losses if weight is None else losses * tensor(weight)).sum() * scale
    total.backward()
    assert value == pytest.approx(total.item(), rel=1e-9)
    agree(dy, y_torch.grad)


@pytest.mark.parametrize("weight", WEIGHTS, ids=["plain", "weighted"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_softmax_cross_entropy_is_torchs(settings, weight):
    y = 3 * np.random.default_rng(3).standard_normal((6, 4))
    of_classes = None if settings["class_weights"] is None else tensor(CLASS_WEIGHTS).double()
    options = {"weight": of_classes, "label_smoothing": settings["label_smoothing"]}
    loss = SoftmaxCrossEntropy(**settings)
    each = lambda z: functional.cross_entropy(z, tensor(TARGETS), reduction="none", **options)  # noqa: E731
    assert_loss(loss, each, y, TARGETS, weight)
    if weight is None:  # torch's own mean divides by the same total weight
        value, _ = loss(y, TARGETS, 1 / loss.total_weight(TARGETS), Context(dtype=np.float64))
        assert value == pytest.approx(functional.cross_entropy(tensor(y), tensor(TARGETS), **options).item(), rel=1e-9)


@pytest.mark.parametrize("weight", WEIGHTS, ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_with_a_distribution_is_torchs(smoothing, weight):
    rng = np.random.default_rng(5)
    y, q = 3 * rng.standard_normal((6, 4)), rng.dirichlet(np.ones(4), 6)
    each = lambda z: functional.cross_entropy(z, tensor(q), reduction="none", label_smoothing=smoothing)  # noqa: E731
    assert_loss(SoftmaxCrossEntropy(label_smoothing=smoothing), each, y, q, weight)


@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
@pytest.mark.parametrize("weight", WEIGHTS, ids=["plain", "weighted"])
@pytest.mark.parametrize("class_weights", [None, (0.5, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_torchs(outputs, weight, class_weights, smoothing):
    rng = np.random.default_rng(4)
    y, t = 4 * rng.standard_normal((6, *outputs)), rng.integers(0, 2, (6, *outputs)).astype(np.float64)
    soft, (w0, w1) = (1 - smoothing) * t + smoothing / 2, class_weights or (1.0, 1.0)

    def each(z):
        options = {"pos_weight": torch.tensor(w1 / w0).double(), "reduction": "none"}
        return w0 * functional.binary_cross_entropy_with_logits(z, tensor(soft), **options).reshape(6, -1).mean(1)

    loss = BinaryCrossEntropy(label_smoothing=smoothing, class_weights=class_weights)
    assert_loss(loss, each, y, t, weight)


@pytest.mark.parametrize("outputs", [(), (1,), (3,), (2, 4)])
@pytest.mark.parametrize("weight", WEIGHTS, ids=["plain", "weighted"])
@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        (MeanSquaredError(), functional.mse_loss),
        (MeanAbsoluteError(), functional.l1_loss),
        (Huber(), functional.huber_loss),
        (Huber(0.3), lambda y, t, reduction: functional.huber_loss(y, t, reduction, 0.3)),
    ],
)
def test_a_regression_loss_is_torchs(loss, theirs, outputs, weight):
    rng = np.random.default_rng(5)
    y, t = rng.standard_normal((6, *outputs)), rng.standard_normal((6, *outputs))
    assert_loss(loss, lambda z: theirs(z, tensor(t), reduction="none").reshape(6, -1).mean(1), y, t, weight)


# --- training -------------------------------------------------------------------------------------


def network(r):
    return Sequential(Conv2D(1, 3, 3, rng=r), Tanh(), Flatten(), Dense(48, 6, rng=r), Tanh(), Dense(6, 4, rng=r))


def torch_network():
    layers = nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 4)
    return nn.Sequential(*layers)


def train(model, optimizer, x, t, **recipe):
    """One batch of everything, STEPS times: the order of the examples does not matter."""
    recipe = Recipe(epochs=STEPS, batch_size=len(x), blas_threads=1, **recipe)
    for _ in fit(model, SoftmaxCrossEntropy(), optimizer, Examples(x, t), recipe, threads=1):
        pass


def train_torch(module, optimizer, x, t):
    for _ in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(module(tensor(x)), tensor(t)).backward()
        optimizer.step()


def two_groups(module, decay):
    """Weights decay, biases do not."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    biases = [p for p in module.parameters() if p.ndim == 1]
    return [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]


def problem(seed=6, shape=(1, 6, 6)):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((12, *shape)), rng.integers(0, 4, 12)


OPTIMIZER_TWINS = {
    "sgd": (lambda: SGD(0.3), lambda p: torch.optim.SGD(p, 0.3)),
    "momentum": (lambda: Momentum(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, 0.8)),
    "nesterov": (lambda: Nesterov(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, 0.8, nesterov=True)),
    "adagrad": (lambda: AdaGrad(0.1), lambda p: torch.optim.Adagrad(p, 0.1, eps=1e-10)),
    "rmsprop": (lambda: RMSprop(0.01), lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9, eps=1e-8)),
    "adam": (lambda: Adam(0.02, (0.8, 0.99)), lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.99))),
}


def assert_same_parameters(ours, theirs):
    for parameter, copy in zip(learned(ours), theirs.parameters(), strict=True):
        agree(as_torch(parameter.value), copy)


def test_every_optimizer_has_a_twin():
    assert {*OPTIMIZER_TWINS, "adamw", "muon"} == set(OPTIMIZERS)


@pytest.mark.parametrize("l2", [0.0, 0.1], ids=["plain", "l2"])
@pytest.mark.parametrize("name", OPTIMIZER_TWINS)
def test_twenty_steps_of_an_optimizer_are_torchs(name, l2):
    """Torch's weight decay is the gradient of our L2 penalty, which only weights feel."""
    make, make_torch = OPTIMIZER_TWINS[name]
    ours, theirs = twins(network, torch_network)
    before = [p.value.copy() for p in learned(ours)]
    train(ours, make(), *problem(), l2=l2)
    train_torch(theirs, make_torch(two_groups(theirs, l2)), *problem())
    assert_same_parameters(ours, theirs)
    assert all(np.abs(p.value - w).max() > 1e-2 for p, w in zip(learned(ours), before, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_twenty_steps_of_adamw_decay_beside_the_rule_as_torchs(decay):
    ours, theirs = twins(network, torch_network)
    train(ours, AdamW(0.02, weight_decay=decay), *problem())
    train_torch(theirs, torch.optim.AdamW(two_groups(theirs, decay), 0.02), *problem())
    assert_same_parameters(ours, theirs)


def test_decoupled_decay_is_not_a_penalty():
    """For Adam they differ: a penalty is divided by the size of the gradient, the decay is not."""
    ours, theirs = twins(network, torch_network)
    train(ours, Adam(0.02, weight_decay=0.5), *problem())
    train_torch(theirs, torch.optim.Adam(two_groups(theirs, 0.5), 0.02), *problem())
    assert not np.allclose(as_torch(learned(ours)[0].value), next(theirs.parameters()).detach(), atol=1e-3)


class MuonInFloat64(torch.optim.Optimizer):
    """torch.optim.Muon as its documentation states it, in float64 (torch's iterates in bfloat16)."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.1):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad.reshape(len(p), -1)  # a convolution's weight as a matrix
                buffer = self.state[p].setdefault("buffer", torch.zeros_like(g))
                buffer.mul_(group["momentum"]).add_(g)
                x = g + group["momentum"] * buffer
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    gram = x @ x.T
                    x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * 0.2 * sqrt(max(x.shape)) * x.reshape(p.shape))


class Both:
    """Muon for the weights, AdamW for the biases."""

    def __init__(self, muon, module, lr):
        weights = [p for p in module.parameters() if p.ndim > 1]
        biases = [p for p in module.parameters() if p.ndim == 1]
        self.parts = muon(weights), torch.optim.AdamW(biases, lr, weight_decay=0.0)

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_twenty_steps_of_muon_are_its_formula(decay):
    ours, theirs = twins(network, torch_network)
    train(ours, Muon(0.02, weight_decay=decay), *problem())
    muon = lambda p: MuonInFloat64(p, 0.02, weight_decay=decay)  # noqa: E731
    train_torch(theirs, Both(muon, theirs, 0.02), *problem())
    assert_same_parameters(ours, theirs)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_a_step_of_muon_is_torchs_up_to_bfloat16():
    rng = np.random.default_rng(7)
    for shape in ((8, 5), (5, 8), (6, 6)):
        w, g = rng.standard_normal(shape), rng.standard_normal(shape)
        p = nn.Parameter(tensor(w))
        p.grad = tensor(g)
        torch.optim.Muon([p], 0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
        slots = {"m": np.zeros(shape), "v": np.zeros(shape)}
        ours = w.copy()
        Muon(0.1).update(ours, g, slots, 0.1, 1, np.empty(shape))
        np.testing.assert_allclose(ours - w, p.detach().numpy() - w, atol=0.05 * np.abs(ours - w).max())


def test_running_statistics_follow_torchs_through_a_training():
    def make(r):
        return Sequential(Conv2D(1, 3, 3, rng=r), BatchNorm(3), ReLU(), Flatten(), Dense(48, 4, rng=r), BatchNorm(4))

    def make_torch():
        layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4)
        return nn.Sequential(*layers)

    ours, theirs = twins(make, make_torch)
    x, t = problem(8)
    train(ours, Momentum(0.1), x, t)
    train_torch(theirs, torch.optim.SGD(theirs.parameters(), 0.1, 0.9), x, t)
    assert_same_parameters(ours, theirs)
    for ours_norm, theirs_norm in ((ours[1], theirs[1]), (ours[5], theirs[5])):
        agree(ours_norm.mean.value, theirs_norm.running_mean)
        agree(ours_norm.variance.value, theirs_norm.running_var)
    agree(predict(ours, x), theirs.eval()(tensor(x)))


def test_clipping_by_norm_is_torchs():
    ours, theirs = twins(network, torch_network)
    x, t = problem(9)
    limit = 0.5

    class Clipped(torch.optim.SGD):
        norms = ()

        def step(self):
            parameters = [p for group in self.param_groups for p in group["params"]]
            self.norms += (nn.utils.clip_grad_norm_(parameters, limit).item(),)
            super().step()

    optimizer = Clipped(theirs.parameters(), 0.2)
    train(ours, SGD(0.2), x, t, clip_norm=limit)
    train_torch(theirs, optimizer, x, t)
    assert_same_parameters(ours, theirs)
    assert min(optimizer.norms) < limit < max(optimizer.norms), optimizer.norms

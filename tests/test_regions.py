"""Learning from unlabelled texts: which words stand around which, the loss of it, and what is handed on."""

import numpy as np
import pytest

from apps.errors import InputError
from apps.sentiment.regions import COMMON, RegionExamples, learn_from
from core import Adam, Context, Epoch, Gradients, Ragged, Recipe, fit
from models import build
from models.regions import AROUND, WIDTH, AroundLoss, Regions

TEXTS = Ragged.of([np.arange(2, 60), [1, 70, 71], [], np.arange(100, 130)])


def test_a_region_and_the_words_around_it_are_of_one_text():
    examples = RegionExamples(TEXTS, 120, stride=1)
    assert len(examples) == 58 + 3 + 30
    x, around, _ = examples.take(np.arange(len(examples)), 0, Context())
    assert x.shape == (91, WIDTH + AROUND)
    assert x[20, :WIDTH].tolist() == [20, 21, 22, 23, 24]
    assert x[58, :WIDTH].tolist() == [0, 0, 1, 70, 71]
    assert x[59, :WIDTH].tolist() == [0, 1, 70, 71, 0]
    middle = 61 + 12  # of the last text, at 112
    assert around[middle].tolist() == [105, 106, 107, 108, 109, 115, 116, 117, 118, 119]
    assert around[61 + 20].tolist()[-5:] == [0] * 5  # ids from 120 up are unknown, and not predicted
    assert not ((around > 0) & (around < COMMON + 2)).any()


def test_the_gradient_of_the_loss_is_its_derivative():
    rng = np.random.default_rng(0)
    t = rng.integers(0, 8, (4, AROUND))
    seen = np.unique(t[t > 0])
    y = rng.standard_normal((4, len(seen)))
    loss, ctx = AroundLoss(), Context(dtype=np.float64)
    value, dy = loss(y, t, 0.25, ctx)
    truth = np.array([[word in row for word in seen] for row in t])
    assert value == pytest.approx(np.log1p(np.exp(np.where(truth, -y, y))).sum() / AROUND / 4)
    dy = dy.copy()
    for i, j in ((0, 0), (2, 3), (3, 5)):
        step = np.zeros_like(y)
        step[i, j] = 1e-6
        slope = (loss(y + step, t, 0.25, ctx)[0] - loss(y - step, t, 0.25, ctx)[0]) / 2e-6
        assert dy[i, j] == pytest.approx(slope, abs=1e-7)


def test_the_gradients_of_the_predictor_are_its_derivatives():
    model = build("region_predictor", {"words": 200, "features": 4}, rng=np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.value = parameter.value.astype(np.float64)
    texts = Ragged.of([np.random.default_rng(1).integers(60, 200, 80)])
    x, t, _ = RegionExamples(texts, 200).take(np.arange(20), 0, Context())
    loss = AroundLoss()
    grads = Gradients(model.trainable())
    ctx = Context(True, grads, dtype=np.float64)
    ctx.needs_dx = False
    grads.start()
    _, dy = loss(model.forward(x, ctx), t, 1.0, Context(dtype=np.float64))
    model.backward(dy, ctx)
    grads.finish()
    for name, parameter in model.named_parameters():
        for at in np.argwhere(np.abs(grads[parameter]) > 1e-4)[::7][:5]:
            at = tuple(at)
            value, before = [], parameter.value[at]
            for step in (1e-6, -1e-6):
                parameter.value[at] = before + step
                value.append(loss(model.forward(x, Context(dtype=np.float64)), t, 1.0, Context(dtype=np.float64))[0])
            parameter.value[at] = before
            assert grads[parameter][at] == pytest.approx((value[0] - value[1]) / 2e-6, rel=1e-3, abs=1e-6), name


def test_words_that_stand_in_one_company_get_like_vectors():
    """Texts of two kinds, whose words never meet."""
    rng = np.random.default_rng(0)
    low = COMMON + 2
    texts = Ragged.of([low + 20 * (i % 2) + rng.integers(0, 20, 60) for i in range(60)])
    model = build("region_predictor", {"words": low + 40, "features": 8}, rng=rng)
    examples = RegionExamples(texts, low + 40, stride=1)
    losses = [
        event.loss
        for event in fit(model, AroundLoss(), Adam(0.02), examples, Recipe(epochs=4, batch_size=64))
        if isinstance(event, Epoch)
    ]
    assert losses[-1] < losses[0]
    v = model.layers[0].inward.weight.value[low:]
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    alike = v @ v.T
    assert alike[:20, :20].mean() > alike[:20, 20:].mean() + 0.3


def test_what_was_learned_is_handed_on():
    predictor = build("region_predictor", {"words": 50, "features": 4}, rng=np.random.default_rng(0))
    arrays = {name: parameter.value for name, parameter in predictor.named_parameters()}
    sizes = {"words": 50, "outputs": 2, "features": 4}
    model = build("region_cnn", sizes, rng=np.random.default_rng(1))
    learn_from(model, arrays)
    _, embedding, regions, *_ = model.layers[0].inner.layers
    assert (embedding.weight.value == arrays["layers.0.inward.weight"]).all()
    assert isinstance(regions, Regions)
    assert (regions.bias.value == arrays["layers.0.inward.bias"]).all()
    with pytest.raises(InputError, match="no vectors of words of the size"):
        learn_from(build("region_cnn", sizes | {"features": 5}, rng=np.random.default_rng(1)), arrays)
    with pytest.raises(InputError, match="no vectors of words"):
        learn_from(build("ngram_linear", {"words": 50, "outputs": 2, "rows": 9}, rng=np.random.default_rng(1)), arrays)

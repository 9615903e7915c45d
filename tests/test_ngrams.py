"""Models of n-grams, against plain Python: which n-grams a text has, which are chosen, and what their ratios are."""

from collections import Counter
from math import log

import numpy as np
import pytest

from core import Context, EmbeddingBag, Ragged, predict
from models import build
from models.ngrams import BITS, NGrams, Selected, prepare_ngrams

WORDS = 50


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    return Ragged.of([rng.integers(1, WORDS, rng.integers(0, 30)) for _ in range(200)])


def grams_of(ids, orders):
    """{n-gram as a tuple: its positions}, without those that hold an unknown word"""
    found = {}
    for n in range(1, orders + 1):
        for i in range(len(ids) - n + 1):
            gram = tuple(map(int, ids[i : i + n]))
            if n == 1 or 1 not in gram:
                found.setdefault(gram, []).append(i)
    return found


def test_equal_ngrams_have_equal_ids_and_others_have_others(texts):
    layer = NGrams(WORDS, 3, unique=False)
    id_of = {}
    for ids in (texts[i] for i in range(len(texts))):
        if not len(ids):
            continue
        made = layer.grams(ids[None].astype(np.int64)).reshape(3, -1)
        expected = grams_of(ids, 3)
        assert np.count_nonzero(made) == sum(map(len, expected.values()))
        for gram, places in expected.items():
            for place in places:
                assert id_of.setdefault(gram, made[len(gram) - 1, place]) == made[len(gram) - 1, place]
    assert all(id_of[gram] == gram[0] for gram in id_of if len(gram) == 1)
    assert all(WORDS <= id_of[gram] < WORDS + (1 << BITS) for gram in id_of if len(gram) > 1)
    assert len(set(id_of.values())) >= len(id_of) - 3  # of some thousands, hardly two share a hash


def test_unique_keeps_each_ngram_once(texts):
    ids = texts.padded(np.arange(len(texts)), Context())
    once = NGrams(WORDS, 2, unique=True).forward(ids, Context())
    often = NGrams(WORDS, 2, unique=False).forward(ids, Context())
    for a, b in zip(once, often, strict=True):
        assert sorted(a[a > 0]) == sorted({*b[b > 0].tolist()})


def test_selected_ids_are_numbered_and_others_are_none():
    layer = Selected(4)
    layer.keys.value[:3] = [5, 9, 8_000_000]
    x = np.array([[0, 5, 6, 9, 8_000_000, 8_000_001]])
    assert layer.forward(x, Context()).tolist() == [[0, 1, 0, 2, 3, 0]]


@pytest.mark.parametrize("classes", [2, 3])
def test_ratios_are_those_of_the_formula(texts, classes):
    t = np.random.default_rng(1).integers(0, classes, len(texts))
    model = build("ngram_linear", {"words": WORDS, "outputs": classes, "rows": 3000}, rng=np.random.default_rng(0))
    prepare_ngrams(model, texts, t, least=3, start=0.5)
    inner = model.layers[0].inner.layers
    keys, ratio, bag = inner[1].keys.value, inner[2].weight.value, inner[3].weight.value
    has = [Counter(gram for i in np.flatnonzero(t == k) for gram in grams_of(texts[i], 3)) for k in range(classes)]
    total = sum(has, Counter())
    kept = [gram for gram, count in total.items() if count >= 3 and gram != (1,)]
    grams = NGrams(WORDS, 3, unique=False)
    assert np.count_nonzero(keys < 1 << 24) == len(kept)
    norm = [sum(has[k][gram] + 1 for gram in kept) for k in range(classes)]
    rest = [sum(total[gram] - has[k][gram] + 1 for gram in kept) for k in range(classes)]
    for gram in kept:
        row = int(np.searchsorted(keys, grams.grams(np.array([gram])).reshape(3, -1)[len(gram) - 1, 0])) + 1
        r = [
            log((has[k][gram] + 1) / norm[k]) - log((total[gram] - has[k][gram] + 1) / rest[k]) for k in range(classes)
        ]
        assert ratio[row] == pytest.approx(max(map(abs, r)), abs=1e-5)
        assert ratio[row] * bag[row] == pytest.approx(0.5 * np.array(r[1:] if classes == 2 else r), abs=1e-5)


def test_the_most_frequent_are_chosen(texts):
    model = build("ngram_linear", {"words": WORDS, "outputs": 2, "rows": 40}, rng=np.random.default_rng(0))
    prepare_ngrams(model, texts, np.arange(len(texts)) % 2, least=1)
    total = Counter(gram for i in range(len(texts)) for gram in grams_of(texts[i], 3) if gram != (1,))
    chosen = model.layers[0].inner.layers[1].keys.value
    frequent = [gram[0] for gram, count in total.items() if len(gram) == 1 and count > total.most_common(41)[-1][1]]
    assert np.count_nonzero(chosen < 1 << 24) == 40
    assert {*frequent} <= {*chosen.astype(int).tolist()}


@pytest.mark.parametrize("name", ["ngram_linear", "ngram_bag"])
def test_padding_never_changes_a_result(texts, name):
    model = build(name, {"words": WORDS, "outputs": 2, "rows": 500}, rng=np.random.default_rng(0))
    prepare_ngrams(model, texts, np.arange(len(texts)) % 2)
    together = predict(model, texts)
    alone = np.concatenate([predict(model, texts[i : i + 1]) for i in range(len(texts))])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_ratios_in_the_weights_predict_the_same(texts):
    sizes = {"words": WORDS, "outputs": 2, "rows": 500}
    a = build("ngram_linear", sizes, rng=np.random.default_rng(0))
    b = build("ngram_linear", sizes | {"ratios": False}, rng=np.random.default_rng(0))
    prepare_ngrams(a, texts, np.arange(len(texts)) % 2)
    _, selected, ratios, bag, _ = a.layers[0].inner.layers
    _, other, folded, _ = b.layers[0].inner.layers
    assert isinstance(folded, EmbeddingBag)
    other.keys.value[...] = selected.keys.value
    folded.weight.value[...] = bag.weight.value * ratios.weight.value[:, None]
    np.testing.assert_allclose(predict(a, texts), predict(b, texts), atol=1e-5)


def test_absurd_sizes_are_refused():
    for sizes in ({"orders": 9}, {"orders": 0}, {"rows": 10**8}, {"rows": -1}):
        with pytest.raises(ValueError, match=r"n-grams|parameters|cannot be built|dimensions"):
            build("ngram_linear", {"words": WORDS, "outputs": 2} | sizes, rng=np.random.default_rng(0))

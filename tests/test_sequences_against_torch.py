"""Layers of sequences against PyTorch, in float64, on sequences of different lengths."""

import numpy as np
import pytest

from core import (
    GRU,
    LAYERS,
    LSTM,
    RNN,
    AdaGrad,
    Adam,
    AttentionPooling,
    Bidirectional,
    Concat,
    Context,
    Conv1D,
    ConvMaxPool1D,
    Dense,
    Embedding,
    EmbeddingBag,
    EmbeddingConvMaxPool1D,
    EmbeddingRecurrent,
    Ensemble,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    Gradients,
    MaxPool1D,
    MultiHeadSelfAttention,
    Padded,
    Recipe,
    Residual,
    Sequences,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
)

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
nn, functional = torch.nn, torch.nn.functional

LENGTHS = np.array([6, 4, 2, 1])
N, T, E, H = 4, 6, 4, 3


def tensor(array):
    return torch.tensor(np.ascontiguousarray(array))


def learning(layer):
    return {name: tensor(p.value).requires_grad_() for name, p in layer.named_parameters()}


# --- torch's side: (our layer, {name: tensor like our parameter}, x (N, T, E), lengths) → y ---------


def recurrent(module, p, prefix=""):
    """torch's recurrence, run on our parameters: transposed, and with our one bias in place of two."""
    zero = torch.zeros_like(p[prefix + "bias"])
    hidden = zero
    if isinstance(module, nn.GRU):
        hidden = torch.cat((zero[: 2 * H], p[prefix + "recurrent_bias"]))
    names = {
        "weight_ih_l0": p[prefix + "weight"].T,
        "weight_hh_l0": p[prefix + "recurrent"].T,
        "bias_ih_l0": p[prefix + "bias"],
        "bias_hh_l0": hidden,
    }

    def run(x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True)
        y, final = torch.func.functional_call(module, names, (packed,))
        return nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], final

    return run


def sequence(kind):
    return lambda layer, p, x, lengths: recurrent(kind(E, H, batch_first=True).double(), p)(x, lengths)[0]


def last(kind):
    def run(layer, p, x, lengths):
        final = recurrent(kind(E, H, batch_first=True).double(), p)(x, lengths)[1]
        return (final[0] if isinstance(final, tuple) else final)[0]

    return run


def turned(x, lengths):
    return torch.stack([torch.cat((s[:k].flip(0), s[k:])) for s, k in zip(x, lengths, strict=True)])


def both_ways(layer, p, x, lengths):
    ahead = recurrent(nn.GRU(E, H, batch_first=True).double(), p, "forwards.")(x, lengths)[0]
    behind = recurrent(nn.GRU(E, H, batch_first=True).double(), p, "backwards.")(turned(x, lengths), lengths)[0]
    return torch.cat((ahead, turned(behind, lengths)), 2)


def convolution(layer, p, x, lengths):
    kernel = p["weight"].shape[0]
    pad = ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2) if layer.padding == "same" else (0, 0)
    behind = torch.arange(T) >= torch.tensor(lengths)[:, None]
    x = functional.pad(x.masked_fill(behind[:, :, None], 0).transpose(1, 2), pad)
    return functional.conv1d(x, p["weight"].permute(2, 1, 0), p["bias"]).transpose(1, 2)


def max_pool(layer, p, x, lengths):
    x = torch.stack([torch.cat((s[:k], torch.full((T - k, E), -1e9))) for s, k in zip(x, lengths, strict=True)])
    return functional.max_pool1d(x.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)


def each(pool):
    return lambda layer, p, x, lengths: torch.stack([pool(s[:k]) for s, k in zip(x, lengths, strict=True)])


def attention_pooling(layer, p, x, lengths):
    def pool(s):
        a = torch.softmax(torch.tanh(s @ p["weight"] + p["bias"]) @ p["query"], 0)
        return a @ s

    return each(pool)(layer, p, x, lengths)


def conv_max(layer, p, x, lengths):
    y = convolution(layer, p, x, lengths)
    return torch.stack([s[:k].max(0).values for s, k in zip(y, lengths, strict=True)])


def self_attention(layer, p, x, lengths):
    behind = torch.arange(T) >= torch.tensor(lengths)[:, None]
    ahead = torch.triu(torch.ones(T, T, dtype=bool), 1) if layer.causal else None
    return functional.multi_head_attention_forward(
        *(x.transpose(0, 1),) * 3,
        *(E, layer.heads, p["weight"].T, p["bias"], None, None, False, 0.0, p["out_weight"].T, p["out_bias"]),
        key_padding_mask=behind,
        attn_mask=ahead,
        need_weights=False,
    )[0].transpose(0, 1)


def largest(s):
    return s.max(0).values


TWINS = {  # what is compared -> (ours from a generator, torch's)
    "rnn": (lambda r: RNN(E, H, rng=r), sequence(nn.RNN)),
    "rnn, the last": (lambda r: RNN(E, H, rng=r, output="last"), last(nn.RNN)),
    "lstm": (lambda r: LSTM(E, H, rng=r), sequence(nn.LSTM)),
    "lstm, the last": (lambda r: LSTM(E, H, rng=r, output="last"), last(nn.LSTM)),
    "gru": (lambda r: GRU(E, H, rng=r), sequence(nn.GRU)),
    "gru, the last": (lambda r: GRU(E, H, rng=r, output="last"), last(nn.GRU)),
    "both ways": (lambda r: Bidirectional(GRU(E, H, rng=r), GRU(E, H, rng=r)), both_ways),
    "convolution": (lambda r: Conv1D(E, 5, 3, rng=r), convolution),
    "convolution, even": (lambda r: Conv1D(E, 5, 4, rng=r), convolution),
    "convolution and maximum": (lambda r: ConvMaxPool1D(E, 5, 3, rng=r), conv_max),
    "maximum of windows": (lambda r: MaxPool1D(2), max_pool),
    "maximum": (lambda r: GlobalMaxPool1D(), each(largest)),
    "mean": (lambda r: GlobalAveragePool1D(), each(lambda s: s.mean(0))),
    "attention pooling": (lambda r: AttentionPooling(E, 5, rng=r), attention_pooling),
    "self-attention": (lambda r: MultiHeadSelfAttention(E, 2, rng=r), self_attention),
    "self-attention, causal": (lambda r: MultiHeadSelfAttention(E, 2, rng=r, causal=True), self_attention),
}


def test_every_layer_of_sequences_has_a_twin():
    made = {type(make(np.random.default_rng(0))) for make, _ in TWINS.values()} | {Embedding, EmbeddingBag}
    composed = {Sequential, Residual, Concat, Ensemble, EmbeddingConvMaxPool1D, EmbeddingRecurrent}
    assert made == {layer for layer in LAYERS if layer.takes_padded} - composed


@pytest.mark.parametrize("name", TWINS)
def test_a_layer_computes_what_torch_computes(name):
    make, run = TWINS[name]
    rng = np.random.default_rng(0)
    layer = make(rng)
    for parameter in layer.parameters():
        parameter.value = parameter.value.astype(np.float64) + rng.uniform(-0.3, 0.3, parameter.value.shape)
    x, theirs, grads = rng.standard_normal((N, T, E)), learning(layer), Gradients(layer.parameters())
    x_torch, ctx = tensor(x).requires_grad_(), Context(True, grads, dtype=np.float64)
    grads.start()
    made = layer.forward(Padded(x, LENGTHS), ctx)
    y, y_torch = (made.values if isinstance(made, Padded) else made), run(layer, theirs, x_torch, LENGTHS)
    dy = rng.standard_normal(y.shape)
    if isinstance(made, Padded):
        dy[np.arange(y.shape[1]) >= made.lengths[:, None]] = 0
    dx = layer.backward(dy, ctx)
    grads.finish()
    (y_torch * tensor(dy)).sum().backward()
    counts = dy != 0
    np.testing.assert_allclose(y[counts], y_torch.detach().numpy()[counts], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=1e-6, atol=1e-6)
    for key, parameter in layer.named_parameters():
        np.testing.assert_allclose(grads[parameter], theirs[key].grad.numpy(), rtol=1e-6, atol=1e-6, err_msg=key)


# --- tables ---------------------------------------------------------------------------------------


def ids():
    rng = np.random.default_rng(5)
    return [rng.integers(1, 30, rng.integers(1, 9)).tolist() for _ in range(24)], rng.integers(0, 2, 24)


def flat(texts):
    offsets = np.cumsum([0, *map(len, texts[:-1])])
    return torch.tensor(np.concatenate(texts)), torch.tensor(offsets)


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_a_bag_and_its_gradient_are_torchs(mode):
    texts, _ = ids()
    bag = EmbeddingBag(30, 4, rng=np.random.default_rng(0), mode=mode)
    bag.weight.value = bag.weight.value.astype(np.float64)
    table = tensor(bag.weight.value).requires_grad_()
    y_torch = functional.embedding_bag(*flat(texts)[:1], table, flat(texts)[1], mode=mode)
    y_torch.cos().sum().backward()
    grads = Gradients([bag.weight])
    ctx = Context(True, grads, dtype=np.float64)
    grads.start()
    data = Sequences(texts, np.zeros(24))
    y = bag.forward(data.x.padded(np.arange(24), Context()), ctx)
    bag.backward(-np.sin(y), ctx)
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(grads[bag.weight], table.grad.numpy(), rtol=1e-9, atol=1e-12)


OPTIMIZERS = {
    "lazy": ("lazy", Adam(0.1, epsilon=1e-30), lambda p: torch.optim.SparseAdam(p, 0.1, eps=1e-30), True),
    "dense": ("dense", Adam(0.1), lambda p: torch.optim.Adam(p, 0.1), False),
    "adagrad": ("lazy", AdaGrad(0.1), lambda p: torch.optim.Adagrad(p, 0.1), True),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_of_a_table_are_torchs(name):
    """Lazy Adam is SparseAdam: only the rows that occur move, and the step counts for all."""
    tables, optimizer, make, sparse = OPTIMIZERS[name]
    texts, t = ids()
    rng = np.random.default_rng(0)
    model = Sequential(Embedding(30, 4, rng=rng), GlobalAveragePool1D(), Dense(4, 2, rng=rng))
    for parameter in model.parameters():
        parameter.value = parameter.value.astype(np.float64)
    theirs = learning(model)
    table, dense = theirs.pop("layers.0.weight"), list(theirs.values())
    both = [make([table]), torch.optim.Adagrad(dense, 0.1) if name == "adagrad" else torch.optim.Adam(dense, 0.1)]
    if name == "lazy":
        both[1].param_groups[0]["eps"] = 1e-30  # SparseAdam adds it elsewhere than Adam does
    data, recipe = Sequences(texts, t), Recipe(epochs=5, batch_size=6, tables=tables)
    for epoch in range(recipe.epochs):
        for rows in data.order(6, recipe.seed, epoch).reshape(-1, 6):
            for each_optimizer in both:
                each_optimizer.zero_grad()
            some = [texts[i] for i in rows]
            lookup = functional.embedding(flat(some)[0], table, sparse=sparse)
            means = torch.stack([part.mean(0) for part in lookup.split([len(s) for s in some])])
            loss = functional.cross_entropy(means @ dense[0] + dense[1], torch.tensor(t[rows]))
            loss.backward()
            for each_optimizer in both:
                each_optimizer.step()
    for _ in fit(model, SoftmaxCrossEntropy(), optimizer, data, recipe, threads=1):
        pass
    np.testing.assert_allclose(model[0].weight.value, table.detach().numpy(), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model[2].weight.value, dense[0].detach().numpy(), rtol=1e-6, atol=1e-8)

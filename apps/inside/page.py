"""The page that follows one prediction through a network, number by number, and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from apps import charts
from apps.errors import InputError
from apps.inside import formulas, subjects, sums, tables
from apps.inside.small import SIDE
from apps.inside.subjects import MOST_WORDS, SMALL, Subject
from apps.inside.sums import Sum
from apps.inside.trace import RULES, Step, Trace, Visit, follow, step
from apps.mnist.image import encode
from apps.mnist.pad import A_THREE, PAD_CSS, PAD_HTML, PAD_JS, draw
from apps.mnist.task import MNIST
from apps.pictures import DARK, LIGHT, Palette, address, of_activations, of_weights, percent, shades
from apps.sentiment.task import SENTIMENT
from apps.serving import called, credit_model, order_of, own_models, predictor_of
from core import Array, CheckpointError, Dense, MeanSquaredError

DIGIT, SENTENCE, APPLICANT, PLAIN = "A digit", "A sentence", "An applicant", "Two numbers"
FIRST_TEXT = "The pace is slow, but I would not have missed a minute."
RATES = [round(m * 10.0**e, 6) for e in range(-5, 1) for m in (1, 2, 5)] + [10.0]
HISTOGRAM_FROM = 300  # numbers: below, a picture says it all

Show = Callable[[], None]


@st.cache_resource
def pad() -> Any:
    return st.components.v2.component("inside_pad", html=PAD_HTML, css=PAD_CSS, js=PAD_JS)


def page() -> None:
    st.title("Inside a prediction")
    st.markdown(
        "One input on its way through a network: forward, layer by layer, to the answer; against a label, to the loss;"
        " then back, with the gradient of every number; and one step of learning, with what it changed. All numbers are"
        " real, and are computed on a copy of the network, which is yours alone."
    )
    choose(DARK if st.context.theme.type == "dark" else LIGHT)


@st.fragment
def choose(palette: Palette) -> None:
    """What is followed, through which network, judged by which label; drawn anew at every change."""
    kinds = {DIGIT: ask_digit, SENTENCE: ask_sentence, APPLICANT: ask_applicant, PLAIN: ask_plain}
    order = order_of(st.query_params.get("run"))
    begin = {"sentiment": SENTENCE, "credit": APPLICANT}.get(order.task if order else "", DIGIT)
    what = st.segmented_control(
        "What is followed", list(kinds), default=begin, required=True, key="inside_what", label_visibility="collapsed"
    )
    left, right = st.columns([1, 1.15], gap="large")
    try:
        asked = kinds[what](left, right)
    except (InputError, CheckpointError) as error:
        left.error(str(error), icon=":material/error:")
        return
    if asked is None:
        return
    subject, show_input = asked
    with right:
        subject = judge(subject, palette) if what != PLAIN else subject
    trace = follow(subject.example)
    with right:
        show_verdict(subject, trace, palette)
    walk(subject, trace, partial(show_input, palette), palette)


# --- what is followed -----------------------------------------------------------------------------------------------


def own(task: str) -> tuple[str, ...]:
    """The visitor's training that the page's address names, where it is one for the task."""
    run = st.query_params.get("run")
    names, trouble = own_models(task, run)
    if trouble:
        st.warning(trouble)
    order = order_of(run)
    return names if order is not None and subjects.followed(task, order.model) else ()


def ask_digit(left: Any, right: Any) -> tuple[Subject, Any] | None:
    names = (*own(MNIST.name), *subjects.digit_networks())
    name = right.selectbox("Network", names, format_func=of_digits, key="inside_network")
    with left:
        kept = (st.session_state.get("inside_pad") or {}).get("strokes")
        kept = A_THREE if kept is None else kept
        drawn = pad()(key="inside_pad", data={"strokes": kept}, default={"strokes": kept}, on_strokes_change=int)
        picture = draw(drawn.strokes or [])
    if picture is None:
        right.info("Draw a digit to follow it.")
        return None
    x = encode(picture)
    return subjects.digit(x, None if name == SMALL else predictor_of(MNIST, name)), partial(show_digit, x)


def of_digits(name: str) -> str:
    return "small: every number on screen" if name == SMALL else called(name)


def show_digit(x: Array, palette: Palette, subject: Subject) -> None:
    size = 168
    row = st.container(horizontal=True, gap="medium")
    row.image(
        address(shades(x[0], palette), size), width=size, caption="28×28, as it is encoded", alt="The digit, encoded"
    )
    values = subject.example.x
    if values.size == SIDE * SIDE:
        small_picture = values.reshape(SIDE, SIDE)
        row.image(
            address(shades(small_picture, palette), size),
            width=size,
            caption="the mean ink of 4×4 squares",
            alt="The same in 4 by 4 pixels",
        )
        show_table(tables.grid(small_picture), palette)
    st.caption(
        "A pixel is a number from 0, paper, to 1, ink. The network gets these numbers, and nothing else:"
        f" {' × '.join(map(str, values.shape[1:]))} of them."
    )


def ask_sentence(left: Any, right: Any) -> tuple[Subject, Any] | None:
    names = (*own(SENTIMENT.name), *subjects.sentence_networks())
    if not names:
        left.info("No trained network for sentences is here yet. Train one: `python scripts/train_sentiment.py`")
        return None
    text = left.text_area("A sentence", FIRST_TEXT, max_chars=8 * MOST_WORDS, key="inside_text")
    left.caption("Ctrl-Enter, or a click outside, takes it over.")
    name = right.selectbox("Network", names, format_func=called, key="inside_sentence_network")
    return subjects.sentence(text, predictor_of(SENTIMENT, name)), show_words


def show_words(palette: Palette, subject: Subject) -> None:
    ids = subject.example.x.values[0].tolist()
    st.dataframe({"word": list(subject.words), "id": ids}, hide_index=True, height="content" if len(ids) < 12 else 420)
    st.caption("The network gets the ids. A word that is not in its vocabulary has the id 1; the others are numbered.")


def ask_applicant(left: Any, right: Any) -> tuple[Subject, Any] | None:
    names = (*own("credit"), *subjects.credit_networks())
    if not names:
        left.info("No trained network for applicants is here yet. Train one: `python scripts/train_credit.py`")
        return None
    name = right.selectbox("Network", names, format_func=called, key="inside_credit_network")
    model = credit_model(name)
    with left:
        st.caption("A made-up applicant, typical of those near the cut-off. Change any value.")
        rows = [
            {"name": feature.name, "feature": feature.words or feature.name, "value": cell}
            for feature, cell in zip(model.schema.asked, subjects.cells(model).values(), strict=True)
        ]
        edited = st.data_editor(
            rows,
            hide_index=True,
            disabled=["feature"],
            column_order=["feature", "value"],
            key=f"inside_applicant {name}",
            height=330,
        )
    told = {row["name"]: str(row["value"] or "") for row in edited}
    part = right.selectbox(
        "Which of its networks", range(len(model.members)), format_func=lambda i: f"number {i + 1}", key="inside_part"
    )
    return subjects.applicant(model, told, part), show_columns


def show_columns(palette: Palette, subject: Subject) -> None:
    x = subject.example.x[0]
    show_table(tables.column(x, subject.called("layers.0", "x", len(x), "x")), palette)
    st.caption(
        "What the network gets. `logistic_woe`: the weight of evidence of the group that a value falls in, which is"
        " positive where fewer default. `additive`: in which of eight bins a number lies and how far through it, −1 for"
        " a missing value and −2, −3 … for special codes; of a category, its code."
    )


def ask_plain(left: Any, right: Any) -> tuple[Subject, Any] | None:
    left.caption("The network of the page “One step of learning, by hand”: two inputs, two sigmoid units, one output.")
    x1 = left.number_input("x₁", -10.0, 10.0, 1.0, 0.1, key="inside_x1")
    x2 = left.number_input("x₂", -10.0, 10.0, 0.5, 0.1, key="inside_x2")
    t = right.number_input("t, what it should have answered", -10.0, 10.0, 1.0, 0.1, key="inside_t")
    return subjects.plain(x1, x2, t), show_plain


def show_plain(palette: Palette, subject: Subject) -> None:
    show_table(tables.column(subject.example.x[0], ["x₁", "x₂"]), palette)


# --- the answer, and what it is judged by -----------------------------------------------------------------------------


def judge(subject: Subject, palette: Palette) -> Subject:
    answers = subject.answers
    likely = max(answers, key=lambda label: answers[label])
    options = list(subject.labels)
    label = st.pills("Judged by the label", options, default=likely, required=True, key=f"inside_label {likely}")
    if label == likely:
        st.caption("Choose another label to call this answer wrong: then there is more to learn.")
    return subject.judged(options.index(label))


def show_verdict(subject: Subject, trace: Trace, palette: Palette) -> None:
    answers = subject.told(trace.y)
    row = st.container(horizontal=True, gap="medium")
    if isinstance(subject.example.loss, MeanSquaredError):
        row.metric("The network says", tables.figure(trace.y[0]), width=205)
    else:
        likely = max(answers, key=lambda label: answers[label])
        row.metric("The network says", likely, width=130 if len(likely) < 3 else 230)
    row.metric("Loss", tables.figure(trace.loss), width=205)
    if not isinstance(subject.example.loss, MeanSquaredError):
        st.altair_chart(
            charts.probability_bars(answers, likely, palette),
            key="inside_bars",
            alt="; ".join(f"{label} {percent(p)}" for label, p in answers.items()),
        )
    if subject.remark:
        st.caption(subject.remark)


# --- the walk -------------------------------------------------------------------------------------------------------


def walk(subject: Subject, trace: Trace, show_input: Any, palette: Palette) -> None:
    """Previous, next, and any station at once; below, what happens there."""
    st.subheader("Step by step")
    stations: list[tuple[str, Show]] = [("Input", partial(show_input, subject))]
    for visit in trace.visits:
        stations.append((f"Forward · {title(visit)}", partial(show_forward, subject, visit, palette)))
    stations.append(("The loss", partial(show_loss, subject, trace, palette)))
    for visit in trace.backward:
        stations.append((f"Back · {title(visit)}", partial(show_backward, subject, visit, palette)))
    stations.append(("The chain rule, as a product", partial(show_chain, trace, palette)))
    stations.append(("One step of learning", partial(show_step, subject, trace, palette)))
    titles = [f"{i + 1} of {len(stations)} · {name}" for i, (name, _) in enumerate(stations)]
    if st.session_state.get("inside_at") not in titles:  # at first, and where the network is another one
        st.session_state.inside_at = titles[0]
    at = titles.index(st.session_state.inside_at)
    show_travel(trace, at - 1, palette)

    def go(by: int) -> None:
        st.session_state.inside_at = titles[at + by]

    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    last = at == len(stations) - 1
    row.button("Previous", icon=":material/arrow_back:", on_click=go, args=(-1,), disabled=at == 0, key="inside_back")
    row.button("Next", icon=":material/arrow_forward:", on_click=go, args=(1,), disabled=last, key="inside_go")
    row.selectbox("Station", titles, key="inside_at", label_visibility="collapsed", width=420)
    with st.container(border=True):
        st.markdown(f"#### {titles[at]}")
        _, show = stations[at]
        show()


def title(visit: Visit) -> str:
    return f"{visit.kind}" if visit.holds_layers else f"{visit.layer!r}"


def show_travel(trace: Trace, at: int, palette: Palette) -> None:
    """The whole way at one sight: how large numbers and gradients are at each layer.

    at: which station is looked at, the first layer being 0
    """
    back = trace.backward[at - len(trace.visits) - 1 :] if at > len(trace.visits) else []
    place = list(trace.visits).index(back[0]) if back else at
    stations = tables.stations(trace)
    st.altair_chart(
        charts.travel(stations, place, palette),
        key="inside_travel",
        alt="Size of the output of each layer and of its gradient: "
        + "; ".join(f"{kind} {output:.2e}" for kind, output, _ in stations if output is not None),
    )
    st.caption(
        "The way at one sight, on a scale of powers of ten: the root mean square of what each layer makes (circles),"
        " and of the gradient that comes back to it (triangles). The grey band is where you are."
    )


def show_formulas(visit: Visit, back: bool) -> None:
    for formula in formulas.LAYERS.get(visit.kind, ((), ()))[back]:
        st.latex(formula)
    with st.expander(f"As the code of {visit.kind} says it", expanded=visit.kind not in formulas.LAYERS):
        st.code(formulas.docstring(visit.layer), language=None, wrap_lines=True)


def shapes(visit: Visit) -> str:
    parts = [f"x {tables.shape(visit.x)}"]
    parts += [f"{weight.name.rpartition('.')[2]} {tables.shape(weight.value)}" for weight in visit.weights]
    return " · ".join([*parts, f"y {tables.shape(visit.y)}"])


def show_forward(subject: Subject, visit: Visit, palette: Palette) -> None:
    st.markdown(f"`{visit.name}` · {shapes(visit)}")
    show_formulas(visit, back=False)
    if show_grams(subject, visit, palette):
        return
    if tables.is_small(visit):
        show_table(tables.forward(subject, visit), palette)
        show_small_weights(visit, False, palette)
    else:
        left, right = st.columns(2, gap="medium")
        with left:
            show_array("What it makes, y", visit.y, palette)
        with right:
            for weight in visit.weights:
                if weight.value.size > 1:
                    show_parameter(f"{weight.name} {tables.shape(weight.value)}", weight.value, palette)
    if visit.kind not in ("Flatten", "Dropout"):
        show_output_sum(subject, visit, palette)


def show_output_sum(subject: Subject, visit: Visit, palette: Palette) -> None:
    names = subject.called(visit.name, "y", visit.y.size, "y")
    unit = int(np.abs(visit.y.reshape(-1)).argmax())
    if sums.output_sum(visit, unit, subject.called(visit.name, "x", visit.x.size, "x"), "y") is None:
        return
    if 1 < len(names) <= 500:
        unit = st.selectbox(
            "One number of it, by hand",
            range(len(names)),
            index=unit,
            format_func=lambda i: f"{names[i]} = {tables.figure(float(visit.y.reshape(-1)[i]))}",
            key=f"inside_unit {visit.name} {len(names)}",
        )
    found = sums.output_sum(visit, unit, subject.called(visit.name, "x", visit.x.size, "x"), names[unit])
    assert found is not None
    show_sum(found, palette)


def show_sum(found: Sum, palette: Palette) -> None:
    frame, hidden = tables.terms(found)
    left, right = found.symbols
    constant = " + b" if found.constant else ""
    st.markdown(f"**{found.what}** = Σ {left} · {right}{constant} = **{tables.figure(found.value)}**")
    show_table(frame, palette)
    if hidden:
        st.caption(f"The largest products; the other {hidden:,} are in one line.")


def show_grams(subject: Subject, visit: Visit, palette: Palette) -> bool:
    """Of a sum over n-grams, its every term; False for any other layer."""
    if not subject.words or visit.kind not in ("NGrams", "Selected", "LogRatios", "EmbeddingBag"):
        return False
    found = subjects.grams(subject, follow(subject.example))
    if not found:
        return False
    show_table(tables.of_grams(found), palette)
    st.caption(
        "Every n-gram of the sentence that the network knows: its log-count ratio r, which was counted before training;"
        " its weight W, which was learned; r · W, which it adds to the logit of the second label, less that of the"
        " first; and the gradient of W, which is r · ∂L/∂y."
    )
    return True


def show_loss(subject: Subject, trace: Trace, palette: Palette) -> None:
    for formula in formulas.LOSSES[type(subject.example.loss).__name__]:
        st.latex(formula)
    show_table(tables.at_the_loss(subject, trace), palette)
    st.markdown(tables.loss_in_figures(subject, trace))
    st.caption(
        "This is where the way back begins: the gradient of the loss by each output is what the network says, less what"
        " is true. It is negative where the network says too little."
    )


def show_backward(subject: Subject, visit: Visit, palette: Palette) -> None:
    assert visit.dy is not None
    onward = "" if visit.dx is None else f" → ∂L/∂x {tables.shape(visit.dx)}"
    st.markdown(f"`{visit.name}` · ∂L/∂y {tables.shape(visit.dy)}{onward}")
    show_formulas(visit, back=True)
    st.markdown(tables.norms(visit))
    if show_grams(subject, visit, palette):
        return
    if tables.is_small(visit):
        show_table(tables.backward(subject, visit), palette)
        show_small_weights(visit, True, palette)
    else:
        left, right = st.columns(2, gap="medium")
        with left:
            if visit.dx is not None:
                show_array("What it hands on, ∂L/∂x", visit.dx, palette)
            else:
                show_array("What comes back to it, ∂L/∂y", visit.dy, palette)
        with right:
            for weight in visit.weights:
                if weight.grad is not None and weight.grad.size > 1:
                    show_parameter(f"gradient of {weight.name} {tables.shape(weight.grad)}", weight.grad, palette)
    show_gradient_sums(subject, visit, palette)


def show_gradient_sums(subject: Subject, visit: Visit, palette: Palette) -> None:
    """The largest gradient of a weight, and of an input, as the products they are."""
    x_names = subject.called(visit.name, "x", visit.x.size, "x")
    y_names = subject.called(visit.name, "y", visit.y.size, "y")
    grads = [weight.grad for weight in visit.weights if weight.name == "weight" and weight.grad is not None]
    if grads and grads[0].any():
        at = sums.strongest(grads[0])
        plain = isinstance(visit.layer, Dense) and visit.x.ndim == 1  # a weight lies between an input and an output
        places = [x_names[at[0]], y_names[at[1]]] if plain else [str(i + 1) for i in at]
        name = f"∂L/∂W[{', '.join(places)}]"
        if (found := sums.weight_sum(visit, at, name)) is not None:
            st.markdown("The weight that the loss depends on most:")
            show_sum(found, palette)
    if visit.dx is not None and visit.dx.any():
        unit = int(np.abs(visit.dx.reshape(-1)).argmax())
        if (found := sums.input_sum(visit, unit, y_names, f"∂L/∂x, {x_names[unit]}")) is not None:
            st.markdown("The input that it depends on most, over all ways that lead on from it:")
            show_sum(found, palette)


def show_chain(trace: Trace, palette: Palette) -> None:
    st.latex(r"\frac{\partial L}{\partial x} = J_1^\top J_2^\top \cdots J_n^\top \, \frac{\partial L}{\partial z}")
    frame = tables.chain(trace)
    if frame.empty:
        st.markdown(
            "The gradient ends at the layer that reads ids: an id has no derivative. So the chain has one link."
        )
    else:
        show_table(frame, palette)
        st.markdown(tables.product(frame))
    st.caption(
        "Each layer multiplies what comes back by its local Jacobian J, and hands the product on. How much longer or"
        " shorter that makes the gradient is its factor; the factors multiply. Where they stay below 1 for many layers,"
        " the first ones hardly learn."
    )


def show_step(subject: Subject, trace: Trace, palette: Palette) -> None:
    left, right = st.columns(2, gap="medium")
    rule = left.selectbox("Optimizer", RULES, format_func=lambda name: formulas.OPTIMIZERS[name][0], key="inside_rule")
    lr = right.select_slider(
        "Learning rate η", RATES, 0.1 if rule in ("sgd", "momentum") else 0.001, key=f"inside_lr {rule}"
    )
    _, rules, first = formulas.OPTIMIZERS[rule]
    for formula in rules:
        st.latex(formula)
    st.caption(first)
    done = step(subject.example, trace, rule, lr)
    show_moved(subject, trace, done, lr, palette)
    st.markdown("**What moved**")
    show_table(tables.changes(done.changes), palette)
    every = tables.every_change(done.changes)
    if every is not None:
        st.dataframe(tables.tinted(every, palette), height="content" if len(every) <= 12 else 420)
    st.caption(
        "g is the gradient, Δθ the step. The last column of the first table adds up to what the slopes foretell."
    )


def show_moved(subject: Subject, trace: Trace, done: Step, lr: float, palette: Palette) -> None:
    row = st.container(horizontal=True, gap="medium")
    row.metric("Loss before", tables.figure(trace.loss), width=190)
    row.metric("Loss after", tables.figure(done.loss), width=190)
    st.markdown(tables.foretold(trace, done, lr))
    left, right = st.columns(2, gap="medium")
    with left:
        if isinstance(subject.example.loss, MeanSquaredError):
            st.markdown(f"The answer moved from **{tables.figure(trace.y[0])}** to **{tables.figure(done.y[0])}**.")
        else:
            before, after = subject.told(trace.y), subject.told(done.y)
            st.altair_chart(
                charts.before_and_after(before, after, palette),
                key="inside_moved",
                alt="; ".join(f"{label}: {percent(before[label])}, then {percent(after[label])}" for label in before),
            )
            st.caption("The answer before the step, and after it.")
    with right:
        st.altair_chart(
            charts.along_a_step(done.curve, done.foretold, palette),
            key="inside_along",
            alt=f"The loss along the step, from {trace.loss:.4g} to {done.loss:.4g}, and twice as far",
        )
        st.caption("The loss along the step, and twice as far. Too long a step climbs the other side of the valley.")


# --- arrays ---------------------------------------------------------------------------------------------------------


def show_table(frame: Any, palette: Palette) -> None:
    st.dataframe(tables.tinted(frame, palette), height="content")


def show_array(caption: str, array: Array, palette: Palette) -> None:
    picture = array if array.ndim in (1, 3) else array.reshape(-1)
    st.image(address(of_activations(picture, palette), 480), width="stretch", caption=caption, alt=caption)
    if array.ndim == 3 and len(array) > 16:
        st.caption(f"The 16 maps of {len(array)} with the most in them.")
    show_spread(array, palette)


def show_parameter(caption: str, array: Array, palette: Palette) -> None:
    st.image(address(of_weights(array, palette), 480), width="stretch", caption=caption, alt=caption)
    show_spread(array, palette)


def show_spread(array: Array, palette: Palette) -> None:
    if array.size >= HISTOGRAM_FROM:
        st.altair_chart(charts.histogram(array.reshape(-1), "how large its numbers are", palette), alt="Histogram")


def show_small_weights(visit: Visit, gradient: bool, palette: Palette) -> None:
    """The parameters of a small layer that is no Dense, whose table shows them already."""
    if visit.kind == "Dense":
        return
    for weight in visit.weights:
        frame = tables.weight_table(weight, gradient)
        if frame is not None:
            st.markdown(f"{'Gradient of ' if gradient else ''}`{weight.name}` {tables.shape(weight.value)}")
            show_table(frame, palette)


page()

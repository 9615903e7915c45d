"""The page of the digits: draw one, and look into the network that reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from apps import charts
from apps.errors import InputError
from apps.explain import Activation, activations, saliency, stages
from apps.mnist.examples import examples
from apps.mnist.image import FORMATS, MAX_BYTES, encode, open_image
from apps.mnist.misread import Misread, read_misread
from apps.mnist.pad import GALLERY_CSS, GALLERY_HTML, GALLERY_JS, PAD_CSS, PAD_HTML, PAD_JS, draw
from apps.mnist.task import MNIST
from apps.pictures import DARK, LIGHT, Palette, address, of_activations, percent, shades, signed
from apps.predictor import Predictor
from apps.serving import OWN, called, own_models, predictor_of, served, shipped
from core import Array, CheckpointError

SEE, PIXELS, MODELS = "What each layer makes of it", "Which pixels matter", "Models side by side"


@st.cache_resource
def pad() -> Any:
    return st.components.v2.component("digit_pad", html=PAD_HTML, css=PAD_CSS, js=PAD_JS)


@st.cache_resource
def gallery() -> Any:
    return st.components.v2.component("digit_gallery", html=GALLERY_HTML, css=GALLERY_CSS, js=GALLERY_JS)


def page() -> None:
    st.title("Digits")
    st.markdown("Draw a digit and watch the network make up its mind, stroke by stroke. Then look inside.")
    names = shipped(MNIST)
    if not names:
        st.info("No trained network for digits is here yet. Train one: `python scripts/train_mnist.py`")
        return
    palette = DARK if st.context.theme.type == "dark" else LIGHT
    own, trouble = own_models(MNIST.name, st.query_params.get("run"))
    if trouble:
        st.warning(trouble)
    read(names + own, palette)
    mistakes(names, palette)


@st.fragment
def read(names: tuple[str, ...], palette: Palette) -> None:
    """The picture, the answer, and what is behind it: drawn anew while a stroke is drawn."""
    left, right = st.columns([1, 1.15], gap="large")
    reading = right.container()
    first = len(names) - 1 if names[-1].startswith(OWN) else 0
    name = right.selectbox("Network", names, index=first, format_func=called)
    try:
        predictor = predictor_of(MNIST, name)
        with left:
            picture = ask(palette)
        x = None if picture is None else encode(picture)[np.newaxis]
        answer = None if x is None else predictor.verdict(x)
    except (InputError, CheckpointError) as error:
        with left:
            st.error(str(error), icon=":material/error:")
        return
    with reading:
        show_answer(predictor, x, answer, palette)
    if x is not None and answer is not None:
        look_closer(predictor, x, answer, names, palette)


def ask(palette: Palette) -> Any:
    """The picture that a visitor draws, uploads, takes or chooses; None as long as there is none."""
    way = st.segmented_control(
        "Where the digit comes from",
        ["Draw", "Upload", "Camera", "Examples"],
        default="Draw",
        required=True,
        key="digits_way",
        label_visibility="collapsed",
    )
    if way == "Upload":
        file = st.file_uploader(
            "A picture of one digit, dark on light or light on dark",
            type=[kind.lower() for kind in (*FORMATS, "JPG")],
            max_upload_size=MAX_BYTES // 2**20,
        )
        return open_image(file.getvalue()) if file else None
    if way == "Camera":
        photo = st.camera_input("Hold one digit into the camera")
        return open_image(photo.getvalue()) if photo else None
    if way == "Examples":
        return choose_example(palette)
    kept = (st.session_state.get("digits_pad") or {}).get("strokes", st.session_state.get("digits_strokes", []))
    drawn = pad()(key="digits_pad", data={"strokes": kept}, default={"strokes": kept}, on_strokes_change=lambda: None)
    strokes = drawn.strokes or []
    st.session_state["digits_strokes"] = strokes  # for when the visitor comes back from another source
    return draw(strokes)


def choose_example(palette: Palette) -> Any:
    from PIL import Image

    pictures, t = examples()
    shown = [
        {"source": address(shades(each / 255, palette)), "label": f"a {k}", "title": f"Example: a {k}"}
        for each, k in zip(pictures, t, strict=True)
    ]
    kept = (st.session_state.get("digits_examples") or {}).get("chosen")
    choice = gallery()(
        key="digits_examples",
        data={"pictures": shown, "chosen": kept},
        default={"chosen": None},
        on_chosen_change=lambda: None,
    )
    st.caption("Digits of the sample that comes with scikit-learn, 8×8 pixels drawn large; none was used in training.")
    i = choice.chosen
    return Image.fromarray(pictures[i]) if isinstance(i, int) and 0 <= i < len(pictures) else None


def show_answer(predictor: Predictor, x: Array | None, answer: dict[str, Any] | None, palette: Palette) -> None:
    """The verdict in words, the picture as the network gets it, and a bar for each digit."""
    blank = x is None or answer is None
    p = dict.fromkeys(predictor.labels, 0.0) if answer is None else answer["probabilities"]
    row = st.container(horizontal=True, vertical_alignment="center", gap="medium")
    words, seen = row.container(width=230), row.container(width="content")
    with words:
        nearest = max(p, key=lambda label: p[label])
        if blank or answer is None:
            st.metric("The network reads", "–")
            st.caption("Draw, upload or choose a digit.")
        elif answer["label"] in p:
            second = sorted(p, key=lambda label: -p[label])[1]
            st.metric("The network reads", answer["label"])
            st.caption(f"{percent(p[nearest]).capitalize()} sure; {percent(p[second])} for a {second}.")
        else:
            st.metric("The network reads", answer["label"])
            st.caption(f"If it had to be one, a {nearest} ({percent(p[nearest])}).")
    with seen:
        pixels = np.zeros(MNIST.shape[1:], np.float32) if x is None else x[0, 0]
        st.image(
            address(shades(pixels, palette), 168),
            caption="as the network gets it: 28×28, centred",
            width=168,
            alt="The digit after preprocessing, 28 by 28 pixels",
        )
    st.altair_chart(
        charts.probability_bars(p, None if answer is None else answer["label"], palette),
        key="digits_bars",
        alt="Probability of each digit: " + ", ".join(f"{label} {percent(each)}" for label, each in p.items()),
    )


def look_closer(
    predictor: Predictor, x: Array, answer: dict[str, Any], names: tuple[str, ...], palette: Palette
) -> None:
    st.subheader("Look closer")
    view = st.segmented_control(
        "Look closer",
        [SEE, PIXELS, MODELS],
        default=SEE,
        required=True,
        key="digits_view",
        label_visibility="collapsed",
    )
    if view == SEE:
        show_layers(activations(predictor.model, x), palette)
    elif view == PIXELS:
        show_pixels(predictor, x, answer, palette)
    else:
        show_models(names, x, palette)


def show_layers(found: list[Activation], palette: Palette) -> None:
    st.caption(
        "Each picture is what a layer hands to the next: of a convolution the up to 16 maps with the most in them, of a"
        f" dense layer one square a number. {'Dark' if palette is LIGHT else 'Light'} means much, reddish negative."
    )
    every = st.toggle("Every layer", key="digits_every", help="Otherwise the last layer of each stage.")
    shown = stages(found, every)
    for row in range(0, len(shown), 2):
        for column, (title, output) in zip(st.columns(2, gap="medium"), shown[row : row + 2], strict=False):
            size = " × ".join(map(str, output.shape))
            column.markdown(f"**{title}** · {size}")
            column.image(
                address(of_activations(output, palette), 480), width="stretch", alt=f"Output of {title}, {size}"
            )


def show_pixels(predictor: Predictor, x: Array, answer: dict[str, Any], palette: Palette) -> None:
    p = answer["probabilities"]
    nearest = max(p, key=lambda label: p[label])
    label = st.pills("What speaks for a …", predictor.labels, default=nearest, required=True, key="digits_for")
    slope = saliency(predictor.model, x, predictor.labels.index(label))[0, 0]
    most = float(np.abs(slope).max()) or 1.0
    left, right = st.columns(2, gap="medium")
    left.image(
        address(signed(slope / most, palette), 300),
        width=300,
        alt=f"Gradient of the logit of {label} by pixel",
        caption="∂ logit / ∂ pixel",
    )
    right.image(
        address(signed((slope * x[0, 0]) / (float(np.abs(slope * x[0, 0]).max()) or 1.0), palette), 300),
        width=300,
        alt="The same times the ink",
        caption="the same, times the ink that is there",
    )
    st.caption(
        f"The logit of {label}, differentiated by every pixel, by backpropagation (Simonyan et al., 2014). Blue: a"
        f" little more ink there would make it more of a {label}; red: less. Its largest slope is {most:.3g}."
    )


def show_models(names: tuple[str, ...], x: Array, palette: Palette) -> None:
    answers = {called(name): predictor_of(MNIST, name).verdict(x) for name in names}
    verdicts = {f"{name}: {each['label']}": each["probabilities"] for name, each in answers.items()}
    st.altair_chart(
        charts.answers_side_by_side(verdicts, palette),
        key="digits_models",
        alt="; ".join(f"{name} reads {each['label']}" for name, each in answers.items()),
    )
    st.caption("The same picture, read by every network that comes with weights: its verdict, and its probabilities.")


def mistakes(names: tuple[str, ...], palette: Palette) -> None:
    """The confusion matrix of a shipped model, and the digits behind its cells."""
    kept = {name: found for name in names if (found := read_misread(f"{MNIST.name}_{name}"))}
    if not kept:
        return
    st.header("Where it errs")
    name = next(iter(kept))
    found = kept[name]
    st.markdown(
        f"`{name}` on the {found.examples:,} test images of {found.data}, which it never learned from:"
        f" **{len(found.row)}** are misread. A row is what the digit is, a column what was read. Choose a cell to"
        " see its digits."
    )
    show_mistakes(name, found, palette)


@st.fragment
def show_mistakes(name: str, found: Misread, palette: Palette) -> None:
    left, right = st.columns([1.1, 1], gap="large")
    options = ["all", *(f"{true} read as {read} ({n})" for true, read, n in found.cells())]

    def choose() -> None:
        cell = charts.selected(st.session_state.digits_confusion)
        match = [each for each in options if cell and each.startswith(f"{cell[0]} read as {cell[1]} ")]
        if match:
            st.session_state.digits_cell = match[0]

    with left:
        st.altair_chart(
            charts.confusion(found.confusion, found.labels, palette),
            key="digits_confusion",
            on_select=choose,
            selection_mode="cell",
            alt="Confusion matrix: rows are true digits, columns what was read",
        )
    with right:
        option = st.selectbox("Misread digits", options, key="digits_cell")
        if option == "all":
            places = np.arange(len(found.row))[:12]
        else:
            true, read = option.split(" (")[0].split(" read as ")
            places = found.of_cell(true, read)
        pictures = [
            {
                "source": address(shades(found.images[i] / 255, palette)),
                "label": f"{found.labels[found.true[i]]} → {found.labels[found.read[i]]}",
                "title": f"A {found.labels[found.true[i]]}, read as {found.labels[found.read[i]]}"
                f" with {percent(found.p[i])}; test image {found.row[i]}",
            }
            for i in places
        ]
        kept = (st.session_state.get(f"digits_misread {option}") or {}).get("chosen")
        choice = gallery()(
            key=f"digits_misread {option}",
            data={"pictures": pictures, "chosen": kept},
            default={"chosen": None},
            on_chosen_change=lambda: None,
        )
        more = " The first 12." if option == "all" and len(found.row) > 12 else ""
        st.caption(f"The surest mistakes first.{more} Choose one to see what else the network thought of.")
        if isinstance(choice.chosen, int) and 0 <= choice.chosen < len(places):
            show_misread(name, found, int(places[choice.chosen]), palette)


def show_misread(name: str, found: Misread, i: int, palette: Palette) -> None:
    from PIL import Image

    p = served(MNIST.name, name)(Image.fromarray(found.images[i]))["probabilities"]
    st.markdown(
        f"**Test image {found.row[i]}**: a {found.labels[found.true[i]]}, read as {found.labels[found.read[i]]}."
    )
    st.altair_chart(charts.probability_bars(p, found.labels[found.read[i]], palette), key="digits_misread_bars")


page()

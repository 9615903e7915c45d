"""The application: streamlit run apps/home.py

A page of a task is a file, TASK/page.py. It gets a line in TASK_PAGES, with a function that shows a live example on
its card; that is all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Timer
from typing import Any

import numpy as np
import streamlit as st
from threadpoolctl import ThreadpoolController

from apps.credit.applicant import answer
from apps.errors import InputError
from apps.markdown import literal
from apps.mnist.image import encode
from apps.mnist.pad import A_THREE, draw
from apps.mnist.task import MNIST
from apps.pictures import DARK, LIGHT, address, percent, shades
from apps.sentiment.task import SENTIMENT
from apps.sentiment.typed import EXAMPLES
from apps.serving import credit_model, made_up_applicants, results, served, shipped_credit
from core import CheckpointError


@dataclass(frozen=True)
class TaskPage:
    """The page of a task: file, title, icon, address, one line on its card, and a live example there"""

    file: str
    title: str
    icon: str
    address: str
    line: str
    example: Callable[[], None]


def digits_example() -> None:
    """A drawn digit, read by the default network."""
    palette = DARK if st.context.theme.type == "dark" else LIGHT
    picture = draw(A_THREE)
    assert picture is not None  # there is ink
    answer = served(MNIST.name, MNIST.served)(picture)
    row = st.container(horizontal=True, vertical_alignment="center", gap="medium")
    row.image(address(shades(encode(picture)[0], palette), 110), width=110, alt="A drawn 3")
    words = row.container(width=120)
    words.metric("The network reads", answer["label"])
    words.caption(f"{percent(max(answer['probabilities'].values()))} sure")


def sentiment_example() -> None:
    """A sentence, read by the default network."""
    sentence = next(iter(EXAMPLES.values()))
    predictor = served(SENTIMENT.name, SENTIMENT.served)
    answer = predictor.verdict(predictor.encode([sentence]))
    st.markdown(f"*“{sentence}”*")
    st.metric("The network feels", "uncertain" if answer["uncertain"] else answer["label"])
    st.caption(f"{percent(max(answer['probabilities'].values()))} sure")


def credit_example() -> None:
    """A made-up applicant, scored by the default model."""
    names = shipped_credit()
    if not names:
        raise InputError("No credit model comes with trained weights: train one.")
    told = answer(credit_model(names[0]), made_up_applicants(names[0])["Refused"])
    st.metric("The decision", "refused" if told.refused else "accepted")
    st.caption(f"{percent(told.pd)} probability of default, {told.points:.0f} points. First of the reasons:")
    st.markdown(f"*{literal(told.reasons[0])}*")


TASK_PAGES = (
    TaskPage(
        "mnist/page.py",
        "Digits",
        ":material/draw:",
        "digits",
        "Draw a digit; a network reads it while you draw, and shows what every layer saw.",
        digits_example,
    ),
    TaskPage(
        "sentiment/page.py",
        "Sentiment",
        ":material/rate_review:",
        "sentiment",
        "Type a review; a network feels it word by word, and shows what each word did.",
        sentiment_example,
    ),
    TaskPage(
        "credit/page.py",
        "Credit",
        ":material/account_balance:",
        "credit",
        "Move what is known of an applicant; the decision moves, with its reasons and what would turn it.",
        credit_example,
    ),
)

STYLE = """<style>
.stMainBlockContainer { max-width: 72rem; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] *, [data-testid="stImageCaption"] {
  color: inherit; opacity: 0.95; /* the theme's captions are too pale to be read by all */
}
[data-testid="stMarkdownContainer"] pre span { color: inherit !important; } /* as are the colours of code */
[data-testid="stMarkdownContainer"] table { display: block; max-width: 100%; overflow-x: auto; border: none; }
</style>"""


def home() -> None:
    st.title("A zoo of small networks")
    st.markdown(
        "Neural networks for images, text and tables, on a backpropagation engine small enough to read in an afternoon."
        " Try them, look inside, and train them yourself: all of it runs on this machine, with this project's own code."
    )
    examples = []
    for column, page in zip(st.columns(max(2, len(TASK_PAGES)), gap="medium"), TASK_PAGES, strict=False):
        with column.container(border=True, height="stretch"):
            st.subheader(page.title)
            st.markdown(page.line)
            examples.append(st.container())
            st.page_link(page.file, label=f"Open {page.title}", icon=page.icon)
    st.header("The zoo")
    zoo_table()
    for place, page in zip(examples, TASK_PAGES, strict=True):  # last, since for the first visitor networks are loaded
        with place:
            try:
                page.example()
            except (InputError, CheckpointError) as error:
                st.info(str(error))
    get_charts_ready()


@st.cache_resource
def get_charts_ready() -> None:
    """Begin to import what the other pages draw with, two seconds of it, while the first visitor reads this one."""
    soon = Timer(2, _import_charts)  # when this page has been sent
    soon.daemon = True
    soon.start()


def _import_charts() -> None:
    import apps.charts  # noqa: F401 -- to have it loaded is all


def zoo_table() -> None:
    lines = ["| model | task | score | parameters | training | an answer |", "|---|---|---|--:|--:|--:|"]
    for row in results():
        name, metric, share = row["name"], row["metric"], row["metric"] == "accuracy"
        mean, spread = (f"{100 * float(row[key]):.2f}" if share else f"{float(row[key]):.4f}" for key in ("mean", "sd"))
        score = mean + (f" ± {spread}" if int(row["seeds"]) > 1 else "")  # of one seed there is no spread
        score += f"{' %' if share else ''} {metric.replace('_', ' ').replace('roc auc', 'ROC AUC')}"
        size = f"{int(row['parameters']):,}"
        seconds = f"{float(row['seconds']):.0f} s" if row["seconds"] else ""  # not measured yet
        answer = f"{float(row['answer_ms']):.2g} ms" if row["answer_ms"] else ""
        lines.append(f"| [{name}](models?card={name}) | {row['task']} | {score} | {size} | {seconds} | {answer} |")
    st.markdown("\n".join(lines))
    st.caption(
        "Mean ± standard deviation over seeds, on test data. Time of training on two cores, and of one answer on one."
    )


def icon() -> Any:
    """A small network, two units, three, one, for the browser's tab; drawn here, since it is to work offline."""
    from PIL import Image

    picture = np.zeros((32, 32, 4), np.uint8)
    for x, ys in ((4, (6, 19)), (13, (1, 13, 24)), (23, (13,))):
        for y in ys:
            picture[y : y + 7, x : x + 6] = (0x24, 0x61, 0x8A, 255)
    return Image.fromarray(picture)


@st.cache_resource
def blas() -> ThreadpoolController:
    """The BLAS of this process"""
    return ThreadpoolController()


def main() -> None:
    # An answer is too small a product to share, and a second thread, waiting for its part, takes the time of whoever
    # else is served. Said at each visit, so that it holds whatever else has set it since.
    blas().limit(limits=1, user_api="blas")
    st.set_page_config(page_title="modelzoo", page_icon=icon(), layout="wide")
    st.html(STYLE)
    tasks = [st.Page(page.file, title=page.title, icon=page.icon, url_path=page.address) for page in TASK_PAGES]
    pages = [
        st.Page(home, title="Home", icon=":material/home:", default=True),
        *tasks,
        st.Page("inside/page.py", title="Inside", icon=":material/account_tree:", url_path="inside"),
        st.Page("train/page.py", title="Train", icon=":material/model_training:", url_path="train"),
        st.Page("lessons/page.py", title="Lessons", icon=":material/school:", url_path="lessons"),
        st.Page("gallery/page.py", title="Models", icon=":material/view_list:", url_path="models"),
    ]
    st.navigation(pages, position="top").run()


main()

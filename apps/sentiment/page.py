"""The page of sentiment: type a text, and see what every word does to the answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from apps import charts
from apps.credit.table import csv_of, parse_csv
from apps.errors import InputError
from apps.markdown import literal
from apps.pictures import DARK, LIGHT, Palette, percent
from apps.predictor import Predictor
from apps.sentiment.explain import SURE
from apps.sentiment.reading import (
    MOST_SHOWN,
    Reading,
    Verdict,
    added_columns,
    answer,
    cells_of,
    changed,
    coloured,
    read,
    read_many,
    wordiest,
)
from apps.sentiment.task import SENTIMENT
from apps.sentiment.typed import (
    EXAMPLES,
    FIELD_CSS,
    FIELD_HTML,
    FIELD_JS,
    MOST_TYPED,
    WORDS_CSS,
    WORDS_HTML,
    WORDS_JS,
    chosen,
    typed,
)
from apps.sentiment.words import MOST_CHARACTERS
from apps.serving import OWN, called, own_models, predictor_of, shipped
from core import CheckpointError

WORDS, MODELS = "What every word does", "Models side by side"
STRONGEST = 10  # words with a bar
MOST_MIB, MOST_ROWS = 16, 5000  # of a table
MOST_ROWS_SHOWN = 1000


@st.cache_resource
def field() -> Any:
    return st.components.v2.component("text_field", html=FIELD_HTML, css=FIELD_CSS, js=FIELD_JS)


@st.cache_resource
def words() -> Any:
    return st.components.v2.component("text_words", html=WORDS_HTML, css=WORDS_CSS, js=WORDS_JS)


def page() -> None:
    st.title("Sentiment")
    st.markdown("Type what you think of a film, and watch a network read it, word by word. Then change a word.")
    names = shipped(SENTIMENT)
    if not names:
        st.info("No trained network for texts is here yet. Train one: `python scripts/train_sentiment.py`")
        return
    palette = DARK if st.context.theme.type == "dark" else LIGHT
    own, trouble = own_models(SENTIMENT.name, st.query_params.get("run"))
    if trouble:
        st.warning(trouble)
    names += own
    one(names, palette)
    many(names)


@st.fragment
def one(names: tuple[str, ...], palette: Palette) -> None:
    """The text, the answer, and what is behind it: drawn anew while it is typed."""
    left, right = st.columns([1.15, 1], gap="large")
    answered = right.container()
    first = len(names) - 1 if names[-1].startswith(OWN) else 0
    name = right.selectbox("Network", names, index=first, format_func=called, key="sentiment_model")
    try:
        with left:
            text = ask()
        predictor = predictor_of(SENTIMENT, name)
        verdict = answer(predictor, text) if text.strip() else None
    except (InputError, CheckpointError) as error:
        left.error(literal(str(error)), icon=":material/error:")
        return
    with answered:
        show_answer(predictor, verdict, palette)
    if verdict is not None:
        look_closer(predictor, text, verdict, names, palette)


def ask() -> str:
    """What is typed. Raises InputError for what no field sends."""
    first = next(iter(EXAMPLES.values()))
    kept = (st.session_state.get("sentiment_field") or {}).get("text", st.session_state.get("sentiment_text", first))
    told = field()(
        key="sentiment_field",
        data={
            "label": "Your text",
            "text": kept,
            "most": MOST_TYPED,
            "rows": 6,
            "hint": "A sentence, or a whole review",
            "examples": [{"label": label, "text": text} for label, text in EXAMPLES.items()],
        },
        default={"text": kept},
        on_text_change=lambda: None,
    )
    text = typed(told.text)
    st.session_state["sentiment_text"] = text  # for when the visitor comes back from another page
    st.caption("It is read while you type, on this machine, and kept nowhere.")
    return text


def show_answer(predictor: Predictor, verdict: Verdict | None, palette: Palette) -> None:
    """The verdict in words, and on a scale."""
    p = dict.fromkeys(predictor.labels, 0.5) if verdict is None else verdict.probabilities
    if verdict is None:
        st.metric("The network feels", "–")
        st.caption("Type a sentence, or choose an example.")
    else:
        st.metric("The network feels", "uncertain" if verdict.uncertain else literal(verdict.label))
        sure, label = percent(p[verdict.label]), literal(verdict.label)
        if verdict.uncertain:
            st.caption(f"It leans to {label}, with {sure}. Below {100 * SURE:.0f} % it gives no verdict.")
        else:
            st.caption(f"{sure} {label}; its probabilities were calibrated on texts that it did not learn from.")
    shown = "; ".join(f"{label} {percent(each)}" for label, each in p.items())
    if len(p) == 2:
        chart = charts.leanings({"": list(p.values())[1]}, tuple(p), SURE, palette, names=False)
    else:
        chart = charts.probability_bars(p, None if verdict is None else verdict.label, palette)
    st.altair_chart(chart, key="sentiment_answer", alt=f"Probabilities: {shown}")


def look_closer(predictor: Predictor, text: str, verdict: Verdict, names: tuple[str, ...], palette: Palette) -> None:
    st.subheader("Look closer")
    view = st.segmented_control(
        "Look closer",
        [WORDS, MODELS],
        default=WORDS,
        required=True,
        key="sentiment_view",
        label_visibility="collapsed",
    )
    if view == WORDS:
        show_words(predictor, text, verdict, palette)
    else:
        show_models(text, names, palette)


def show_words(predictor: Predictor, text: str, verdict: Verdict, palette: Palette) -> None:
    reading = read(predictor, text)
    label = literal(reading.explained)
    if not reading.words:
        st.caption("There is no word in this text: what the network says is what it says of nothing.")
        return
    kept = (st.session_state.get("sentiment_words") or {}).get("chosen")
    told = words()(
        key="sentiment_words",
        data={"words": coloured(reading, palette), "chosen": chosen(kept, reading.words)},
        default={"chosen": None},
        on_chosen_change=lambda: None,
    )
    if len(reading.words) > MOST_SHOWN:
        st.caption(f"The first {MOST_SHOWN:,} words of {len(reading.words):,}; the sum below is of all.")
    st.caption(
        f"Blue, with a plus: the word speaks for “{label}”; red, with a minus: against it. Dotted: the network does not"
        " know the word. Choose a word to leave it out, or to put another in its place."
    )
    place = chosen(told.chosen, reading.words)
    if place is not None:
        what_if(predictor, text, verdict, reading, place, palette)
    st.markdown("**It adds up**")
    if len(verdict.probabilities) == 2:
        is_what = f"the log-odds of “{label}”, that is {percent(verdict.probabilities[reading.explained])}"
    else:
        is_what = f"the logit of “{label}” above the mean of the others"
    base, total, whole = (f"{hundredths / 100:+.2f}".replace("-", "−") for hundredths in reading.sums())
    st.markdown(f"{base} for a text that says nothing, {total} for its words: together **{whole}**, {is_what}.")
    strongest = np.argsort(-np.abs(reading.contributions), kind="stable")[:STRONGEST]
    parts = reading.contributions[strongest]
    st.altair_chart(
        charts.signed_bars([reading.words[i] for i in strongest], parts.tolist(), palette),
        key="sentiment_strongest",
        alt="; ".join(f"{reading.words[i]} {part:+.2f}" for i, part in zip(strongest, parts, strict=True)),
    )
    st.caption(f"The {len(parts)} words with the most to say, in the same numbers.")


def what_if(predictor: Predictor, text: str, verdict: Verdict, reading: Reading, place: int, palette: Palette) -> None:
    """The answer without the chosen word, and with another one in its place."""
    word = reading.words[place]
    with st.container(border=True):
        left, right = st.columns(2, gap="medium", vertical_alignment="center")
        with left:
            told = field()(
                key=f"sentiment_instead {place} {word}",
                data={
                    "label": f"Instead of “{word}”",
                    "text": "",
                    "most": 200,
                    "rows": 1,
                    "hint": "nothing: the word is left out",
                },
                default={"text": ""},
                on_text_change=lambda: None,
            )
        new = typed(told.text).strip()
        answers = {
            "as it is": verdict.probabilities,
            f"without “{word}”": changed(predictor, text, place).probabilities,
        }
        if new:
            answers[f"with “{new[:30]}”"] = changed(predictor, text, place, new).probabilities
        labels = tuple(verdict.probabilities)
        if len(labels) == 2:
            chart = charts.leanings({name: p[labels[1]] for name, p in answers.items()}, labels, SURE, palette)
        else:
            chart = charts.answers_side_by_side(answers, palette)
        shown = "; ".join(f"{name}: {reading.explained} {percent(p[reading.explained])}" for name, p in answers.items())
        right.altair_chart(chart, key="sentiment_what_if", alt=shown)
        right.caption(literal(f"{shown}."))


def show_models(text: str, names: tuple[str, ...], palette: Palette) -> None:
    answers = {called(name): answer(predictor_of(SENTIMENT, name), text) for name in names}
    verdicts = {
        f"{name}: {'uncertain' if each.uncertain else each.label}": each.probabilities for name, each in answers.items()
    }
    labels = {tuple(each.probabilities) for each in answers.values()}
    if len(labels) == 1 and len(two := labels.pop()) == 2:
        chart = charts.leanings({name: p[two[1]] for name, p in verdicts.items()}, two, SURE, palette)
    else:
        chart = charts.answers_side_by_side(verdicts, palette)
    st.altair_chart(chart, key="sentiment_models", alt="; ".join(verdicts))
    st.caption("The same text, read by every network that comes with weights: its verdict, and how sure it is.")


# --- many texts -----------------------------------------------------------------------------------------------------


@st.fragment
def many(names: tuple[str, ...]) -> None:
    """A table of texts in, the same with answers out."""
    st.header("Many texts")
    st.markdown("A CSV file in; the same out, with a verdict and probabilities for each row. Nothing of it is kept.")
    left, right = st.columns(2, gap="large")
    file = left.file_uploader(
        f"A CSV file with names of columns, up to {MOST_ROWS:,} rows",
        type=["csv"],
        max_upload_size=MOST_MIB,
        key="sentiment_file",
    )
    if file is None:
        st.session_state.pop("sentiment_answers", None)
        return
    try:
        heads, rows = parse_csv(file.getvalue(), file.name, most=MOST_ROWS, cell=MOST_CHARACTERS)
        column = right.selectbox("Column with the texts", heads, index=wordiest(heads, rows), key="sentiment_column")
        name = right.selectbox("Network", names, format_func=called, key="sentiment_many_model")
        predictor = predictor_of(SENTIMENT, name)
        added = added_columns(predictor.labels, heads)
        answers = answered(predictor, [row[heads.index(column)] for row in rows], (file.file_id, column, name))
    except (InputError, CheckpointError) as error:
        st.error(literal(str(error)), icon=":material/error:")
        return
    show_table(heads, rows, column, added, answers)


def answered(predictor: Predictor, texts: list[str], asked: tuple[str, ...]) -> list[list[str]]:
    """The cells that are added to each row; of the last question they are kept in the visitor's session."""
    kept: tuple[tuple[str, ...], list[list[str]]] | None = st.session_state.get("sentiment_answers")
    if kept is None or kept[0] != asked:
        bar = st.progress(0.0, "Reading …")
        cells: list[list[str]] = []
        for p in read_many(predictor, texts):
            cells += [cells_of(predictor.labels, each) for each in p]
            bar.progress(len(cells) / len(texts), f"Read {len(cells):,} of {len(texts):,}")
        bar.empty()
        kept = st.session_state["sentiment_answers"] = (asked, cells)
    return kept[1]


def show_table(
    heads: list[str], rows: list[list[str]], column: str, added: list[str], answers: list[list[str]]
) -> None:
    counts = Counter(cells[0] for cells in answers)
    told = ", ".join(f"{count:,} {label}" for label, count in counts.most_common())
    st.markdown(f"**{len(rows):,} texts**: {literal(told)}.")
    at = heads.index(column)
    shown = pd.DataFrame(answers[:MOST_ROWS_SHOWN], columns=added)
    shown[added[1:]] = shown[added[1:]].astype(float)
    shown.insert(0, column, [row[at] for row in rows[:MOST_ROWS_SHOWN]])
    bars = {name: st.column_config.ProgressColumn(format="%.3f", min_value=0, max_value=1) for name in added[1:]}
    st.dataframe(shown, hide_index=True, column_config=bars, key="sentiment_table")
    if len(rows) > MOST_ROWS_SHOWN:
        st.caption(f"The first {MOST_ROWS_SHOWN:,} rows; the file has all of them.")
    st.download_button(
        "Download the answers",
        lambda: csv_of([*heads, *added], (row + more for row, more in zip(rows, answers, strict=True))),
        "answers.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


page()

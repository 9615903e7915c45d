"""The page of the models: the results, the cards, and the weights to take along."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from apps.serving import card, files, results

KINDS = {"safetensors": "application/octet-stream", "json": "application/json"}


def page() -> None:
    st.title("Models")
    st.markdown("Every network of the zoo, how good it is, and what it is for. Choose one to read its card.")
    rows = pd.DataFrame(results())
    chosen = table(rows)
    if chosen is not None:
        show(chosen)


def table(rows: pd.DataFrame) -> str | None:
    """The results, filtered; and the name of the model that is chosen in the list below."""
    left, right = st.columns([1, 1], gap="medium")
    tasks = left.pills("Task", sorted(rows["task"].unique()), selection_mode="multi", key="models_task")
    most = right.select_slider(
        "Parameters at most",
        sorted(rows["parameters"].astype(int).unique()),
        value=rows["parameters"].astype(int).max(),
        format_func=lambda n: f"{n:,}",
        key="models_size",
    )
    shown = rows[rows["parameters"].astype(int) <= most]
    if tasks:
        shown = shown[shown["task"].isin(tasks)]
    if shown.empty:
        st.info("No model is that small: move the slider, or choose another task.")
        return None
    numbers = ["mean", "sd", "seeds", "nll", "calibration_error", "parameters", "seconds", "answer_ms"]
    shown = shown.assign(**{name: pd.to_numeric(shown[name], errors="coerce") for name in numbers})
    st.dataframe(
        shown[["name", "task", "dataset", "metric", *numbers]],
        hide_index=True,
        column_config={
            "name": st.column_config.TextColumn("model", pinned=True),
            "mean": st.column_config.NumberColumn("score", format="%.4f", help="mean over seeds, on test data"),
            "sd": st.column_config.NumberColumn("±", format="%.4f", help="standard deviation over seeds"),
            "nll": st.column_config.NumberColumn("nll", format="%.4f", help="negative log-likelihood, nats"),
            "calibration_error": st.column_config.NumberColumn("calibration error", format="%.4f"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "seconds": st.column_config.NumberColumn("training, s", format="%.1f", help="on two cores"),
            "answer_ms": st.column_config.NumberColumn(
                "an answer, ms", format="%.2f", help="from one raw input to its answer, on one core"
            ),
        },
    )
    names = list(shown["name"])
    asked = st.query_params.get("card")
    chosen: str = st.selectbox("Card of", names, index=names.index(asked) if asked in names else 0)
    return chosen


def show(name: str) -> None:
    text, found = card(name), files(name)
    with st.container(border=True):
        if found:
            with st.container(horizontal=True):
                for file, content in found.items():
                    kind = file.rpartition(".")[2]
                    size = (
                        f"{len(content) / 2**20:.1f} MiB" if len(content) >= 2**20 else f"{len(content) / 1024:.0f} KiB"
                    )
                    label = "Weights" if kind == "safetensors" else "Description"
                    st.download_button(
                        f"{label} (.{kind}, {size})",
                        content,
                        file,
                        KINDS[kind],
                        icon=":material/download:",
                        on_click="ignore",
                    )
        st.markdown(text or f"There is no card of {name} yet.")


page()

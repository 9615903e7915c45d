"""The page where a visitor trains a network, and watches it learn. The training runs in a process of its own."""

from __future__ import annotations

from typing import Any

import streamlit as st

from apps import charts
from apps.errors import InputError
from apps.inside.subjects import followed
from apps.jobs import CSV, Job, Order, ahead, curves, ensure_trainer, find, interrupted, submit
from apps.lessons import LESSONS
from apps.pictures import DARK, LIGHT, percent
from apps.tasks import TASKS
from apps.train.offers import MOST_UPLOADED, OFFERS, columns_of, networks, recipe_of, takes_dropout
from core import OPTIMIZERS, SCHEDULES

ACTIVE = ("waiting", "loading", "training")
MOST_SHOWN = 6
FILES = {"model.safetensors": "Weights", "model.json": "Description", "report.html": "Report"}  # of a finished run


def page() -> None:
    st.title("Train")
    st.markdown(
        "Choose a network and how it learns, and watch. The training runs beside this page; keep the page's address to"
        " come back to it. Start another to compare the two on one chart."
    )
    jobs = asked_for()
    with st.expander("A new training", expanded=not jobs, icon=":material/add:"):
        ask(jobs)
    lesson = {str(number): each for number, each in enumerate(LESSONS)}.get(st.query_params.get("lesson", ""))
    if jobs and lesson is not None:
        st.subheader(lesson.title)
        st.markdown(lesson.look)
    if jobs:
        follow([job.name for job in jobs])


def asked_for() -> list[Job]:
    """The trainings that the page's address names."""
    jobs = []
    for name in [each for each in st.query_params.get("runs", "").split(",") if each][-MOST_SHOWN:]:
        try:
            jobs.append(find(name))
        except InputError as error:
            st.warning(str(error))
    return jobs


def ask(jobs: list[Job]) -> None:
    """The form of a new training."""
    left, middle, right = st.columns(3, gap="medium")
    task = left.selectbox("Task", list(OFFERS), format_func=lambda name: OFFERS[name].title, key="train_task")
    offer, offered = OFFERS[task], networks(task)
    data = middle.selectbox("Data", list(offer.data), format_func=offer.data.__getitem__, key=f"train_data {task}")
    model = right.selectbox("Network", offered, index=offered.index(offer.model), key=f"train_network {task}")
    table, columns = bring_table(task) if data == CSV else (b"", {})
    recipe = ask_recipe(task, model)
    missing = data == CSV and not table
    if st.button("Start", icon=":material/play_arrow:", disabled=missing):
        try:
            title = f"{model}, {recipe['optimizer']} {recipe['lr']:g}"
            dataset = CSV if data == CSV else TASKS[task].datasets[0] if task in TASKS else "taiwan"
            job = submit(Order(task, model, data, dataset, title, recipe, columns=columns), table)
        except InputError as error:
            st.error(str(error))
            return
        st.query_params["runs"] = ",".join([*(each.name for each in jobs), job.name])
        st.rerun()


def bring_table(task: str) -> tuple[bytes, dict[str, str]]:
    """A visitor's table, and which of its columns are what; nothing as long as there is none that can be used."""
    offer = OFFERS[task]
    file = st.file_uploader(
        f"A CSV file, a row for each of your {offer.unit}; the first line names the columns",
        type=["csv"],
        max_upload_size=MOST_UPLOADED,
        key=f"train_table {task}",
    )
    st.caption(
        "It is kept for your training alone, and removed when that has ended. A part of its rows is kept apart, to test"
        " on." + (" Every other column becomes a feature." if task == "credit" else "")
    )
    if file is None:
        return b"", {}
    table = file.getvalue()
    try:
        names = columns_of(table)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return b"", {}
    columns: dict[str, str] = {}
    for (what, asked), side in zip(offer.columns.items(), st.columns(2, gap="medium"), strict=False):
        likely = names.index(what) if what in names else 0 if what == "text" else len(names) - 1
        columns[what] = side.selectbox(asked, names, index=likely, key=f"train_column {task} {what}")
    return table, columns


def ask_recipe(task: str, model: str) -> dict[str, Any]:
    """How it learns: the fields of the recipe, which begin as they suit the network."""
    best, takes, key = recipe_of(task, model), OFFERS[task].takes, f"{task} {model}"
    left, middle, right = st.columns(3, gap="medium")
    optimizers, schedules = list(OPTIMIZERS), list(SCHEDULES)
    epochs = max(best.epochs, 20) if task == "mnist" else best.epochs
    sizes = [16, 32, 64, 128, 256, 512]
    size = best.batch_size if best.batch_size in sizes else 128
    recipe: dict[str, Any] = {
        "optimizer": left.selectbox("Optimizer", optimizers, optimizers.index(best.optimizer), key=f"optimizer {key}"),
        "schedule": middle.selectbox(
            "Schedule of the rate", schedules, schedules.index(best.schedule), key=f"schedule {key}"
        ),
        "lr": right.number_input("Learning rate", 1e-6, 100.0, best.lr, format="%g", key=f"lr {key}"),
        "epochs": int(left.number_input("Epochs", 1, 200, epochs, key=f"epochs {key}")),
        "batch_size": middle.select_slider("Batch size", sizes, size, key=f"batch {key}"),
        "weight_decay": right.number_input(
            "Weight decay", 0.0, 10.0, best.weight_decay, format="%g", key=f"decay {key}"
        ),
    }
    if takes_dropout(task, model):
        dropout = left.slider("Dropout", 0.0, 0.9, best.dropout, 0.05, key=f"dropout {key}")
        if dropout != best.dropout:
            recipe["dropout"] = dropout
    if "validation" in takes:
        told = "share of the training examples that is only tested on"
        recipe["validation"] = middle.slider("Held out", 0.05, 0.5, 0.2, 0.05, help=told, key=f"held {key}")
    if "augment" in takes:
        told = "how strongly digits are distorted at every visit"
        recipe["augment"] = right.slider("Augmentation", 0.0, 2.0, 0.0, 0.1, help=told, key=f"augment {key}")
    with st.expander("More against learning by heart"):
        left, middle, right = st.columns(3, gap="medium")
        recipe["l2"] = left.number_input("L2 penalty", 0.0, 10.0, best.l2, format="%g", key=f"l2 {key}")
        recipe["l1"] = middle.number_input("L1 penalty", 0.0, 10.0, best.l1, format="%g", key=f"l1 {key}")
        if "patience" in takes:
            told = "stop after so many epochs without a better held-out loss, and keep the best weights; 0: never"
            recipe["patience"] = int(
                right.number_input("Early stopping after", 0, 200, best.patience, help=told, key=f"patience {key}")
            )
    return recipe


def follow(names: list[str]) -> None:
    """Curves and states, drawn anew every second as long as something happens."""
    active = any(find(name).status()["state"] in ACTIVE for name in names)
    st.fragment(show, run_every=1.0 if active else None)(names, active)


def show(names: list[str], was_active: bool) -> None:
    palette = DARK if st.context.theme.type == "dark" else LIGHT
    try:
        jobs = [find(name) for name in names]
    except InputError as error:
        st.warning(str(error))
        return
    if any(job.order.task not in OFFERS for job in jobs):
        st.warning("This training is of a task that is not known here.")
        return
    show_curves(jobs, palette)
    for number, job in enumerate(jobs, start=1):
        with st.container(border=True):
            show_job(number, job, palette)
    states = [job.status()["state"] for job in jobs]
    if "waiting" in states:
        ensure_trainer()
    if was_active != any(state in ACTIVE for state in states):
        st.rerun()  # from now on, or no longer, every second


def show_curves(jobs: list[Job], palette: Any) -> None:
    lines = curves(jobs)
    drawn = [value for value in ("loss", "accuracy") if any(value in line for line in lines)]
    if not drawn:
        return
    for value, column in zip(drawn, st.columns(len(drawn), gap="medium"), strict=True):
        chart = charts.learning(lines, value, palette)
        column.altair_chart(chart, key=f"train_{value}", alt=f"{value.capitalize()} by step")
    held = any(line["what"] == "held out" for line in lines)
    dots = " Dots: held out, after each epoch." if held else ""
    high = (
        " A loss above 20 lies on the upper edge."
        if any(line.get("loss", 0) > charts.HIGHEST for line in lines)
        else ""
    )
    st.caption(f"Full lines: in training, smoothed over about ten batches.{dots}{high}")


def show_job(number: int, job: Job, palette: Any) -> None:
    status = job.status()
    state = "interrupted" if interrupted(job) else status["state"]
    st.markdown(f"**{number} · {job.order.title}** — {said(job, state, status)}")
    if state == "training" and status.get("steps"):
        rate = f", {status['rate']:,.0f} {status['unit']}/s" if "rate" in status else ""
        st.progress(min(1.0, status["step"] / status["steps"]), f"{status['what']}{rate}, {status['left']:.0f} s left")
    row = st.container(horizontal=True)
    if state in ACTIVE:
        row.button("Stop", key=f"stop {job.name}", icon=":material/stop:", on_click=job.stop)
    if state in ("stopped", "interrupted"):
        row.button("Resume", key=f"resume {job.name}", icon=":material/play_arrow:", on_click=job.resume)
    if state == "finished":
        offer_run(row, job)
    show_doctor(job, palette)


def offer_run(row: Any, job: Job) -> None:
    """What a finished run can be used for."""
    for name, label in FILES.items():
        file = job.run.folder / name
        if file.is_file():
            row.download_button(label, file.read_bytes(), name, key=f"{name} {job.name}", on_click="ignore")
    page, label, icon = OFFERS[job.order.task].page
    row.page_link(page, label=label, icon=icon, query_params={"run": job.name})
    if followed(job.order.task, job.order.model):
        row.page_link(
            "inside/page.py", label="Look inside", icon=":material/account_tree:", query_params={"run": job.name}
        )


def said(job: Job, state: str, status: dict[str, Any]) -> str:
    if state == "waiting":
        before = ahead(job)
        return (
            f"waiting; {before} {'training comes' if before == 1 else 'trainings come'} first" if before else "waiting"
        )
    if state == "finished":
        metrics, tested = status["metrics"], f"{status['examples']:,} test {OFFERS[job.order.task].unit}"
        score = ""
        if "accuracy" in metrics:
            score = f"; {percent(metrics['accuracy'])} of {tested} right"
        elif "roc_auc" in metrics:
            score = f"; ROC AUC {metrics['roc_auc']:.4f} on {tested}"
        return f"finished in {status['seconds']:.0f} s{score}"
    return {"interrupted": "interrupted; nothing is lost", "loading": "reading the data"}.get(
        state, f"{state}: {status['said']}" if status["said"] else state
    )


def show_doctor(job: Job, palette: Any) -> None:
    """What the doctor says of the last epoch, and how gradients flow."""
    history = [line for line in job.history() if line.get("layers")]
    if not history:
        return
    part, fold = (history[-1].get(key) for key in ("part", "fold"))  # of several networks, one by one, the last
    history = [line for line in history if (line.get("part"), line.get("fold")) == (part, fold)]
    findings = job.findings()
    for each in findings[:3]:
        st.warning(
            f"**{each['layer']}: {each['kind']}.** {each['evidence'].capitalize()}: {each['remedy']}.",
            icon=":material/stethoscope:",
        )
    if not findings:
        st.caption("The doctor finds nothing: no gradient vanishes or explodes, no unit is dead or saturated.")
    with st.expander("Gradient flow"):
        st.altair_chart(charts.gradient_flow(history, palette), key=f"flow {job.name}", alt="Gradient of each layer")
        which = "" if fold is None else f" Of the network that learned last: {part}, fold {fold + 1}."
        st.caption(
            f"Root mean square of each layer's gradient, after each epoch; the first layer is the darkest line.{which}"
        )


page()

"""The page where a visitor trains a network, and watches it learn. The training runs in a process of its own."""

from __future__ import annotations

from typing import Any

import streamlit as st

from apps import charts
from apps.errors import InputError
from apps.jobs import Job, Order, ahead, curves, ensure_trainer, find, interrupted, submit
from apps.pictures import DARK, LIGHT, percent
from apps.tasks import TASKS
from core import OPTIMIZERS, SCHEDULES

TRAINED_HERE = {"mnist": "Digits"}  # task -> what it is called
DATA = {"sample": "the small sample", "": "the whole data set, where this machine has it"}
ACTIVE = ("waiting", "loading", "training")
MOST_SHOWN = 6


def page() -> None:
    st.title("Train")
    st.markdown(
        "Choose a network and how it learns, and watch. The training runs beside this page; keep the page's address to"
        " come back to it. Start another to compare the two on one chart."
    )
    jobs = asked_for()
    with st.expander("A new training", expanded=not jobs, icon=":material/add:"):
        ask(jobs)
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
    task = TASKS[left.selectbox("Task", list(TRAINED_HERE), format_func=lambda name: TRAINED_HERE[name])]
    data = middle.selectbox("Data", list(DATA), format_func=lambda name: DATA[name])
    model = right.selectbox("Network", list(task.entries), index=list(task.entries).index("mlp"))
    best = task.entries[model].recipe
    optimizer = left.selectbox("Optimizer", list(OPTIMIZERS), index=list(OPTIMIZERS).index(best.optimizer))
    schedule = middle.selectbox("Schedule of the rate", list(SCHEDULES), index=list(SCHEDULES).index(best.schedule))
    lr = right.number_input("Learning rate", 1e-6, 100.0, best.lr, format="%g", key=f"lr {model}")
    epochs = left.number_input("Epochs", 1, 200, max(best.epochs, 20), key=f"epochs {model}")
    batch = middle.select_slider("Batch size", [16, 32, 64, 128, 256, 512], value=128)
    held = right.slider("Held out", 0.05, 0.5, 0.2, 0.05, help="share of the training examples that is only tested on")
    decay = left.number_input("Weight decay", 0.0, 10.0, best.weight_decay, format="%g", key=f"decay {model}")
    dropout = middle.slider("Dropout", 0.0, 0.9, best.dropout, 0.05, key=f"dropout {model}")
    augment = right.slider("Augmentation", 0.0, 2.0, 0.0, 0.1, help="how strongly digits are distorted at every visit")
    recipe = {"optimizer": optimizer, "schedule": schedule, "lr": lr, "epochs": int(epochs), "batch_size": batch}
    recipe |= {"validation": held, "weight_decay": decay, "augment": augment}
    if dropout != best.dropout:
        recipe["dropout"] = dropout
    if st.button("Start", icon=":material/play_arrow:"):
        try:
            title = f"{model}, {optimizer} {lr:g}"
            job = submit(Order(task.name, model, data, task.datasets[0], title, recipe))
        except InputError as error:
            st.error(str(error))
            return
        st.query_params["runs"] = ",".join([*(each.name for each in jobs), job.name])
        st.rerun()


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
    lines = curves(jobs)
    if lines:
        left, right = st.columns(2, gap="medium")
        left.altair_chart(charts.learning(lines, "loss", palette), key="train_loss", alt="Loss by step")
        right.altair_chart(charts.learning(lines, "accuracy", palette), key="train_accuracy", alt="Accuracy by step")
        st.caption("Full lines: in training, smoothed over about ten batches. Dots: held out, after each epoch.")
    for number, job in enumerate(jobs, start=1):
        with st.container(border=True):
            show_job(number, job, palette)
    states = [job.status()["state"] for job in jobs]
    if "waiting" in states:
        ensure_trainer()
    if was_active != any(state in ACTIVE for state in states):
        st.rerun()  # from now on, or no longer, every second


def show_job(number: int, job: Job, palette: Any) -> None:
    status = job.status()
    state = "interrupted" if interrupted(job) else status["state"]
    st.markdown(f"**{number} · {job.order.title}** — {said(job, state, status)}")
    if state == "training" and status.get("steps"):
        rate = f"{status['rate']:,.0f} {status['unit']}/s, {status['left']:.0f} s left"
        st.progress(status["step"] / status["steps"], f"epoch {status['epoch']} of {status['epochs']}, {rate}")
    row = st.container(horizontal=True)
    if state in ACTIVE:
        row.button("Stop", key=f"stop {job.name}", icon=":material/stop:", on_click=job.stop)
    if state in ("stopped", "interrupted"):
        row.button("Resume", key=f"resume {job.name}", icon=":material/play_arrow:", on_click=job.resume)
    model = job.run.folder / "model.safetensors"
    if state == "finished" and model.is_file():
        row.download_button("Weights", model.read_bytes(), "model.safetensors", key=f"w {job.name}", on_click="ignore")
        description = (job.run.folder / "model.json").read_bytes()
        row.download_button("Description", description, "model.json", key=f"d {job.name}", on_click="ignore")
        row.page_link("mnist/page.py", label="Draw for it", icon=":material/draw:", query_params={"run": job.name})
    show_doctor(job, palette)


def said(job: Job, state: str, status: dict[str, Any]) -> str:
    if state == "waiting":
        before = ahead(job)
        return (
            f"waiting; {before} {'training comes' if before == 1 else 'trainings come'} first" if before else "waiting"
        )
    if state == "finished":
        accuracy = status["metrics"].get("accuracy")
        score = f"; {percent(accuracy)} of {status['examples']:,} test images read" if accuracy is not None else ""
        return f"finished in {status['seconds']:.0f} s{score}"
    return {"interrupted": "interrupted; nothing is lost", "loading": "reading the data"}.get(
        state, f"{state}: {status['said']}" if status["said"] else state
    )


def show_doctor(job: Job, palette: Any) -> None:
    """What the doctor says of the last epoch, and how gradients flow."""
    history = job.history()
    if not history:
        return
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
        st.caption("Root mean square of each layer's gradient, after each epoch; the first layer is the darkest line.")


page()

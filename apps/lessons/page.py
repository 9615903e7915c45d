"""The page of the lessons: one click each, all curves kept."""

from __future__ import annotations

import streamlit as st

from apps.errors import InputError
from apps.jobs import submit
from apps.lessons import LESSONS, Lesson


def page() -> None:
    st.title("Lessons")
    st.markdown(
        "Each of these trains a small network a few times, on the sample of digits, and draws all curves on one chart."
        " It takes seconds to a few minutes."
    )
    for number, lesson in enumerate(LESSONS):
        with st.container(border=True):
            st.subheader(lesson.title)
            st.markdown(lesson.look)
            st.caption("Trainings: " + ", ".join(trial.title for trial in lesson.trials))
            if st.button("Run the lesson", key=f"lesson {lesson.title}", icon=":material/play_arrow:"):
                begin(lesson, number)


def begin(lesson: Lesson, number: int) -> None:
    try:
        names = [submit(order).name for order in lesson.orders()]
    except InputError as error:
        st.error(str(error))
        return
    st.switch_page("train/page.py", query_params={"runs": ",".join(names), "lesson": str(number)})


page()

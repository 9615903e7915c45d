"""Learning from texts that nobody labelled, by the labels that a trained model gives them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from apps.errors import InputError
from apps.predictor import Predictor
from apps.sentiment.data import Texts, endings, load_unlabelled
from apps.sentiment.encoder import TextEncoder
from apps.start import find_stem
from apps.task import Watch
from apps.training import Plan
from core import cores

TRUSTED = 0.7  # a label that the teacher holds for less probable is not learned from
PIECE = 1000  # texts that are labelled at a time


def teach(plan: Plan, data: str | None, teacher: str, watch: Watch = iter) -> Plan:
    """The plan with the reviews that nobody labelled, as the teacher labels those it is sure of; for `broad`, with
    their last sentences too.

    The student reads other features than the teacher did, or the same from more texts, and so finds what goes along
    with what the teacher knew: self-training (Yarowsky, 1995; Lee, 2013).

    Raises InputError where there is no such teacher, it tells other classes apart, or no such reviews are at hand; and
    for a blend, whose weights are learned from what somebody labelled and its parts never saw.
    """
    if plan.model == "blend":
        raise InputError("A blend learns from held-out texts alone: give --teacher to its parts instead.")
    assert isinstance(plan.encoder, TextEncoder)
    predictor = Predictor(plan.task, find_stem(plan.task, teacher, "--teacher"))
    if predictor.labels != plan.data.labels:
        classes = ", ".join(plan.data.labels)
        raise InputError(f"--teacher {teacher} tells {', '.join(predictor.labels)} apart, but the texts are {classes}.")
    texts = load_unlabelled(data)
    pieces = [texts[start : start + PIECE] for start in range(0, len(texts), PIECE)]
    p = np.concatenate([_probabilities(predictor, piece) for piece in watch(pieces)])
    sure = np.flatnonzero(p.max(axis=1) >= TRUSTED)
    if not len(sure):
        raise InputError(f"--teacher {teacher} is sure of no text: give a better one.")
    more = Texts([texts[row] for row in sure], p[sure].argmax(axis=1))
    if plan.dataset == "broad":
        _, ended = endings(more)
        more = Texts(more.x + ended.x, np.concatenate([more.t, ended.t]))
    return replace(plan, teacher=teacher, more=plan.encoder.examples(more))


def _probabilities(predictor: Predictor, texts: list[str]) -> np.ndarray:
    z = predictor.logits(predictor.encode(texts), threads=cores())
    return predictor.calibration.probabilities(z, len(predictor.labels))

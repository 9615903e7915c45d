"""The validation report: one page that a validator can read, keep and check, with its figures inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from apps.credit import plots
from apps.credit.data import Applicants
from apps.credit.derived import RULES
from apps.credit.fairness import FOUR_FIFTHS, audit
from apps.credit.measures import (
    SHIFTED,
    STABLE,
    FeatureTable,
    auc_interval,
    calibration_line,
    cost_at,
    deciles,
    feature_table,
    score,
    score_stability,
)
from apps.credit.model import CreditModel
from apps.credit.reasons import TOLERANCE, contributions, resetting_helps, top_reasons
from apps.credit.scorecard import scorecard
from apps.credit.training import Plan, Trained
from apps.credit.what_if import smallest_change
from apps.training import versions
from core import write_atomically
from core.metrics import roc_auc, sigmoid

TRIED = 500  # refusals whose reasons are tested
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#22303c;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.6rem 0 1.2rem;font-size:13px}"
    "th,td{padding:.25rem .7rem;border-bottom:1px solid #d9dee3;text-align:right}"
    "th:first-child,td:first-child{text-align:left}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}"
    ".row{display:flex;flex-wrap:wrap;gap:1rem}svg{max-width:100%;height:auto}small{color:#5b6b78}"
)


@dataclass(frozen=True)
class Evidence:
    """What the sections are written from: the numbers of both sets of rows, and what the model says of them."""

    plan: Plan
    trained: Trained
    model: CreditModel
    learn: np.ndarray
    held: np.ndarray
    t_learn: np.ndarray
    t_held: np.ndarray
    logits: np.ndarray
    tables: list[FeatureTable]

    @property
    def data(self) -> Applicants:
        return self.plan.data

    @property
    def pd(self) -> np.ndarray:
        return np.asarray(sigmoid(self.logits))


def write_report(path: Path, plan: Plan, trained: Trained, model: CreditModel) -> None:
    """Write the page."""
    data = plan.data
    numbers = data.numbers()
    learn, held = numbers[data.train], numbers[data.test]
    t_learn, t_held = data.t[data.train], data.t[data.test]
    tables = [
        feature_table(feature, learn[:, i], t_learn, held[:, i]) for i, feature in enumerate(model.schema.features)
    ]
    known = Evidence(plan, trained, model, learn, held, t_learn, t_held, model.logits(held), tables)
    sections: list[tuple[str, Callable[[Evidence], str]]] = [
        ("Purpose, data and exclusions", _purpose),
        ("Performance", _performance),
        ("Decisions and their cost", _decisions),
        ("Calibration", _calibration),
        ("Segments", _segments),
        ("Stability", _stability),
        ("What each feature tells", _information),
        ("Scorecard", _scorecard),
        ("Fairness", _fairness),
        ("Reasons", _reasons),
        ("Limits", _limits),
        ("How to get the same again", _provenance),
    ]
    body = "".join(f"<h2>{i}. {name}</h2>{write(known)}" for i, (name, write) in enumerate(sections, 1))
    title = f"Validation of the credit model {escape(plan.model)}"
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    write_atomically(path, f"{page}<h1>{title}</h1>{_summary(known)}{body}</html>\n".encode())


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(_show(cell))}</{kind}>" for cell in cells) + "</tr>"

    return f"<table>{line(heads, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _show(cell: Any) -> str:
    if isinstance(cell, float | np.floating):
        return "–" if np.isnan(cell) else f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int | np.integer) else str(cell)


def _summary(known: Evidence) -> str:
    metrics = score(known.logits, known.t_held)
    low, high = auc_interval(known.t_held, known.logits)
    refused = known.model.refused(known.logits).mean()
    return (
        f"<p>ROC AUC <b>{metrics['roc_auc']:.4f}</b> (95 % interval {low:.4f} to {high:.4f}) on {len(known.held):,}"
        f" test applicants of {escape(known.data.name)}, who took no part in training, calibration or any choice."
        f" At the cut-off {known.model.cut:.1%}, {refused:.1%} of them are refused.</p>"
    )


def _purpose(known: Evidence) -> str:
    data, schema = known.data, known.model.schema
    signs = {1: "may only raise the risk", -1: "may only lower the risk", 0: ""} if known.model.monotone else {}
    features = [
        (
            f.name,
            f.words,
            RULES[f.rule].words.format(", ".join(f.sources)) if f.rule else f.kind,
            ", ".join(f.show(c) for c in f.codes),
            signs.get(f.direction, "free"),
            "yes" * f.immutable,
        )
        for f in schema.features
    ]
    counts = [
        ("training", len(known.learn), int(known.t_learn.sum()), float(known.t_learn.mean())),
        ("test", len(known.held), int(known.t_held.sum()), float(known.t_held.mean())),
    ]
    left = [(name, reason) for name, reason in schema.dropped.items()]
    left += [(name, "protected: never enters the model, kept for the audit") for name in schema.protected]
    return (
        f"<p>The model estimates the probability of {escape(data.purpose)}. Target: {escape(schema.target)} ="
        f" {escape(schema.positive)}.</p>"
        + _table(("rows", "applicants", "defaults", "default rate"), counts)
        + _table(("feature", "in words", "kind", "codes with bins of their own", "direction", "immutable"), features)
        + (_table(("left out", "why"), left) if left else "")
    )


def _performance(known: Evidence) -> str:
    rows = []
    sets = [
        ("test", known.logits, known.t_held),
        ("out of fold, calibrated on the other folds", known.trained.calibrated, known.t_learn),
    ]
    for name, logits, t in sets:
        metrics = score(logits, t)
        low, high = auc_interval(t, logits)
        interval = f"{low:.4f} to {high:.4f}"
        rows.append((name, metrics["roc_auc"], interval, *(metrics[k] for k in ("gini", "ks", "brier", "log_loss"))))
    rows += _incumbent(known)
    text = _table(("", "ROC AUC", "95 % interval", "Gini", "KS", "Brier", "log-loss"), rows)
    if known.data.best is not None:
        best = known.data.best[known.data.test]
        text += (
            "<p>The applicants are simulated, so the best possible is known: the Bayes-optimal ROC AUC of the test"
            f" rows is {roc_auc(known.t_held, best):.4f}, and the mean |p̂ − p|"
            f" {np.abs(known.pd - best).mean():.4f}.</p>"
        )
    points, cut = known.model.points(known.logits), known.model.points(np.array(known.model.cut_logit))
    figures = plots.roc(known.t_held, known.logits) + plots.distributions(known.t_held, points, float(cut))
    lines = [
        (i, d.count, d.bad, d.rate, d.expected, f"{d.lowest:.3f} to {d.highest:.3f}", f"{d.captured:.1%}")
        for i, d in enumerate(deciles(known.pd, known.t_held), 1)
    ]
    heads = (
        "tenth, safest first",
        "applicants",
        "defaults",
        "default rate",
        "mean pd",
        "pd from to",
        "defaults so far",
    )
    return text + f'<div class="row">{figures}</div>' + _table(heads, lines)


def _incumbent(known: Evidence) -> list[tuple[Any, ...]]:
    """The row of the score to compare with, where there is one; its sign is taken as it ranks better."""
    column = known.plan.compare
    if column is None:
        return []
    values, _ = known.data.table.numbers(column)
    s = values[known.data.test]
    held = ~np.isnan(s)
    if not held.any() or len(np.unique(known.t_held[held])) < 2:
        return [(f"{column}: no value on the test rows", *[""] * 6)]
    s = s[held] if roc_auc(known.t_held[held], s[held]) >= 0.5 else -s[held]
    auc, (low, high) = roc_auc(known.t_held[held], s), auc_interval(known.t_held[held], s)
    own = roc_auc(known.t_held[held], known.logits[held])
    note = f"incumbent {column}, {int(held.sum()):,} rows (this model on the same: {own:.4f})"
    return [(note, auc, f"{low:.4f} to {high:.4f}", 2 * auc - 1, "", "", "")]


def _decisions(known: Evidence) -> str:
    model, t, pd = known.model, known.t_held, known.pd
    refused = pd >= model.cut
    cells = [
        ("good", int((~refused & (t == 0)).sum()), int((refused & (t == 0)).sum())),
        ("bad", int((~refused & (t == 1)).sum()), int((refused & (t == 1)).sum())),
    ]
    cost = partial(cost_at, pd, t, model.cost)
    rows = [
        ("this model at its cut-off", cost(model.cut)),
        ("everybody accepted", cost(2.0)),
        ("everybody refused", cost(-1.0)),
    ]
    points = model.points
    return (
        f"<p>A refused good applicant costs {model.cost[0]:g}, an accepted bad one {model.cost[1]:g}; so refusing is"
        f" the cheaper from a probability of default of {model.cost[0]:g} / {sum(model.cost):g} = {model.cut:.4f}"
        f" ({float(points(np.array(model.cut_logit))):.0f} points) on. Points: {points.base:g} at odds of"
        f" {points.odds:g}:1, {points.pdo:g} more for each doubling of the odds; factor {points.factor:.3f}, offset"
        f" {points.offset:.2f}.</p>"
        + _table(("truth", "accepted", "refused"), cells)
        + _table(("decision rule", "mean cost of a test applicant"), rows)
        + plots.cost_curve(pd, cost, model.cut)
    )


def _calibration(known: Evidence) -> str:
    rows = []
    sets = [
        ("test", known.logits, known.t_held),
        ("out of fold, calibrated on the other folds", known.trained.calibrated, known.t_learn),
        ("out of fold, before calibration", known.trained.oof, known.t_learn),
    ]
    for name, logits, t in sets:
        slope, intercept = calibration_line(logits, t)
        rows.append((name, slope, intercept, float(sigmoid(logits).mean()), float(t.mean())))
    figure = plots.reliability(
        [
            ("test", deciles(known.pd, known.t_held)),
            ("out of fold", deciles(np.asarray(sigmoid(known.trained.calibrated)), known.t_learn)),
        ]
    )
    return _table(("", "slope", "intercept", "mean pd", "default rate"), rows) + figure


def _segments(known: Evidence) -> str:
    best = sorted(known.tables, key=lambda table: -table.iv)[:4]
    rows = []
    for table in best:
        i = known.model.schema.features.index(table.feature)
        at = table.place(known.held[:, i])
        for k, name in enumerate(table.names):
            own = at == k
            t = known.t_held[own]
            if own.sum() >= 100 and 10 <= t.sum() <= own.sum() - 10:
                low, high = auc_interval(t, known.logits[own])
                auc, expected = roc_auc(t, known.logits[own]), float(known.pd[own].mean())
                rows.append(
                    (
                        f"{table.feature.name}: {name}",
                        int(own.sum()),
                        auc,
                        f"{low:.3f} to {high:.3f}",
                        expected,
                        float(t.mean()),
                    )
                )
    heads = ("segment of the test rows", "applicants", "ROC AUC", "95 % interval", "mean pd", "default rate")
    text = (
        "<p>Bins of the four features with the highest information value; those with 100 rows, and 10 of each kind.</p>"
    )
    return text + _table(heads, rows)


def _stability(known: Evidence) -> str:
    learn = known.model.logits(known.learn)
    rows: list[tuple[str, float, str]] = [("score", score_stability(learn, known.logits), "")]
    rows += [(table.feature.name, table.psi, "") for table in known.tables]
    told = [(name, psi, "stable" if psi < STABLE else "watch" if psi < SHIFTED else "shifted") for name, psi, _ in rows]
    return (
        f"<p>Population stability index of the test rows against the training rows: below {STABLE:.2f} stable, above"
        f" {SHIFTED:.2f} shifted; missing values are a bin of their own. The split is random here: recompute it on new"
        " applicants.</p>" + _table(("", "PSI", ""), told)
    )


def _information(known: Evidence) -> str:
    tables = sorted(known.tables, key=lambda table: -table.iv)
    text = _table(("feature", "information value"), [(table.feature.name, table.iv) for table in tables])
    for table in tables[:6]:
        rows = [
            (name, int(count), float(bad / count), float(woe))
            for name, count, bad, woe in zip(table.names, table.counts, table.bad, table.woe, strict=True)
            if count
        ]
        text += _table((table.feature.name, "applicants", "default rate", "weight of evidence"), rows)
    return text + "<p><small>On the training rows. A positive weight of evidence: riskier than the whole.</small></p>"


def _scorecard(known: Evidence) -> str:
    if not known.model.additive:
        return (
            "<p>This model is not a sum of one term a feature, so it has no scorecard; the model"
            " <code>additive</code> has one.</p>"
        )
    lines = scorecard(known.model, known.learn, known.t_learn)
    rows = [
        (
            line.feature,
            line.bin,
            line.count,
            f"{line.bad:.1%}",
            f"{line.lowest:.1f} to {line.highest:.1f}",
            f"{line.mean:.1f}",
        )
        for line in lines
    ]
    heads = ("feature", "bin", "applicants", "default rate", "points from to", "mean points")
    return "<p>The points of all features add up to the score.</p>" + _table(heads, rows)


def _fairness(known: Evidence) -> str:
    schema = known.model.schema
    if not schema.protected:
        return "<p>No protected attribute was named, so nothing was audited: give --protected.</p>"
    table = known.data.table.take(known.data.test)
    text = (
        "<p>These attributes never enter the model. Figures for the test rows; a ratio of selection rates below"
        f" {FOUR_FIFTHS:g} is a statistic to look into, not a verdict of law.</p>"
    )
    for attribute in schema.protected:
        found = audit(table, attribute, known.pd, known.t_held, known.model.cut)
        rows = [
            (g.name, g.count, f"{g.selection:.1%}", f"{g.missed:.1%}", f"{g.caught:.1%}", g.expected, g.bad, g.proxy)
            for g in found.groups
        ]
        heads = (
            attribute,
            "applicants",
            "accepted",
            "good refused",
            "bad refused",
            "mean pd",
            "default rate",
            "proxy AUC",
        )
        text += _table(heads, rows) + (
            f"<p>Demographic-parity ratio {found.parity:.3f}; equalised odds: largest difference {found.odds:.3f};"
            f" proxy test: the score alone tells a group of {escape(attribute)} from the others with an AUC of at most"
            f" {found.proxy:.3f} (.5: not at all).</p>"
        )
    return text


def _reasons(known: Evidence) -> str:
    model = known.model
    refused = np.flatnonzero(model.refused(known.logits))[:TRIED]
    if not len(refused) or not len(model.references):
        return "<p>Nobody among the test rows is refused.</p>"
    rows = known.held[refused]
    contributed = contributions(model, rows)
    gap = np.abs(contributed.sum(axis=1) - (known.logits[refused] - model.logits(model.references).mean())).max()
    chosen = top_reasons(contributed)
    helps = resetting_helps(model, rows, chosen, np.random.default_rng([known.plan.seed, 0x5E])).mean()
    counts = np.bincount(chosen[chosen >= 0], minlength=len(model.schema.features))
    frequent = [
        (model.schema.features[i].name, f"{counts[i] / len(rows):.1%}") for i in np.argsort(-counts) if counts[i]
    ]
    kind = "exact terms" if model.additive else "integrated gradients"
    return (
        f"<p>At most four principal reasons for each refusal: {kind}, against {len(model.references)} made-up"
        f" applicants whom the model just accepts. Over {len(rows):,} refusals of the test rows they add up to logit(x)"
        f" − mean reference logit within {gap:.1e} (asked: {TOLERANCE:g}); setting the reported features to those of"
        f" the references lowers the risk more than setting as many random others in {helps:.1%} of them.</p>"
        + _table(("among the reasons of a refusal", "how often"), frequent)
        + _example(known, rows[0])
    )


def _example(known: Evidence, row: np.ndarray) -> str:
    change = smallest_change(known.model, row)
    if change is None:
        return "<p>What if: no change of at most three features turns the first of these refusals.</p>"
    features = known.model.schema.features
    told = "; ".join(
        f"{features[i].words or features[i].name} {features[i].show(value)} instead of {features[i].show(row[i])}"
        for i, value in change.values.items()
    )
    return (
        f"<p>What if: the first of these refusals would be accepted with {escape(told)} (pd {change.pd:.4f},"
        f" {change.cost:.0f} training percentiles away), by the model itself.</p>"
    )


def _limits(known: Evidence) -> str:
    return (
        "<ul><li>Such data hold accepted applicants only: of those once refused nobody knows whether they would have"
        " paid (reject inference is not attempted), and the model may be wrong about applicants unlike them.</li>"
        "<li>Training and test rows are of one time and place; nothing here shows how the model ages.</li>"
        "<li>A contribution says what moves the score, not what causes a default.</li>"
        "<li>Leaving protected attributes out does not make a model fair: see the proxy test.</li></ul>"
    )


def _provenance(known: Evidence) -> str:
    plan = known.plan
    rows = [
        ("data set", known.data.name),
        ("fingerprint of the data", known.data.fingerprint()),
        ("seed", str(plan.seed)),
    ]
    rows += [(name, text) for name, text in versions().items()]
    rows += [(f"recipe of {part}", str(recipe)) for part, recipe in plan.parts.items()]
    return _table(("", ""), rows)

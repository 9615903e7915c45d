"""The page of credit: score an applicant, a portfolio of them, and read the scorecard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from apps import charts
from apps.credit.applicant import Answer, Field, answer, fields, filled, in_words
from apps.credit.fairness import FOUR_FIFTHS, LEAST, audit
from apps.credit.made_up import made_up_table
from apps.credit.measures import SHIFTED, STABLE, auc_interval, deciles, roc_curve, score
from apps.credit.model import CreditModel, cut_off
from apps.credit.portfolio import Portfolio, open_portfolio, scored_csv, trade_off
from apps.credit.scorecard import feature_points, spans
from apps.credit.scoring import extra_columns
from apps.credit.stability import bins, shifts, training_of
from apps.credit.table import csv_of, parse_csv
from apps.credit.what_if import smallest_change
from apps.errors import InputError
from apps.markdown import literal
from apps.pictures import DARK, LIGHT, Palette, percent
from apps.serving import called, credit_model, made_up_applicants, own_models, shipped_credit
from core import CheckpointError

ONE, MANY, CARD = "One applicant", "A portfolio", "The scorecard"
SCORES, TRADE, QUALITY, STABILITY, FAIRNESS, TABLE = (
    "Scores",
    "Cut-off and cost",
    "How good it is",
    "Against the training",
    "Fairness",
    "Table",
)
MOVERS = 8  # features with a bar
MOST_MIB, MOST_ROWS, MOST_ROWS_SHOWN = 32, 50_000, 1000
DEAREST = 20  # times the cost of a refused good applicant
CURVES = "additive"  # the model whose scorecard is shown where the chosen one has none
WORDS = ("refused", "accepted")
STYLE = """<style>
[data-testid="stLayoutWrapper"]:has(> .st-key-credit_verdict) {{ position: sticky; top: 3.75rem; z-index: 20; }}
.st-key-credit_verdict {{ background: {ground}; }}
:is(.st-key-credit_verdict, .st-key-credit_figures) [data-testid="stMetricValue"] {{ font-size: 1.75rem; }}
@media (max-width: 640px) {{
  .st-key-credit_verdict [data-testid="stMetricValue"] {{ font-size: 1.25rem; }}
  .st-key-credit_verdict [data-testid="stColumn"]:last-child {{ display: none; }}
}}
</style>"""


def page() -> None:
    kind = "dark" if st.context.theme.type == "dark" else "light"
    st.html(STYLE.format(ground=st.get_option(f"theme.{kind}.backgroundColor")))
    st.title("Credit")
    st.markdown(
        "Will they pay it back? Move what is known of an applicant, and the probability of default, the points and the"
        " decision move with it, with reasons. For teaching, not for lending."
    )
    own, trouble = own_models("credit", st.query_params.get("run"))
    if trouble:
        st.warning(trouble)
    names = (*own, *shipped_credit())
    if not names:
        st.info("No trained model for credit is here yet. Train one: `python scripts/train_credit.py`")
        return
    palette = DARK if kind == "dark" else LIGHT
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    view = row.segmented_control(
        "View", [ONE, MANY, CARD], default=ONE, required=True, key="credit_view", label_visibility="collapsed"
    )
    name = row.selectbox("Model", names, format_func=called, key="credit_model", persist_state="session", width=220)
    try:
        model = credit_model(name)
        {ONE: one, MANY: many, CARD: scorecard}[view](model, name, palette)
    except (InputError, CheckpointError) as error:
        st.error(literal(str(error)), icon=":material/error:")


# --- one applicant --------------------------------------------------------------------------------------------------


def key(field: Field) -> str:
    return f"credit {field.feature.name}"


@st.fragment
def one(model: CreditModel, name: str, palette: Palette) -> None:
    """The form, the answer, and why: drawn anew at every move."""
    asked = fields(model)
    offer(asked, made_up_applicants(name))
    verdict = st.container(border=True, key="credit_verdict")
    left, right = st.columns([1.1, 1], gap="large")
    with left:
        row = ask(model, asked)
    told = answer(model, row)
    with verdict:
        show_verdict(model, told, palette)
    with right:
        show_reasons(model, row, told, palette)
        if told.refused:
            show_change(model, row, asked)


def offer(asked: list[Field], made_up: Mapping[str, np.ndarray]) -> None:
    """Made-up applicants to begin with."""

    def fill(row: np.ndarray) -> None:
        for field in asked:
            st.session_state[key(field)] = field.nearest(float(row[field.place]))

    if any(st.session_state.get(key(field)) not in field.options for field in asked):
        fill(next(iter(made_up.values())))
    buttons = st.container(horizontal=True, vertical_alignment="center", gap="small")
    buttons.markdown("A made-up applicant:", width="content")
    for label, row in made_up.items():
        buttons.button(label, key=f"credit example {label}", on_click=fill, args=(row,))


def ask(model: CreditModel, asked: list[Field]) -> np.ndarray:
    """The applicant (F,) as the form has it."""
    told = {}
    for start in range(0, len(asked), 2):
        for column, field in zip(st.columns(2, gap="medium"), asked[start : start + 2], strict=False):
            widget: Any = column.select_slider if field.slides else column.selectbox
            shown = widget(literal(field.name), list(field.options), key=key(field), persist_state="session")
            told[field.feature.name] = field.options[shown]
    st.caption(
        "A slider goes by the training's applicants: a step is about one percent of them. “missing” is an answer."
    )
    return filled(model, asked, told)


def show_verdict(model: CreditModel, told: Answer, palette: Palette) -> None:
    words, scale = st.columns([1.2, 1], vertical_alignment="center", gap="medium")
    row = words.container(horizontal=True, gap="medium")
    row.metric("Decision", "refused" if told.refused else "accepted", width="content")
    row.metric("Probability of default", percent(told.pd), width="content")
    row.metric("Points", f"{told.points:.0f}", width="content")
    cut = float(model.points(np.array(model.cut_logit)))
    scale.altair_chart(
        charts.on_scale(told.points, cut, WORDS, palette),
        key="credit_scale",
        alt=f"{told.points:.0f} points; refused below {cut:.0f}",
    )


def show_reasons(model: CreditModel, row: np.ndarray, told: Answer, palette: Palette) -> None:
    st.subheader("Why")
    if told.refused:
        lines = "\n".join(f"{n}. {literal(reason)}" for n, reason in enumerate(told.reasons, start=1))
        st.markdown(f"The principal reasons for the refusal:\n\n{lines}")
    else:
        st.markdown(f"Accepted, since the probability of default is below {percent(model.cut)}.")
    features = model.schema.features
    most = np.argsort(-np.abs(told.moved), kind="stable")[:MOVERS]
    names = [f"{features[i].words or features[i].name}: {features[i].show(row[i])}" for i in most]
    st.altair_chart(
        charts.signed_bars(names, told.moved[most].tolist(), palette, "+.0f"),
        key="credit_reasons",
        alt="; ".join(f"{each} {told.moved[i]:+.0f} points" for each, i in zip(names, most, strict=True)),
    )
    kind = "exact terms" if model.additive else "integrated gradients"
    st.caption(
        f"Points that each value adds or takes, against applicants who are just accepted ({kind}); the {len(most)} that"
        " move most. It says what moves the score, not what causes a default."
    )


def show_change(model: CreditModel, row: np.ndarray, asked: list[Field]) -> None:
    """The smallest change that turns a refusal, and a button that makes it."""
    st.subheader("What would turn it")
    change = smallest_change(model, row)
    if change is None:
        st.markdown("No change of at most three values that an applicant can influence would.")
        return
    lines = "\n".join(f"- {literal(each)}" for each in in_words(model, row, change))
    st.markdown(f"The smallest change, as the model itself tells:\n\n{lines}")
    st.caption(
        f"Then the probability of default is {percent(change.pd)}, and the applicant is accepted. Together the values"
        f" move by {change.cost:.0f} percentiles of the training's applicants."
    )

    def make() -> None:
        for field in asked:
            if field.place in change.values:
                st.session_state[key(field)] = field.nearest(change.values[field.place])

    st.button("Make this change", icon=":material/published_with_changes:", key="credit_change", on_click=make)


# --- a portfolio ----------------------------------------------------------------------------------------------------


def many(model: CreditModel, name: str, palette: Palette) -> None:
    st.markdown(
        "A CSV file of applicants in: scores, and, where their outcomes are known, how good they are. It is kept for"
        " this visit only."
    )
    portfolio = given(model, name)
    if portfolio is not None:
        tell(model, portfolio)
        look(model, portfolio, palette)


def given(model: CreditModel, name: str) -> Portfolio | None:
    """The portfolio that was uploaded, or made up. Raises InputError for a file that cannot be used."""
    left, right = st.columns(2, gap="large")
    file = left.file_uploader(
        f"A CSV file with names of columns, up to {MOST_ROWS:,} rows",
        type=["csv"],
        max_upload_size=MOST_MIB,
        key="credit_file",
    )
    right.markdown("No file at hand?", width="content")
    made_up = right.toggle("Score 2,000 made-up applicants", key="credit_made_up", persist_state="session")
    right.download_button(
        "The same as a file, to see what one looks like",
        lambda: csv_of(*made_up_table(model)),
        "applicants.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
    if file is None and not made_up:
        st.session_state.pop("credit_portfolio", None)
        return None
    asked = (file.file_id if file else "made up", name)
    kept = st.session_state.get("credit_portfolio")
    if kept is None or kept[0] != asked:
        with st.spinner("Scoring …"):
            if file:
                opened = open_portfolio(model, file.name, *parse_csv(file.getvalue(), file.name, most=MOST_ROWS))
            else:
                opened = open_portfolio(model, "the made-up file", *made_up_table(model))
        kept = st.session_state["credit_portfolio"] = (asked, opened)
    if file is None:
        st.caption(
            "Made-up applicants, a little riskier than those of the training; their outcomes are drawn at the model's"
            " own probabilities, so this shows the views, and not how good the model is."
        )
    portfolio: Portfolio = kept[1]
    return portfolio


def tell(model: CreditModel, portfolio: Portfolio) -> None:
    """What was read, and what was not."""
    if portfolio.faults:
        some = "; ".join(portfolio.faults[:3])
        st.warning(literal(f"{len(portfolio.faults):,} rows could not be scored, such as: {some}."))
    if extra := extra_columns(model, portfolio.names):
        st.caption(literal(f"Columns that the model does not know are not looked at: {', '.join(extra[:10])}."))
    if portfolio.t is None:
        st.caption(
            literal(
                f"Outcomes are not known: they would be in the column {model.schema.target}, for each row,"
                f" {model.schema.positive} for a default, and both kinds."
            )
        )


@st.fragment
def look(model: CreditModel, portfolio: Portfolio, palette: Palette) -> None:
    """The views of a portfolio, at a cut-off that may be moved."""
    ratio, cut = sliders(model)
    pd, t = portfolio.pd, portfolio.t
    row = st.container(horizontal=True, gap="large", key="credit_figures")
    row.metric("Applicants", f"{len(pd):,}", width="content")
    row.metric("Accepted", f"{100 * (pd < cut).mean():.1f} %", width="content")
    row.metric("Mean probability of default", f"{100 * pd.mean():.1f} %", width="content")
    if t is not None:
        row.metric("Defaulted", f"{100 * t.mean():.1f} %", width="content")
    view = st.segmented_control(
        "View of the portfolio",
        [SCORES, TRADE, *([QUALITY] if t is not None else []), STABILITY, FAIRNESS, TABLE],
        default=SCORES,
        required=True,
        key="credit_portfolio_view",
        label_visibility="collapsed",
    )
    if view == SCORES:
        show_scores(model, portfolio, cut, palette)
    elif view == TRADE:
        show_trade_off(model, portfolio, ratio, cut, palette)
    elif view == QUALITY:
        show_quality(portfolio, palette)
    elif view == STABILITY:
        show_stability(model, portfolio, palette)
    elif view == FAIRNESS:
        show_fairness(model, portfolio, cut, palette)
    else:
        show_table(model, portfolio, cut)


def sliders(model: CreditModel) -> tuple[float, float]:
    """(how many times a refused good applicant an accepted bad one costs, probability of default to refuse from)"""

    def follow() -> None:
        st.session_state["credit_cut"] = round(100 * cut_off((1.0, st.session_state["credit_ratio"])), 1)

    own = model.cost[1] / model.cost[0]
    left, right = st.columns(2, gap="large")
    ratio = left.slider(
        "An accepted bad applicant costs, times a refused good one",
        1.0,
        float(max(DEAREST, own)),
        own,
        0.5,
        format="%g",
        key="credit_ratio",
        on_change=follow,
        help="The cut-off follows: refusing is cheaper from 1 / (1 + this) on.",
    )
    exact = cut_off((1.0, ratio))
    cut = right.slider(
        "Refused from a probability of default of, in %",
        0.5,
        99.5,
        round(100 * exact, 1),
        0.1,
        format="%.1f",
        key="credit_cut",
    )
    return ratio, exact if cut == round(100 * exact, 1) else cut / 100


def show_scores(model: CreditModel, portfolio: Portfolio, cut: float, palette: Palette) -> None:
    points = model.points(portfolio.logits)
    at = float(model.points(np.log(np.array(cut / (1 - cut)))))
    st.altair_chart(
        charts.score_histogram(points, portfolio.t, at, palette),
        key="credit_histogram",
        alt=f"Distribution of points, from {points.min():.0f} to {points.max():.0f}; refused below {at:.0f}",
    )
    p = model.points
    st.caption(
        f"Applicants by points: {p.base:g} are odds of {p.odds:g} good to one bad, and every {p.pdo:g} more double"
        f" them. Left of the dashed line, {at:.0f} points, they are refused."
    )


def show_trade_off(model: CreditModel, portfolio: Portfolio, ratio: float, cut: float, palette: Palette) -> None:
    cuts = np.unique(np.append(np.linspace(0.01, 0.99, 99), cut))
    lines = trade_off(portfolio.pd, portfolio.t, (1.0, ratio), cuts)
    here, best = lines[int(np.searchsorted(cuts, cut))], min(lines, key=lambda line: line.cost)
    said = f"At {percent(cut)}, an applicant costs {here.cost:.3f} on average; {percent(here.accepted)} are accepted"
    drawn = charts.trade_off([(each.cut, each.cost, each.accepted, each.bad) for each in lines], cut, palette)
    for column, name, chart in zip(st.columns(2, gap="large"), ("cost", "shares"), drawn, strict=True):
        column.altair_chart(chart, key=f"credit_{name}", alt=said)
    known = (
        "by their outcomes" if portfolio.t is not None else "by their own probabilities, since no outcomes are known"
    )
    st.markdown(
        f"At {percent(cut)}: mean cost **{here.cost:.3f}** of an applicant, {percent(here.accepted)} accepted,"
        f" {percent(here.bad)} of these bad. The cheapest cut-off here is {percent(best.cut)}, at {best.cost:.3f}."
    )
    st.caption(f"A refused good applicant costs 1, an accepted bad one {ratio:g}; counted {known}.")


def show_quality(portfolio: Portfolio, palette: Palette) -> None:
    t, logits = portfolio.t, portfolio.logits
    assert t is not None  # the view is offered only then
    metrics, (low, high) = score(logits, t), auc_interval(t, logits)
    left, right = st.columns(2, gap="large")
    good, bad = roc_curve(t, logits)
    left.markdown(f"**ROC** · area {metrics['roc_auc']:.3f}")
    titles = ("share of the good refused", "share of the bad refused")
    left.altair_chart(
        charts.against_diagonal(good.tolist(), bad.tolist(), titles, palette, dots=False),
        key="credit_roc",
        alt=f"ROC curve, area {metrics['roc_auc']:.3f}",
    )
    tenths = deciles(portfolio.pd, t)
    right.markdown("**Reliability** · a dot a tenth of the applicants")
    titles = ("mean probability of default", "share that defaulted")
    right.altair_chart(
        charts.against_diagonal([d.expected for d in tenths], [d.rate for d in tenths], titles, palette, dots=True),
        key="credit_reliability",
        alt="; ".join(f"expected {percent(d.expected)}, defaulted {percent(d.rate)}" for d in tenths),
    )
    st.caption(
        f"Area {metrics['roc_auc']:.4f} (95 % interval {low:.4f} to {high:.4f}, by DeLong), Gini {metrics['gini']:.4f},"
        f" KS {metrics['ks']:.4f}, Brier score {metrics['brier']:.4f}, log-loss {metrics['log_loss']:.4f}. Left: above"
        " the diagonal, the bad are refused before the good. Right: on it, probabilities mean what they say."
    )


def show_stability(model: CreditModel, portfolio: Portfolio, palette: Palette) -> None:
    training = training_of(model)
    if training is None:
        st.info("This model was saved without the counts of its training rows, so there is nothing to compare with.")
        return
    rows = shifts(model, training, portfolio.numbers, portfolio.logits)
    st.altair_chart(
        charts.shift_bars(rows, (STABLE, SHIFTED), palette),
        key="credit_psi",
        alt="; ".join(f"{name} {psi:.3f}" for name, psi in rows),
    )
    st.caption(
        f"Population stability index of these applicants against the {training.scores.sum():,} of the training: below"
        f" {STABLE:g} stable, from {SHIFTED:g} on shifted. Missing values and codes are bins of their own."
    )


def show_fairness(model: CreditModel, portfolio: Portfolio, cut: float, palette: Palette) -> None:
    held = [name for name in model.schema.protected if name in portfolio.names]
    if not held:
        names = ", ".join(model.schema.protected) or "none was named when it was trained"
        st.info(literal(f"The file has no column of those that are kept for the audit ({names})."))
        return
    known = portfolio.t is not None
    for attribute in held:
        t = portfolio.t if portfolio.t is not None else np.zeros(len(portfolio.pd), np.int64)
        found = audit(portfolio.table, attribute, portfolio.pd, t, cut)
        st.markdown(f"**{literal(attribute)}**")
        if not found.groups:
            st.caption(f"No group of {LEAST} applicants or more.")
            continue
        st.altair_chart(
            charts.groups([(g.name, g.selection, g.count) for g in found.groups], palette),
            key=f"credit_groups {attribute}",
            alt="; ".join(f"{g.name}: {percent(g.selection)} of {g.count} accepted" for g in found.groups),
        )
        odds = f" Equalised odds: the groups differ by at most {found.odds:.3f}." if known else ""
        st.caption(
            f"Lowest share accepted over the highest: {found.parity:.3f}.{odds} The score alone tells the groups apart"
            f" with an area of at most {found.proxy:.3f}; .5 is not at all."
        )
    st.caption(
        f"These columns never enter the model. Dashed: {100 * FOUR_FIFTHS:.0f} % of the highest share; a bar that ends"
        " before it is a statistic to look into, not a verdict of law."
    )


def show_table(model: CreditModel, portfolio: Portfolio, cut: float) -> None:
    n = min(MOST_ROWS_SHOWN, len(portfolio.pd))
    shown = pd.DataFrame(
        {
            "probability of default": portfolio.pd[:n],
            "points": model.points(portfolio.logits[:n]).round(),
            "decision": np.where(portfolio.pd[:n] >= cut, "refuse", "accept"),
        }
    )
    for name in portfolio.names:
        shown[name] = list(portfolio.table.columns[name])[:n]
    bar = st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)
    st.dataframe(shown, hide_index=True, column_config={"probability of default": bar}, key="credit_table")
    if n < len(portfolio.pd):
        st.caption(f"The first {n:,} rows; the file has all of them, with up to four reasons for each refusal.")
    st.download_button(
        "Download the scored file",
        lambda: scored_csv(model, portfolio, cut),
        "scored.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


# --- the scorecard --------------------------------------------------------------------------------------------------


@st.fragment
def scorecard(model: CreditModel, name: str, palette: Palette) -> None:
    """The points of every bin of every feature, and of the applicant in the form."""
    if model.additive:
        additive = model
    else:
        sums = {each: credit_model(each) for each in shipped_credit()}
        sums = {
            each: one for each, one in sums.items() if one.additive and one.schema.features == model.schema.features
        }
        if not sums:
            st.info("This model is no sum of one term a feature, so it has no scorecard, and no other model here has.")
            return
        chosen = CURVES if CURVES in sums else next(iter(sums))
        additive = sums[chosen]
        st.caption(
            f"Of {called(name)} there is no scorecard, since it is no sum of one term a feature; this is that of the"
            f" model {chosen}."
        )
    asked, features = fields(additive), additive.schema.features
    start = next(iter(made_up_applicants(name).values()))
    told = {f.feature.name: f.options.get(st.session_state.get(key(f), ""), float(start[f.place])) for f in asked}
    row = filled(additive, asked, told)
    lines = spans(additive, training_of(additive))
    given = feature_points(additive, row[None])[0]
    words = [f.words or f.name for f in features]
    st.markdown(
        f"The points of all {len(features)} features add up to the score: for the applicant of the form,"
        f" **{given.sum():.0f}**, and {additive.points(np.array(additive.cut_logit)):.0f} are needed."
    )
    i = words.index(st.selectbox("Feature", words, key="credit_feature"))
    own = bins(additive, i)[0][int(bins(additive, i)[1](row[i : i + 1])[0])]
    st.altair_chart(
        charts.scorecard_bins([(s.bin, s.lowest, s.highest, s.mean) for s in lines if s.feature == i], own, palette),
        key="credit_bins",
        alt="; ".join(f"{s.bin}: {s.mean:.1f} points" for s in lines if s.feature == i),
    )
    st.caption("Points by value: the mean of a bin, and a line from its lowest to its highest. More is safer.")
    table = pd.DataFrame(
        {
            "feature": [words[s.feature] for s in lines],
            "value": [s.bin for s in lines],
            "share of the training": [s.share for s in lines],
            "points from": [s.lowest for s in lines],
            "points to": [s.highest for s in lines],
        }
    )
    number = st.column_config.NumberColumn(format="%.1f")
    share = st.column_config.NumberColumn(format="percent")
    st.dataframe(
        table,
        hide_index=True,
        key="credit_card",
        column_config={"share of the training": share, "points from": number, "points to": number},
    )


page()

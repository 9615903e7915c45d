"""Applicants made up by a rule: the sample that comes with the project, whose true probability of default is known.

Latent wealth and care make the columns depend on each other. The log-odds of a default are

    z = a + 1.1 · sign-changing interactions + curves,  all in the columns as an observer sees them:

    • use of the limit and late payments strengthen each other
    • a large loan is risky for a small income, and a small loan for a large one (each alone says little)
    • months in the job matter much at first, then hardly; the very new and the very old credit file are risky
    • the purpose turns the effect of the term around
    • a missing income, or a late-payment record of −9 (no record), has an effect of its own in place of the value

Because a missing value itself, and not the value behind it, drives the risk, the probability below is exactly the best
that anyone can know from the table: its AUC is the Bayes optimum. Sex and region correlate with wealth and do not
enter the rule.
"""

from __future__ import annotations

import numpy as np

from apps.credit.table import Column
from core.metrics import sigmoid

ROWS = 40_000
KEY = 20_260
PURPOSES = ("car", "education", "furniture", "home", "medical")
HOUSING = ("free", "own", "rent")


def simulate(rows: int = ROWS, *, rng: np.random.Generator) -> tuple[dict[str, Column], np.ndarray]:
    """(columns, the target `default` among them; true probability of default (N,)) of so many applicants"""
    wealth, care, age_drive = rng.standard_normal((3, rows))
    income = np.exp(7.9 + 0.45 * wealth + 0.25 * rng.standard_normal(rows)).round(-1)
    loan = np.exp(8.9 + 0.25 * wealth + 0.6 * rng.standard_normal(rows)).round(-2)
    term = rng.choice([12, 24, 36, 48, 60], rows, p=[0.15, 0.25, 0.3, 0.15, 0.15]).astype(np.float64)
    utilisation = (100 * sigmoid(-0.3 - 0.8 * care + 0.9 * rng.standard_normal(rows))).round(1)
    late = rng.poisson(np.exp(-0.4 - 0.7 * care)).clip(0, 8).astype(np.float64)
    job_months = np.exp(3.4 + 0.4 * age_drive + 0.8 * rng.standard_normal(rows)).round().clip(0, 480)
    file_years = (8 + 4 * age_drive + 3 * rng.standard_normal(rows)).clip(0, 30).round(1)
    inquiries = rng.poisson(np.exp(0.1 - 0.3 * care)).clip(0, 10).astype(np.float64)
    purpose = rng.integers(0, len(PURPOSES), rows)
    housing = np.where(rng.random(rows) < sigmoid(wealth - 0.3), 1, np.where(rng.random(rows) < 0.25, 0, 2))
    no_income, no_record = rng.random(rows) < sigmoid(-2.2 - 0.5 * wealth), rng.random(rows) < 0.07

    size = (np.log(loan) - 8.9) / 0.65
    means = np.where(no_income, 0.0, (np.log(income) - 7.9) / 0.51)
    used = (utilisation - 45) / 25
    lateness = np.where(no_record, 0.0, np.log1p(late) - 0.6)
    turn = np.array([1.0, -1.0, 0.6, -0.6, 0.0])[purpose]
    z = (
        -2.05
        + 0.45 * used
        + 0.9 * lateness
        + 0.5 * used * lateness
        - 0.25 * means
        - 0.95 * np.tanh(size) * np.tanh(means) * 1.4
        + 0.9 * np.exp(-job_months / 12)
        + 0.35 * np.square((file_years - 8) / 5).clip(0, 4)
        + 0.8 * turn * (term - 34) / 16
        + 0.12 * inquiries
        + np.array([0.0, -0.25, 0.2])[housing]
        + 0.6 * no_income
        + 0.5 * no_record
    )
    p = sigmoid(z)
    t = rng.random(rows) < p
    sex = np.where(rng.random(rows) < sigmoid(0.5 * wealth), "male", "female")
    region = np.where(rng.random(rows) < sigmoid(0.9 * wealth), "north", "south")
    columns: dict[str, Column] = {
        "income": np.where(no_income, np.nan, income),
        "loan": loan,
        "term": term,
        "utilisation": utilisation,
        "late_payments": np.where(no_record, -9.0, late),
        "job_months": job_months,
        "file_years": file_years,
        "inquiries": inquiries,
        "purpose": [PURPOSES[k] for k in purpose],
        "housing": [HOUSING[k] for k in housing],
        "sex": sex.tolist(),
        "region": region.tolist(),
        "default": t.astype(np.float64),
    }
    return columns, p

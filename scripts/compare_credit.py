"""Credit models against gradient boosting: python scripts/compare_credit.py --help

Nested, repeated, stratified cross-validation. In every outer fold each rival gets the same rows and columns (none of
the protected ones) and the same number of trials: its settings are drawn by a seed, compared on the same inner rows of
the outer training part, and the best is trained again on all of that part. Every result is a line in a file, so a
comparison that was stopped goes on where it was; the intervals of the differences are Nadeau and Bengio's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from apps.command_line import command
from apps.credit.data import DATASETS, Applicants, folds, load, stratified
from apps.credit.encoding import fit_encoder
from apps.credit.entries import MODELS
from apps.credit.measures import calibration_line, corrected_interval, cost_at, score
from apps.credit.model import cut_off
from apps.credit.schema import Schema
from apps.credit.training import Bag, choose
from apps.errors import InputError
from apps.progress import notice
from core.metrics import roc_auc, sigmoid
from core.parallel import blas_threads

Settings = dict[str, Any]
Scorer = Callable[[np.ndarray], np.ndarray]  # numbers (N, F) → logits (N,)
RIVALS = ("sklearn_boosting", "lightgbm", "xgboost", "logistic_sklearn")
METRICS = ("roc_auc", "log_loss", "brier", "mean_cost", "slope")


def draw(name: str, rng: np.random.Generator, first: bool) -> Settings:
    """The settings of one trial; those of the first are the defaults."""

    def pick(*values: Any) -> Any:
        return values[0] if first else values[int(rng.integers(len(values)))]

    if name == "sklearn_boosting":
        leaves, least = pick(15, 7, 31), pick(50, 20, 100)
        return {"learning_rate": pick(0.05, 0.02, 0.1), "max_iter": pick(150, 100, 300), "max_leaf_nodes": leaves} | {
            "min_samples_leaf": least,
            "l2_regularization": pick(1.0, 0.0, 10.0),
        }
    if name == "lightgbm":
        return {"learning_rate": pick(0.03, 0.02, 0.06), "n_estimators": pick(250, 150, 400)} | {
            "num_leaves": pick(15, 7, 31),
            "min_child_samples": pick(80, 20, 200),
            "colsample_bytree": pick(0.5, 0.3, 0.8),
            "subsample": pick(0.8, 0.6, 1.0),
        }
    if name == "xgboost":
        return {"learning_rate": pick(0.03, 0.02, 0.06), "n_estimators": pick(250, 150, 400)} | {
            "max_depth": pick(4, 3, 6),
            "min_child_weight": pick(10, 1, 50),
            "colsample_bytree": pick(0.5, 0.3, 0.8),
            "subsample": pick(0.8, 0.6, 1.0),
        }
    if name == "logistic_sklearn":
        return {"C": pick(1.0, 0.01, 0.1, 10.0)}
    if MODELS[name][0] in ("tabm", "mlp", "mlp_ple"):
        return {"dropout": pick(None, 0.05, 0.3), "lr": pick(None, 4e-3, 1.2e-2), "weight_decay": pick(None, 0.01, 0.1)}
    return {"lr": pick(None, 1e-2, 3e-2), "weight_decay": pick(None, 0.03, 0.3)}


def train(
    name: str,
    settings: Settings,
    schema: Schema,
    numbers: np.ndarray,
    t: np.ndarray,
    seed: int,
    cost: tuple[float, float],
) -> Scorer:
    """A trained rival, or one of the project's models."""
    if name in MODELS:
        changes = {key: value for key, value in settings.items() if value is not None}
        bag = Bag(schema, numbers, t, choose(name, changes, len(t)), seed=seed)
        for _ in bag.events(1):
            pass
        return bag.finish(cost)[0].logits
    if name == "logistic_sklearn":
        from sklearn.linear_model import LogisticRegression

        encoder = fit_encoder("robust", schema, numbers, t)
        fitted = LogisticRegression(max_iter=2000, **settings).fit(encoder(numbers), t)
        return lambda rows: np.asarray(fitted.decision_function(encoder(rows)))
    categories = [i for i, feature in enumerate(schema.features) if feature.kind == "categorical"]
    model = _boosting(name, settings, categories, numbers.shape[1], seed)
    model.fit(numbers, t, **({"categorical_feature": categories} if name == "lightgbm" else {}))
    return lambda rows: _logit(model.predict_proba(rows)[:, 1])


def _boosting(name: str, settings: Settings, categories: list[int], features: int, seed: int) -> Any:
    if name == "sklearn_boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(categorical_features=categories, random_state=seed, **settings)
    if name == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(subsample_freq=1, verbose=-1, random_state=seed, n_jobs=1, **settings)
    from xgboost import XGBClassifier

    kinds = ["c" if i in categories else "q" for i in range(features)]
    return XGBClassifier(random_state=seed, n_jobs=1, enable_categorical=True, feature_types=kinds, **settings)


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p))


def fold_result(
    name: str, data: Applicants, numbers: np.ndarray, outer: np.ndarray, trials: int, key: list[int]
) -> Settings:
    """One model in one outer fold: its trials on inner rows, then its metrics on the outer ones."""
    learn, t = np.flatnonzero(~outer), data.t
    rng = np.random.default_rng(key)
    inner_learn, inner_held = stratified(t[learn], 0.25, np.random.default_rng(key))
    best: tuple[float, Settings] = (-1.0, draw(name, rng, True))
    began = perf_counter()
    for trial in range(trials if trials > 1 else 0):
        settings = draw(name, rng, trial == 0)
        rows = learn[inner_learn]
        scorer = train(name, settings, data.schema, numbers[rows], t[rows], trial, data.cost)
        auc = roc_auc(t[learn[inner_held]], scorer(numbers[learn[inner_held]]))
        best = max(best, (auc, settings), key=lambda pair: pair[0])
    scorer = train(name, best[1], data.schema, numbers[learn], t[learn], key[-1], data.cost)
    logits = scorer(numbers[outer])
    metrics = score(logits, t[outer])
    metrics["mean_cost"] = cost_at(np.asarray(sigmoid(logits)), t[outer], data.cost, cut_off(data.cost))
    metrics["slope"] = calibration_line(logits, t[outer])[0]
    return {"metrics": metrics, "settings": best[1], "seconds": perf_counter() - began}


def compare(
    data: Applicants, names: Sequence[str], repeats: int, count: int, trials: int, seed: int, path: Path
) -> None:
    """Fill the file of results, of which lines that are there already are kept."""
    numbers = data.numbers()
    done = {(line["model"], line["repeat"], line["fold"]) for line in _read(path, data, trials, count, seed)}
    for repeat in range(repeats):
        fold = folds(data.t, count, np.random.default_rng([seed, repeat]))
        for k in range(count):
            for name in names:
                if (name, repeat, k) in done:
                    continue
                with blas_threads(1):
                    result = fold_result(name, data, numbers, fold == k, trials, [seed, repeat, k])
                head = {"data": data.fingerprint(), "trials": trials, "folds": count, "seed": seed}
                line = head | {"model": name, "repeat": repeat, "fold": k} | result
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                notice(f"repeat {repeat + 1}, fold {k + 1}, {name}: AUC {result['metrics']['roc_auc']:.4f}")


def _read(path: Path, data: Applicants, trials: int, count: int, seed: int) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    head = {"data": data.fingerprint(), "trials": trials, "folds": count, "seed": seed}
    if any(line[key] != value for line in lines for key, value in head.items()):
        raise InputError(f"{path} holds another comparison: give another --out.")
    return lines


def table(lines: Sequence[Mapping[str, Any]], names: Sequence[str], count: int) -> list[Settings]:
    """Means over all folds, and the first model's advantage over each other one with its interval."""
    rows = []
    values = {
        (name, metric): {
            (line["repeat"], line["fold"]): line["metrics"][metric] for line in lines if line["model"] == name
        }
        for name in names
        for metric in METRICS
    }
    for name in names:
        row: Settings = {"model": name, "folds": len(values[name, "roc_auc"])}
        for metric in METRICS:
            row[metric] = float(np.mean(list(values[name, metric].values()) or [np.nan]))
            both = sorted(values[names[0], metric].keys() & values[name, metric].keys())
            if name != names[0] and len(both) > 1:
                differences = np.array([values[names[0], metric][at] - values[name, metric][at] for at in both])
                row[f"{names[0]} minus, {metric}"] = corrected_interval(differences, 1 / count)
        rows.append(row)
    return rows


def main(arguments: argparse.Namespace) -> int:
    names = [name.strip() for name in arguments.models.split(",") if name.strip()]
    unknown = [name for name in names if name not in MODELS and name not in RIVALS]
    if unknown or not names:
        raise InputError(f"There is no model {unknown[:1]}: choose of {', '.join([*MODELS, *RIVALS])}.")
    data = load(arguments.data, arguments.dataset)
    compare(data, names, arguments.repeats, arguments.folds, arguments.trials, arguments.seed, arguments.out)
    rows = table(_read(arguments.out, data, arguments.trials, arguments.folds, arguments.seed), names, arguments.folds)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print(f"{row['model']:<18}" + "  ".join(f"{metric} {row[metric]:.4f}" for metric in METRICS))
        if interval := row.get(f"{names[0]} minus, roc_auc"):
            mean, low, high = interval
            print(f"    AUC of {names[0]} less that of {row['model']}: {mean:+.4f} ({low:+.4f} to {high:+.4f})")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--data", metavar="WHERE", help="as train_credit.py")
    parser.add_argument("--dataset", choices=DATASETS, default="taiwan")
    parser.add_argument("--models", default="blend,additive,additive_free," + ",".join(RIVALS), metavar="NAME,…")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--folds", type=int, default=5, metavar="N")
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="settings tried; 1: the defaults")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("compare_credit.jsonl"), metavar="FILE")
    parser.add_argument("--json", action="store_true")
    raise SystemExit(command(main, parser, None))

"""An edit's outcomes as one record: shares, and intervals that hold the pairs of one program together."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from karel_fast.probing.edits.exchange import Exchange, Outcome

DRAWS = 1000
CONFIDENCE = 0.95


def interval(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of values (n,): percentiles of a bootstrap that draws clusters, (n,) of equal numbers.

    Where every value is 0, or every one 1, each draw is as well; the interval is then the exact one of so many clusters
    (Clopper and Pearson), 0 to about 3.7 / clusters. Missing values (NaN) are left out; with none left, all three are NaN.
    """
    known = ~np.isnan(values)
    values, clusters = values[known].astype(float), clusters[known]
    if not len(values):
        return np.nan, np.nan, np.nan
    _, of_row = np.unique(clusters, return_inverse=True)
    count = int(of_row.max()) + 1
    mean, tail = float(values.mean()), (1 - CONFIDENCE) / 2
    if mean in (0.0, 1.0) and (values == mean).all():
        exact = stats.binomtest(count if mean else 0, count).proportion_ci(CONFIDENCE, "exact")
        return mean, float(exact.low), float(exact.high)
    sums, sizes = np.bincount(of_row, values, count), np.bincount(of_row, minlength=count)
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    low, high = np.quantile((weights @ sums) / (weights @ sizes), [tail, 1 - tail])
    return mean, float(low), float(high)


def record_of(exchange: Exchange, outcome: Outcome, **what: Any) -> dict[str, Any]:
    """The outcome's measures beside `what` was done.

    obeys, keeps, equal: shares of pairs, see `Outcome`. damage: share whose program satisfies neither specification. odds:
    mean change of the log-odds, nats; odds_share: that change as a share of the one that another prompt makes; both None
    where no pair's programs begin differently.
    """
    clusters = exchange.pairs.clusters
    found: dict[str, Any] = {**what, "pairs": len(exchange), "programs": len(np.unique(clusters))}
    neither = ~outcome.obeys & ~outcome.keeps
    plain, whole = exchange.odds(exchange.logits), exchange.odds(exchange.other_logits)
    for name, values in (
        ("obeys", outcome.obeys),
        ("keeps", outcome.keeps),
        ("damage", neither),
        ("equal", outcome.equal),
        ("odds", outcome.odds - plain),
    ):
        middle, low, high = interval(np.asarray(values, float), clusters)
        found |= {name: _number(middle), f"{name}_low": _number(low), f"{name}_high": _number(high)}
    change = np.nanmean(whole - plain) if np.isfinite(plain).any() else np.nan
    found["odds_share"] = _number(found["odds"] / change) if found["odds"] is not None and change else None
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)

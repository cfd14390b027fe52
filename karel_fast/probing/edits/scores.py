"""An edit's outcomes as one record: shares, and intervals that hold the pairs of one program together."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from karel_fast.probing.bootstrap import CONFIDENCE, TAILS, drawn_weights
from karel_fast.probing.edits.exchange import Exchange, Outcome
from karel_fast.probing.measures import finite


def interval(values: np.ndarray, clusters: np.ndarray, *, shares: bool) -> tuple[float, float, float]:
    """Mean and 95 % interval of values (n,): percentiles of a bootstrap that draws clusters, (n,) of equal numbers.

    shares: the values say of each whether something holds. Where it holds of all or of none, each draw is alike; the interval
    is then the exact one of so many clusters (Clopper and Pearson), 0 to about 3.7 / clusters. Otherwise fewer than
    `bootstrap.FEWEST_PROGRAMS` clusters have no interval (NaN). Missing values (NaN) are left out; with none left, all three
    are NaN.
    """
    known = ~np.isnan(values)
    values, clusters = values[known].astype(float), clusters[known]
    if not len(values):
        return np.nan, np.nan, np.nan
    _, of_row = np.unique(clusters, return_inverse=True)
    count = int(of_row.max()) + 1
    mean = float(values.mean())
    if shares and mean in (0.0, 1.0):
        exact = stats.binomtest(count if mean else 0, count).proportion_ci(CONFIDENCE, "exact")
        return mean, float(exact.low), float(exact.high)
    sums, sizes = np.bincount(of_row, values, count), np.bincount(of_row, minlength=count)
    weights = drawn_weights(count)
    if weights is None:
        return mean, np.nan, np.nan
    low, high = np.quantile((weights @ sums) / (weights @ sizes), TAILS)
    return mean, float(low), float(high)


def record_of(exchange: Exchange, outcome: Outcome, **what: Any) -> dict[str, Any]:
    """The outcome's measures beside `what` was done.

    obeys, keeps, equal: shares of pairs, see `Outcome`. damage: share whose program satisfies neither specification. odds:
    mean change of the log-odds, nats; odds_share: that change as a share of the one that another prompt makes; both None
    where no pair's programs begin differently. Each but odds_share has the ends of its interval beside it, NAME_low and
    NAME_high, None where there is none: see `interval`.
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
        numbers = interval(np.asarray(values, float), clusters, shares=name != "odds")
        names = (name, f"{name}_low", f"{name}_high")
        found |= {key: finite(round(number, 6)) for key, number in zip(names, numbers, strict=True)}
    change = np.nanmean(whole - plain) if np.isfinite(plain).any() else np.nan
    found["odds_share"] = finite(round(found["odds"] / change, 6)) if found["odds"] is not None and change else None
    return found

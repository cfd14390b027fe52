"""What stands beside a regression of ability on what probes read: what else would have given such an R2.

Two series that both rise with training have a high R2 whatever they are. So beside it stand the R2 of the step number alone,
of the majority class alone (base rates change with the programs that are written), of the changes from snapshot to
snapshot, and what snapshots in random order give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from karel_fast.analysis.phases import regress
from karel_fast.analysis.series import Run, mean, training_points

DRAWS = 2000


@dataclass(frozen=True)
class Beside:
    """R2 of ability on other things over the same snapshots; None where a line is not defined.

    permuted: 95 % of orders drawn at random give a smaller R2; permuted_p: the share of orders with one as large.
    """

    step: float | None
    majority: float | None
    changes: float | None
    permuted: float | None
    permuted_p: float | None


def beside_regression(
    run: Run, depth: str, feature: str | None = None, offset: int = 0, measure: str = "accuracy"
) -> Beside:
    """The alternatives to the regression of accuracy on that measure at lag 0, over the snapshots of training."""
    content, ability = training_points(run, depth, feature, offset, measure)
    steps = [step for step in run.steps if step > 0]
    where = {"depth": depth, "offset": offset} | ({} if feature is None else {"feature": feature})
    majority = [mean(run.values(step, "majority", **where)) if step in run.probing else None for step in steps]
    known = [
        (s, m, c, a)
        for s, m, c, a in zip(steps, majority, content, ability, strict=True)
        if c is not None and a is not None
    ]
    if len(known) < 3:
        return Beside(None, None, None, None, None)
    step, base, x, y = zip(*known, strict=True)
    permuted = p = None
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        # A correlation is the product of standardised values, so all orders are one matrix product.
        first, second = (stats.zscore(np.array(values, float)) for values in (x, y))
        orders = np.random.default_rng(0).permuted(np.tile(first, (DRAWS, 1)), axis=1)
        permuted_r2 = (orders @ second / len(second)) ** 2
        own = float(first @ second / len(second)) ** 2
        permuted, p = (
            float(np.quantile(permuted_r2, 0.95)),
            float((1 + (permuted_r2 >= own - 1e-12).sum()) / (1 + DRAWS)),
        )
    return Beside(
        step=regress([float(s) for s in step], y).r2,
        majority=regress(base, y).r2,
        changes=regress(np.diff(x).tolist(), np.diff(y).tolist()).r2,
        permuted=permuted,
        permuted_p=p,
    )

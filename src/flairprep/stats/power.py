"""Effects that a number of cases can detect, and cases that an effect needs."""

import math

import numpy as np
import scipy  # its submodules load on first use

from flairprep.stats.intervals import hanley_mcneil_variance


def detectable_accuracy(n: int, rate: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true accuracy that the exact one-sided test against `rate` detects with `power`, or NaN.

    The test rejects from the smallest k with P(X >= k | rate) <= alpha; the accuracy p solves P(X >= k | p) = power.
    """
    # scipy.special: importing scipy.stats would take longer than all else that balance does
    rejects = scipy.special.bdtrc(np.arange(-1, n), n, rate) <= alpha  # P(X >= k) for k = 0 to n
    if not rejects.any():
        return float("nan")
    critical = int(rejects.argmax())
    return float(scipy.optimize.brentq(lambda p: scipy.special.bdtrc(critical - 1, n, p) - power, rate, 1))


def detectable_auc(n1: int, n0: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true AUC that a one-sided test against 0.5 detects with `power`; NaN if none below 1.

    Solves A - 0.5 = z_alpha * sd(0.5) + z_power * sd(A) with Hanley and McNeil's variance (Obuchowski 1997).
    """

    def excess(area: float) -> float:
        critical = scipy.special.ndtri(1 - alpha) * np.sqrt(hanley_mcneil_variance(0.5, n1, n0))
        return area - 0.5 - critical - scipy.special.ndtri(power) * np.sqrt(hanley_mcneil_variance(area, n1, n0))

    return float(scipy.optimize.brentq(excess, 0.5, 1)) if n1 and n0 and excess(1.0) > 0 else float("nan")


def detectable_difference(n: int, discordant: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true difference of two accuracies on the same n cases that exact McNemar detects.

    M ~ Binomial(n, discordant) cases are right under one setting only. X ~ Binomial(M, (1 + difference / discordant) /
    2) of them are right under the better one. The test rejects where 2 * P(Binomial(M, 1/2) <= min(X, M - X)) <= alpha.

    Args:
        n: number of cases.
        discordant: share of the cases that exactly one setting gets right, above 0; no difference exceeds it.
        alpha, power: level and power of the test.

    Returns:
        The difference; NaN where even a difference of `discordant` has less power.
    """
    m = np.arange(n + 1)
    critical = scipy.stats.binom.ppf(alpha / 2, m, 0.5)  # the largest count whose tail is at most alpha / 2, else -1
    critical = np.where(scipy.stats.binom.cdf(critical, m, 0.5) > alpha / 2, critical - 1, critical)

    def excess(difference: float) -> float:
        share = (1 + difference / discordant) / 2
        rejected = scipy.stats.binom.cdf(critical, m, share) + scipy.stats.binom.sf(m - critical - 1, m, share)
        return float(scipy.stats.binom.pmf(m, n, discordant) @ rejected) - power

    return float(scipy.optimize.brentq(excess, 0, discordant)) if excess(discordant) > 0 else float("nan")


def cases_needed(difference: float, discordant: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return the approximate number of cases that McNemar's test needs to detect a difference (Connor 1987).

    ((z_{alpha / 2} * sqrt(d) + z_power * sqrt(d - D^2)) / D)^2, with the difference D and the discordant share d.

    Args:
        difference: of two accuracies on the same cases.
        discordant: share of the cases that exactly one setting gets right.
        alpha, power: two-sided level, and power.

    Returns:
        The number; None for a difference of 0.
    """
    if not difference:
        return None
    z_alpha, z_power = scipy.stats.norm.isf(alpha / 2), scipy.stats.norm.ppf(power)
    numerator = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - difference**2)
    return math.ceil((numerator / difference) ** 2)

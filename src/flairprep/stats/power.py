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


def detectable_difference(error: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true difference that a two-sided test with this standard error detects with `power`."""
    return float(scipy.special.ndtri(1 - alpha / 2) + scipy.special.ndtri(power)) * error


def cases_needed(n: int, error: float, difference: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return about how many cases make `difference` detectable, from n cases with this standard error.

    The error falls with the square root of the number of cases. None where it or the difference is 0.
    """
    if not difference or not error:
        return None
    return math.ceil(n * (detectable_difference(error, alpha, power) / difference) ** 2)


def cases_for_equivalence(n: int, error: float, margin: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return about how many cases show two equal settings to be equal within `margin` by two one-sided tests.

    n ((z(1 - alpha) + z((1 + power) / 2)) error / margin)^2: with a true difference of 0, both tests must reject
    (Chow, Shao and Wang 2008).
    """
    quantiles = scipy.special.ndtri(1 - alpha) + scipy.special.ndtri((1 + power) / 2)
    return math.ceil(n * (float(quantiles) * error / margin) ** 2)

# SPDX-License-Identifier: BSD-3-Clause
"""Medians, spread, and what may be compared."""

import statistics

SPREAD_MAX = 0.15


def quartile(values, share):
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


class Sample:
    """The values of one measurement over the rounds."""

    def __init__(self, values):
        self.values = [v for v in values if v is not None]

    def __bool__(self):
        return bool(self.values)

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def spread(self):
        """Interquartile range as a share of the median."""
        if len(self.values) < 2 or self.median == 0:
            return 0.0
        return (quartile(self.values, 0.75) - quartile(self.values, 0.25)) / abs(self.median)

    @property
    def steady(self):
        return self.spread <= SPREAD_MAX


def ratio(above, below):
    """Of two samples that were not taken together: (value, None), or (None, why it is refused)."""
    if not above or not below:
        return None, "not measured"
    for sample in (above, below):
        if not sample.steady:
            return None, f"refused: spread {sample.spread:.0%} of the median"
    if below.median == 0:
        return None, "refused: nothing to divide by"
    return above.median / below.median, None


def paired(above, below):
    """
    Of two daemons that took turns, each a value by round: the sample of the rounds' ratios, or why there is none. What
    changes the whole machine from round to round cancels out.
    """
    rounds = [n for n in above if n in below and above[n] is not None and below[n]]
    if not rounds:
        return None, "not measured"
    sample = Sample([above[n] / below[n] for n in rounds])
    if not sample.steady:
        return sample, f"refused: {sample.median:.3g} with a spread of {sample.spread:.0%}"
    return sample, None

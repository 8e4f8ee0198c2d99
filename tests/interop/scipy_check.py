"""launch/statistics against SciPy.

    scipy_check.py NUMBERS.json

NUMBERS as tests/launch/statistics/scipy_test.cpp writes them: what went in and what came out. Prints each number that differs; exit code 1
where one does.
"""
import json
import sys

import numpy as np
from scipy import optimize, stats

TOLERANCE = 1e-9  # of the larger of 1 and the number
wrong = compared = 0


def expect(what, ours, theirs, tolerance=TOLERANCE):
    global wrong, compared
    compared += 1
    if not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
        wrong += 1
        print(f"{what}: {ours!r}, SciPy {theirs!r}")


def check_samples(row):
    a, b = np.array(row["a"]), np.array(row["b"])
    d = b - a
    name = f"{len(d)} pairs: "
    test = stats.ttest_rel(b, a)
    interval = test.confidence_interval(0.95)
    flips = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    for key, theirs in (("mean", d.mean()), ("deviation", d.std(ddof=1)), ("low", interval.low), ("high", interval.high),
                        ("p_t", test.pvalue), ("p_sign_flip", flips.pvalue), ("correlation", stats.pearsonr(a, b).statistic)):
        expect(name + key, row[key], theirs)
    if "bootstrap" not in row:
        return
    # SciPy's BCa of the values that were drawn here.
    drawn = stats.bootstrap((d,), np.mean, n_resamples=2, rng=1)
    drawn.bootstrap_distribution = np.array(row["bootstrap"])
    bca = stats.bootstrap((d,), lambda x, axis=-1: np.mean(x, axis=axis) ** 2, n_resamples=0, bootstrap_result=drawn, method="BCa",
                          confidence_level=0.9, vectorized=True).confidence_interval
    expect(name + "BCa low", row["bca_low"], bca.low)
    expect(name + "BCa high", row["bca_high"], bca.high)


def check_power_law(row):
    compute, loss = np.array(row["points"]).T

    def squares(floor):
        x, y = np.log(compute), np.log(loss - floor)
        return np.polyfit(x, y, 1, full=True)[1][0]

    best = optimize.minimize_scalar(squares, bounds=(0, loss.min() * (1 - 1e-9)), method="bounded", options={"xatol": 1e-12})
    slope, intercept = np.polyfit(np.log(compute), np.log(loss - best.x), 1)
    # A minimum is flat: its place is known to half the digits.
    expect("power law: floor", row["floor"], best.x, 1e-6)
    expect("power law: exponent", row["exponent"], -slope, 1e-6)
    expect("power law: factor", row["factor"], np.exp(intercept), 1e-5)


def main(path):
    numbers = json.load(open(path))
    functions = {
        "t_quantile": stats.t.ppf,
        "t_two_sided": lambda t, df: 2 * stats.t.sf(abs(t), df),
        "noncentral_t_cdf": stats.nct.cdf,
        "noncentral_t_above": stats.nct.sf,
    }
    for row in numbers["distributions"]:
        expect(f"{row['what']}{tuple(row['in'])}", row["out"], functions[row["what"]](*row["in"]))
    for row in numbers["samples"]:
        check_samples(row)
    check_power_law(numbers["power_law"])
    print(f"{compared} numbers, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

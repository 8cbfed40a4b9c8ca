"""What fit_tier1, fit_tier2 and fit_tier3 share: answers by id, a logistic regression, least
scores.  Needs numpy.
"""

import json

import numpy as np

ROUNDS = 50  # of Newton's method


def read_answers(path):
    """The answers that `strata facts ask` printed, those that are no errors, by id."""
    with open(path, encoding="utf-8") as lines:
        answers = [json.loads(line) for line in lines]
    return {answer["id"]: answer for answer in answers if "error" not in answer}


def regress(x, y, penalty, each=None):
    """Weights and bias by Newton's method, with a penalty on standardised weights; `each`: what
    rows count (all the same)."""
    each = np.full(len(y), 1 / len(y)) if each is None else each
    scale = np.where(x.std(0) > 1e-6, x.std(0), 1)  # what is the same everywhere says nothing
    z = np.hstack([x / scale, np.ones((len(x), 1))])
    w = np.zeros(z.shape[1])
    penalties = penalty * np.eye(len(w))
    penalties[-1, -1] = 1e-9  # what is told apart without a doubt has no curvature
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(-z @ w))
        gradient = z.T @ (each * (p - y)) + penalties @ w
        hessian = (z * (each * p * (1 - p))[:, None]).T @ z + penalties
        w -= np.linalg.solve(hessian, gradient)
    return w[:-1] / scale, w[-1]


def least_of(wrong, allowed):
    """The score below which all but `allowed` of the wrong answers are."""
    wrong = sorted(wrong, reverse=True)
    return wrong[allowed] if allowed < len(wrong) else 0.0


def least_text(score):
    """As a constant, rounded up: what has that very score is below it."""
    return f"{np.ceil(1e4 * score + 0.1) / 1e4:.4f}"

"""Verdicts: which way is better, what counts as the same, and what nobody could reach."""

import numpy as np
import pytest

from gncn.study.paper import EXCESS, Summary, judge, judge_as_printed, judge_completion, tolerance


def trials(mean, deviation=None, n=1):
    return Summary(mean, deviation, n)


@pytest.mark.parametrize(
    ("ours", "paper", "deviation", "low_is_good", "kind"),
    [
        (trials(50.0), 58.05, 0.11, True, "beaten"),
        (trials(58.5), 58.05, 0.11, True, "reproduced"),  # within 1 %
        (trials(57.6), 58.05, 0.11, True, "reproduced"),
        (trials(59.0), 58.05, 0.11, True, "not reached"),
        (trials(-110.0), -115.32, 0.12, False, "beaten"),
        (trials(-116.0), -115.32, 0.12, False, "reproduced"),
        (trials(-114.5), -115.32, 0.12, False, "reproduced"),
        (trials(-120.0), -115.32, 0.12, False, "not reached"),
        # 1 % of 1.32 is .013: what the trials' spread allows is wider
        (trials(1.50, 0.3, 4), 1.32, 0.23, True, "reproduced"),
        (trials(1.50, 0.03, 4), 1.32, 0.0, True, "not reached"),
        (trials(1.10, 0.3, 4), 1.32, 0.23, True, "reproduced"),
        (trials(1.10, 0.03, 4), 1.32, 0.0, True, "beaten"),
    ],
)
def test_better_worse_or_the_same(ours, paper, deviation, low_is_good, kind):
    assert judge(ours, paper, deviation, low_is_good=low_is_good).kind == kind


def test_the_tolerance_is_the_wider_of_one_percent_and_two_standard_errors():
    assert tolerance(trials(60.0), 58.0, None) == pytest.approx(0.58)
    wide = tolerance(trials(60.0, 3.0, 9), 58.0, 2.0)
    assert wide == pytest.approx(2 * np.sqrt(3.0**2 / 9 + 2.0**2 / 10))


@pytest.mark.parametrize(
    ("ours", "paper", "supervised", "kind"),
    [
        (21.8, 14.19, 19.03, "not attainable"),
        (21.8, 20.20, 19.03, "not reached"),
        (14.1, 14.19, 19.03, "reproduced"),  # reached although below the yardstick
        (12.0, 14.19, 19.03, "beaten"),
        (21.8, 14.19, None, "not reached"),  # nothing to tell by
    ],
)
def test_completion_below_the_supervised_yardstick_is_not_attainable(ours, paper, supervised, kind):
    verdict = judge_completion(trials(ours), paper, 0.11, supervised)
    assert verdict.kind == kind
    assert bool(verdict.reason) == (kind == "not attainable")


def test_a_printed_log_likelihood_holds_two_log_s_too_many():
    assert pytest.approx(2 * np.log(5000)) == EXCESS
    verdict = judge_as_printed(trials(-113.0), -98.29, 0.12)
    assert verdict.kind == "not attainable"
    assert "17.03" in verdict.reason
    assert judge_as_printed(trials(-98.5), -98.29, 0.12).kind == "reproduced"
    assert judge_as_printed(trials(-90.0), -98.29, 0.12).kind == "beaten"

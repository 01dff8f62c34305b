"""Simulated replicas answer everything once, whatever the rate at which they are lost, and are kept busy."""

from __future__ import annotations

import pytest

from benchmarks.simulated_cluster import Service, Simulation

QUESTIONS = 8000


@pytest.mark.parametrize("lifetime_seconds", [float("inf"), 600.0, 60.0])
def test_every_question_has_one_answer(lifetime_seconds: float) -> None:
    service = Service(0.05, 0.02, 6e-5, lifetime_seconds=lifetime_seconds, noticed_seconds=5.0, load_seconds=10.0)
    ended = Simulation(QUESTIONS, 8, service).run()
    assert (ended.answers, ended.errors) == (QUESTIONS, 0)
    assert (ended.lost > 0) == (lifetime_seconds < 100)


def test_replicas_are_kept_busy() -> None:
    ended = Simulation(QUESTIONS, 8, Service(0.05, 0.02, 6e-5)).run()
    assert QUESTIONS * 0.05 / 8 / ended.seconds > 0.97


def test_a_slow_driver_is_what_limits_a_fast_model() -> None:
    ended = Simulation(QUESTIONS, 64, Service(0.001, 0.0, 1e-3)).run()
    assert ended.seconds >= QUESTIONS * 1e-3

"""Step tokens say whose they are, and nobody else can make one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate_tracking.entities import Fence
from mlgate_tracking.errors import Unauthenticated
from mlgate_tracking.server.tokens import StepTokens, is_step_token

FENCE = Fence("0f" * 16, 3)
SECRET = b"a secret of the server's"


def test_a_token_brings_its_fence_back():
    tokens = StepTokens(SECRET, 60)
    assert tokens.verify(tokens.mint(FENCE)) == FENCE
    assert is_step_token(tokens.mint(FENCE))


def test_a_token_of_another_secret_is_refused():
    with pytest.raises(Unauthenticated, match="another secret"):
        StepTokens(SECRET, 60).verify(StepTokens(b"x" * 32, 60).mint(FENCE))


def test_a_token_ends_after_its_lifetime():
    now = 1000.0
    tokens = StepTokens(SECRET, 60, clock=lambda: now)
    token = tokens.mint(FENCE)
    now += 59
    assert tokens.verify(token) == FENCE
    now += 2
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.verify(token)


def test_a_higher_attempt_cannot_be_claimed():
    tokens = StepTokens(SECRET, 60)
    with pytest.raises(Unauthenticated):
        tokens.verify(tokens.mint(FENCE).replace(".3.", ".4."))


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="too short"):
        StepTokens(b"short", 60)


@given(st.text())
def test_any_other_text_is_refused(text):
    with pytest.raises(Unauthenticated):
        StepTokens(SECRET, 60).verify("mlgate-step." + text)

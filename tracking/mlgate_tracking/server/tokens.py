"""Step tokens: credentials that name the run and attempt they stand for, signed with the server's secret.

`mlgate-step.<run id>.<attempt>.<expiry>.<signature>`: nothing is stored, so any server that knows the secret can check
one, and the store's fence makes an old attempt's token worthless as soon as a newer attempt has opened the step.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from mlgate_tracking.entities import Fence
from mlgate_tracking.errors import Unauthenticated

PREFIX = "mlgate-step"


class StepTokens:
    """Mints and checks step tokens.

    Args:
        secret: signing key, at least 16 bytes.
        lifetime: seconds that a token is good for.
        clock: seconds since the epoch; tests replace it.
    """

    def __init__(self, secret: bytes, lifetime: float, clock: Callable[[], float] = time.time) -> None:
        if len(secret) < 16:
            raise ValueError(f"a token secret of {len(secret)} bytes is too short; use at least 16")
        self._secret = secret
        self._lifetime = lifetime
        self._clock = clock

    def mint(self, fence: Fence) -> str:
        body = f"{PREFIX}.{fence.run_id}.{fence.attempt}.{int(self._clock() + self._lifetime)}"
        return f"{body}.{self._signature(body)}"

    def verify(self, token: str) -> Fence:
        """The fence that a token stands for.

        Raises:
            Unauthenticated: not one of our tokens, a wrong signature, or expired.
        """
        body, _, signature = token.rpartition(".")
        # Bytes, because a header may hold characters that `compare_digest` refuses in text.
        if not hmac.compare_digest(self._signature(body).encode(), signature.encode("utf-8", "surrogateescape")):
            raise Unauthenticated("this step token is not one of this server's; was it minted with another secret?")
        _, run_id, attempt, expiry = body.split(".")
        if int(expiry) < self._clock():
            raise Unauthenticated(f"the token of run {run_id} has expired; start the step again")
        return Fence(run_id, int(attempt))

    def _signature(self, body: str) -> str:
        digest = hmac.digest(self._secret, body.encode("utf-8", "surrogateescape"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_step_token(credential: str) -> bool:
    return credential.startswith(PREFIX + ".")


__all__ = ["StepTokens", "is_step_token"]

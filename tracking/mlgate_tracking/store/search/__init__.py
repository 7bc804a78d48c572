"""Search: the filter and order-by grammars, their SQL, and pages that stay right while rows arrive."""

from __future__ import annotations

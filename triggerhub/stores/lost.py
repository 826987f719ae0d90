"""Say when a delivery that the hub keeps dying under is given up."""

from __future__ import annotations

LOST_LIMIT = 10
LOST_REASON = f"lost {LOST_LIMIT} times: the hub died whenever it ran"

"""What a host application says of itself, so that edge nodes know whether somebody listens.

Edge nodes that are told to wait for this host keep their values while it is away, and publish them as historical ones
afterwards. Source: Eclipse Sparkplug Specification 3.0.0, sections 4.7 and 5.13.
"""

from __future__ import annotations

import json
from typing import Final

__all__ = ["says_offline", "state_payload", "state_topic"]

_TOPIC: Final = "spBv1.0/STATE/{host_id}"


def state_topic(host_id: str) -> str:
    """Return where a host says whether it is there."""
    return _TOPIC.format(host_id=host_id)


def state_payload(time_ms: int, *, online: bool) -> bytes:
    """Return what a host says of itself; its will has the same time as the birth of the same connection."""
    return json.dumps({"online": online, "timestamp": time_ms}, separators=(",", ":")).encode()


def says_offline(data: bytes) -> bool:
    """Whether a state message says that its host is not there."""
    try:
        document = json.loads(data)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("online") is False

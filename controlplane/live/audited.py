"""Changes as live events: who did what to which object. What it was before and is now stays in the audit."""

from __future__ import annotations

import time
from typing import Final

from controlplane.live.heartbeat import HEARTBEAT
from permissions.writing import Write

# Entries of one write that are told one by one; a bundle may have thousands.
MOST: Final = 20
LONGEST: Final = 200


def tell(write: Write) -> None:
    """In the writer's thread, after its commit; in a process that tells of itself."""
    if not HEARTBEAT.is_running:
        return
    for entry in write.entries[:MOST]:
        data: dict[str, object] = {"object": f"{entry.object_type} {entry.object_id}"[:LONGEST]}
        _put(write, f"audit.{entry.action}", entry.object_id if entry.object_type == "subject" else "", data)
    more = len(write.entries) - MOST
    if more > 0:
        _put(write, "audit.more", "", {"number": more})


def _put(write: Write, name: str, subject: str, data: dict[str, object]) -> None:
    if write.reason:
        data["reason"] = write.reason[:LONGEST]
    if write.changed:
        data["revision"] = write.revision
    HEARTBEAT.outbox.put(
        {
            "at": time.time(),
            "name": name[:LONGEST],
            "severity": "info",
            "kind": "audit",
            "realm": write.realm.name,
            "actor": write.actor.name[:LONGEST],
            "subject": subject[:LONGEST],
            "permission": "",
            "decision": "",
            "request_id": write.request_id[:LONGEST],
            "data": data,
        }
    )

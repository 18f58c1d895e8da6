"""A worker in a process of its own, whose job stands still until a file is there: to be killed and frozen in the middle of it.

`worker.py FOLDER`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "permsite.settings"
django.setup()

from controlplane.jobs import kinds  # noqa: E402 - Django is set up first
from controlplane.jobs.context import Context  # noqa: E402
from controlplane.jobs.kinds import Kind  # noqa: E402
from controlplane.jobs.worker import serve_until_told  # noqa: E402

FOLDER = Path(sys.argv[1])


def stand(context: Context) -> dict[str, Any]:
    (FOLDER / f"inside-{os.getpid()}").touch()
    context.log(f"stands in {os.getpid()}")
    while not (FOLDER / "open").exists():
        context.check()
        time.sleep(0.01)
    return {"by": os.getpid()}


kinds.register(Kind("stands", "stands", "", stand, dict, lambda actor, given: None))
serve_until_told()

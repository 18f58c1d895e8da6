"""The site as a process of its own.

`prepare KEY` makes its database and writes an API key to a file; `serve FILE [PORT]` serves it and writes its port to FILE.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def prepare(key_file: Path) -> None:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from permissions.models import Realm
    from permissions.services.keys import key_create
    from permissions.writing import Actor
    from tests.permissions.admin import world

    world.build()
    actor = Actor("command", "command:browser", administrator=True)
    _, key = key_create(actor=actor, realm=Realm.objects.get(name="default"), name="load", is_admin=True, reason="load")
    key_file.write_text(key)


def serve(port_file: Path, port: int) -> None:
    from permsite import server

    bound = server.bind("127.0.0.1", port, or_next=False)
    port = bound.getsockname()[1]
    # As people name it; sockets are refused to pages of another origin.
    os.environ["PUBLIC_URL"] = f"http://localhost:{port}"
    from permsite import asgi  # it sets Django up, which the others need

    from controlplane.loop.leader import beside  # isort: skip
    from controlplane.loop.tasks import every_task  # isort: skip
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # isort: skip
    from django.core.asgi import get_asgi_application  # isort: skip

    # Files straight from the apps: nothing need be collected, and both themes find theirs.
    application: Any = asgi.application
    application._static = ASGIStaticFilesHandler(get_asgi_application())
    port_file.with_suffix(".new").write_text(str(port))
    port_file.with_suffix(".new").rename(port_file)
    with beside(every_task()):
        server.run(bound, application=application)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "permsite.settings"
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]))
    else:
        serve(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)

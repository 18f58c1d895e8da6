"""The site as a process of its own: `prepare` makes its database, `serve FILE` serves it and writes its port to FILE."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path


def prepare() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tests.permissions.admin import world

    world.build()


def serve(port_file: Path) -> None:
    import uvicorn
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.asgi import get_asgi_application

    # Files straight from the apps: nothing need be collected, and both themes find theirs.
    application = ASGIStaticFilesHandler(get_asgi_application())
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(128)  # whoever reads the port may call at once, and waits until the server is up
    config = uvicorn.Config(application, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    port_file.with_suffix(".new").write_text(str(bound.getsockname()[1]))
    port_file.with_suffix(".new").rename(port_file)
    uvicorn.Server(config).run(sockets=[bound])


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "permsite.settings"
    if sys.argv[1] == "prepare":
        prepare()
    else:
        serve(Path(sys.argv[2]))

"""Other people's libraries, installed for one run and measured beside ours. One that cannot be had is left out, and named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def install(folder: Path) -> list[str]:
    """Installs what can be had into `folder` and puts it on the path; names what could not be had."""
    missing = []
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name = line.partition("==")[0]
        if not any(folder.glob(f"{name.replace('-', '_')}-*.dist-info")):
            told = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), line],
                capture_output=True,
                check=False,
            )
            if told.returncode != 0:
                missing.append(line)
    sys.path.append(str(folder))
    return missing

"""A share of one core for the processes that join: a control group, where one may be made."""

import os
from pathlib import Path

SHARE = 0.15
PERIOD_US = 20_000


class Quota:
    """A control group with a share of one core, or nothing where none can be made."""

    def __init__(self) -> None:
        name = f"gatewayz-bench-{os.getpid()}"
        self.folder: Path | None = None
        for root, file, text in (
            (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", f"{PERIOD_US * SHARE:.0f}"),
            (Path("/sys/fs/cgroup"), "cpu.max", f"{PERIOD_US * SHARE:.0f} {PERIOD_US}"),
        ):
            folder = root / name
            try:
                folder.mkdir()
                if file == "cpu.cfs_quota_us":
                    (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (folder / file).write_text(text)
            except OSError:
                if folder.is_dir():
                    folder.rmdir()
                continue
            self.folder = folder
            return

    def join(self) -> None:
        """Called in the child before it becomes the gateway."""
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def close(self) -> None:
        if self.folder is not None:
            self.folder.rmdir()

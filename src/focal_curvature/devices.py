"""GPUs of one machine handed out to processes, each to one at a time.

A job holds a device by a lock on a file (``flock``), which the kernel releases when the job's
process ends, however it ends. Jobs of one user are kept apart, not those of different users.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_held: list[int] = []  # descriptors of this process's locks, open until it ends


def visible() -> list[str]:
    """Return the CUDA devices that this process may use: CUDA_VISIBLE_DEVICES, or else all.

    As CUDA does, whatever follows an empty or negative entry is left out.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        try:
            done = subprocess.run(
                ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, encoding="utf-8"
            )
        except FileNotFoundError:
            return []
        lines = done.stdout.splitlines() if done.returncode == 0 else []
        return [str(number) for number in range(sum(line.startswith("GPU ") for line in lines))]
    devices = []
    for device in map(str.strip, listed.split(",")):
        if not device or device.startswith("-"):
            break
        devices.append(device)
    return devices


def claim(devices: Sequence[str], folder: Path | None = None, poll: float = 0.5) -> str:
    """Wait for a free device, lock it until this process ends, and return it.

    Parameters
    ----------
    devices : sequence of str
        Identifiers, as in CUDA_VISIBLE_DEVICES.
    folder : Path, optional
        Where the lock files lie. By default in the temporary folder, for each user and cluster job:
        inside a job, device 0 is another one than device 0 of the job beside it.
    poll : float
        Seconds between two rounds while all devices are taken.
    """
    if folder is None:
        allocation = os.environ.get("SLURM_JOB_ID", "")
        folder = Path(tempfile.gettempdir(), f"focal-curvature-{os.getuid()}", allocation)
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for device in devices:
            lock = os.open(folder / device.replace("/", "-"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            _held.append(lock)
            return device
        if not waiting:
            logging.info("waiting for one of the devices %s", ", ".join(devices))
            waiting = True
        time.sleep(poll)

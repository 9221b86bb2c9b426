"""Install requirements.lock into a virtual environment of this repository's own, with uv or pip.

``install.py FOLDER`` makes the environment, or makes it anew where it is not what the lock says;
``install.py --remove FOLDER`` removes it. A folder that this script has not made is never touched.
Any Python 3 can read this file, to say which one is needed.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
# Lies in every environment made here: what it was made from, once it is complete.
MARK = "focal-curvature.installed"
# What pip is told, of which uv reads nothing: pip's key, uv's variable, and between its entries.
PIP_SETTINGS = (
    ("index-url", "UV_DEFAULT_INDEX", " "),
    ("extra-index-url", "UV_INDEX", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("no-index", "UV_NO_INDEX", " "),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("cert", "SSL_CERT_FILE", " "),
)


def check(folder):
    """Exit with a line that says why, if a folder is not ours to make or to remove."""
    if folder.is_symlink():
        sys.exit(f"{folder} is a link: nothing is installed or removed behind it")
    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not empty and not (folder / MARK).is_file():
        sys.exit(
            f"{folder} was not made by this Makefile (there is no {MARK} in it), so it is left as "
            "it is: remove it, or name another folder: make VENV=folder"
        )


def wanted(folder):
    """Return what the mark of a complete environment says: the lock's hash, and its place."""
    return f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()}\n{folder.resolve()}\n"


def is_complete(folder):
    """Whether an environment is what the lock says, in the place where it was made."""
    mark = folder / MARK
    python = folder / "bin/python"
    return python.exists() and mark.read_text(encoding="utf-8") == wanted(folder)


def install(folder):
    """Make the environment anew. Interrupted, it is begun again by the next call."""
    if sys.version_info < (3, 11):  # noqa: UP036  an older one runs this file too
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    print(f"Making the environment {folder}", flush=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    run([sys.executable, "-m", "venv", folder])
    if not (with_uv(folder) or with_pip(folder)):
        sys.exit(f"The packages of {LOCK.name} could not be installed, see above")
    (folder / MARK).write_text(wanted(folder), encoding="utf-8")


def with_uv(folder):
    """Install the locked packages with the locked uv, and return whether that went well."""
    lock = LOCK.read_text(encoding="utf-8")
    uv = re.search(r"^uv==.*?(?=^\S|\Z)", lock, re.DOTALL | re.MULTILINE)
    if not uv:
        return False
    print("Installing uv with pip", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "uv.txt")
        file.write_text(uv.group(), encoding="utf-8")
        if not run([*pip(folder), "install", "--quiet", *hashed(file)], check=False):
            return False
    print(f"Installing {packages()} packages with uv", flush=True)
    command = [folder / "bin/uv", "pip", "install", "--python", folder / "bin/python"]
    done = run([*command, *hashed(LOCK)], check=False, environment=uv_environment(folder))
    if not done:
        print("uv could not: trying pip", flush=True)
    return done


def with_pip(folder):
    """Install the locked packages with pip, a line for each, and return whether that went well."""
    total = packages()
    print(f"Installing {total} packages with pip", flush=True)
    # Compiled is what is imported, when it is.
    command = [*pip(folder), "install", "--no-compile", "--progress-bar", "off", *hashed(LOCK)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
    number = 0
    for line in process.stdout:
        if line.startswith("Collecting "):
            number += 1
            print(f"{number:3} of {total}  {line.split()[1]}", flush=True)
        elif line.startswith("Installing "):
            print("Unpacking them", flush=True)
    return process.wait() == 0


def uv_environment(folder):
    """Return the environment for uv, with what pip is configured to on this machine."""
    environment = dict(os.environ)
    listed = subprocess.run([*pip(folder), "config", "list"], capture_output=True, encoding="utf-8")
    settings = dict(line.split("=", 1) for line in listed.stdout.splitlines() if "=" in line)
    for key, variable, separator in PIP_SETTINGS:
        # A variable of the environment counts before pip's files.
        for section in (":env:", "install", "global"):
            if f"{section}.{key}" in settings:
                value = ast.literal_eval(settings[f"{section}.{key}"])
                environment.setdefault(variable, separator.join(value.split()))
    # The hashes say which file it is to be, wherever it comes from.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def packages():
    """Return how many packages the lock names; not all are for every system."""
    return len(set(re.findall(r"^([\w.-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)))


def pip(folder):
    """Return the command that is an environment's pip."""
    return [folder / "bin/python", "-m", "pip", "--disable-pip-version-check"]


def hashed(file):
    """Return the arguments by which pip and uv install a file, checking every hash.

    A lock is complete: to ask each package what it needs is half of the time.
    """
    return ["--no-deps", "--require-hashes", "--requirement", file]


def run(command, check=True, environment=None):
    """Run a command and return whether it succeeded; if it must and does not, exit."""
    status = subprocess.run(command, env=environment).returncode
    if check and status:
        sys.exit(status)
    return status == 0


def main(arguments):
    """Make or remove the environment that the command line names."""
    folder = Path(arguments[-1])
    check(folder)
    if arguments[0] == "--remove":
        if folder.exists():
            shutil.rmtree(folder)
    elif not folder.exists() or not (folder / MARK).exists() or not is_complete(folder):
        install(folder)


if __name__ == "__main__":
    main(sys.argv[1:])

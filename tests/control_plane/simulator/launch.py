"""Runs one process as a container: `python -I -S launch.py SPECIFICATION.json`.

The process sees the files of this machine, over which it writes in memory of its own; the folders that are mounted;
its pod's network and name; and no process but its own. It ends when this program ends, whatever ends it. Uses nothing
but the standard library and takes 20 ms, since every container begins with it.

The specification: `sandbox` (process id that holds the pod's namespaces), `target` (process id whose processes it
sees; optional), `mounts` ([source, target, read only]), `argv`, `environment`, `folder`, `user`, `group`, `groups`,
`hostname` (empty leaves it), `root` (an empty folder), `report` (a file descriptor). To the last it writes the process
id and, when the process could not be started, why; it is closed once the process has started.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
import sys
from typing import Any

NEW_MOUNTS, NEW_NAMES, NEW_IPC, NEW_PROCESSES, NEW_NET = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE, NO_SUID = 1, 32, 4096, 16384, 1 << 18, 2
DETACH = 2
DIE_WITH_PARENT = 1
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
CANNOT_START = 128
"""What container runtimes report when a command cannot be started."""

_c = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: Any) -> None:
    """Call the C library. Raises: OSError."""
    if getattr(_c, function)(*(word.encode() if isinstance(word, str) else word for word in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}{arguments}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    """Mount. Raises: OSError."""
    call("mount", source, target, kind, flags, options)


def join(process: int, name: str, kind: int) -> None:
    """Enter a namespace of a process."""
    file = os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY)
    call("setns", file, kind)
    os.close(file)


def make_place(source: str, target: str) -> None:
    """Make what a mount is put over: a folder for a folder, a file for a file."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass


def build_root(base: str, mounts: list[tuple[str, str, bool]]) -> str:
    """Build the files that the container sees, in a namespace of mounts of this process. Returns the new root."""
    mount("none", "/", None, RECURSIVE | PRIVATE)
    mount("tmpfs", base, "tmpfs", 0, "mode=755")
    upper, work, root = f"{base}/upper", f"{base}/work", f"{base}/root"
    for folder in (upper, work, root):
        os.mkdir(folder)
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    mount("tmpfs", f"{root}/dev", "tmpfs", NO_SUID, "mode=755")
    for device in DEVICES:
        make_place(f"/dev/{device}", f"{root}/dev/{device}")
        mount(f"/dev/{device}", f"{root}/dev/{device}", None, BIND)
    for folder, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"),
        ("shm", "tmpfs", "size=64m"),
    ):
        os.mkdir(f"{root}/dev/{folder}")
        mount(kind, f"{root}/dev/{folder}", kind, 0, options)
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    for link, end in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(end, f"{root}/dev/{link}")
    mount("tmpfs", f"{root}/run", "tmpfs", 0, "mode=755")
    os.mkdir(f"{root}/run/secrets")
    if not os.path.lexists(f"{root}/var/run"):
        os.symlink("/run", f"{root}/var/run")
    for source, target, is_read_only in sorted(mounts, key=lambda entry: entry[1]):
        place = f"{root}{resolve_links(root, target)}"
        make_place(source, place)
        mount(source, place, None, BIND | RECURSIVE)
        if is_read_only:
            mount("none", place, None, BIND | REMOUNT | READ_ONLY)
    return root


def resolve_links(root: str, target: str) -> str:
    """Resolve /var/run, which is a link, below another root."""
    if target.startswith("/var/run/") and os.path.islink(f"{root}/var/run"):
        return target.removeprefix("/var")
    return target


def run(specification: dict[str, Any]) -> int:
    """Run the container to its end. Returns its exit code as a shell reports it."""
    sandbox: int = specification["sandbox"]
    join(sandbox, "net", NEW_NET)
    join(sandbox, "ipc", NEW_IPC)
    join(sandbox, "uts", NEW_NAMES)
    if specification["hostname"]:
        socket.sethostname(specification["hostname"])
    target = specification.get("target")
    if target is not None:
        join(target, "pid", NEW_PROCESSES)
    call("unshare", NEW_MOUNTS | (0 if target is not None else NEW_PROCESSES))
    root = build_root(specification["root"], specification["mounts"])
    report: int = specification["report"]
    os.set_inheritable(report, False)
    child = os.fork()
    if child == 0:
        start(root, specification)
    os.write(report, f"{child}\n".encode())
    os.close(report)
    # A terminal's signals are the container's business; its end is reported.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


OPEN = stat.S_IXGRP | stat.S_IXOTH


def open_interpreter() -> None:
    """Let every user of the container reach this Python: here it can be in a folder of root's, in an image it is not.

    The change is to the container's own view of the folders.
    """
    for program in (sys.executable, os.path.realpath(sys.executable)):
        folder = os.path.dirname(program)
        while folder != "/":
            mode = stat.S_IMODE(os.stat(folder).st_mode)
            if mode & OPEN != OPEN:
                os.chmod(folder, mode | OPEN)
            folder = os.path.dirname(folder)


def start(root: str, specification: dict[str, Any]) -> None:
    """Become the container's first process. Does not return."""
    call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    try:
        os.chroot(root)
        os.chdir("/")
        open_interpreter()
        mount("proc", "/proc", "proc")
        os.setsid()
        os.makedirs(specification["folder"], exist_ok=True)
        os.chdir(specification["folder"])
        os.setgroups(specification["groups"])
        os.setgid(specification["group"])
        os.setuid(specification["user"])
        # The change of user has cleared it.
        call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        argv, environment = specification["argv"], specification["environment"]
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(specification["report"], f"exec: {specification['argv'][0]!r}: {error.strerror}\n".encode())
        os._exit(CANNOT_START)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as specification_file:
        wanted: dict[str, Any] = json.load(specification_file)
    try:
        sys.exit(run(wanted))
    except OSError as problem:
        os.write(wanted["report"], f"0\n{problem}\n".encode())
        sys.exit(CANNOT_START)

"""Makes this process lack what Windows lacks, as far as torch bears it.

Packages that are installed with torch must be imported before: how they find out which system they
are on is their own affair. ``os.name`` stays, for ``pathlib`` would fail, and ``O_NONBLOCK``, with
which ``filelock`` opens its files once it has found itself on a system that has it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from typing import Any

OF_POSIX = (
    "fork forkpty register_at_fork getuid geteuid getgid getegid getgroups getpgid getpgrp getsid "
    "setsid setuid setgid sched_getaffinity sched_setaffinity sched_yield uname statvfs fstatvfs "
    "sysconf confstr getloadavg chown lchown fchown fchmod mkfifo mknod nice killpg wait wait3 "
    "wait4 waitid pread pwrite readv writev sendfile pipe2 ctermid openpty ttyname chroot "
    "fchdir fdatasync sync lockf getpriority memfd_create getrandom copy_file_range eventfd "
    "getxattr setxattr posix_fallocate posix_fadvise posix_spawn O_DIRECTORY O_CLOEXEC "
    "O_SYNC O_NOFOLLOW O_DSYNC"
)
MODULES = "fcntl resource pwd grp termios tty pty syslog crypt spwd nis readline curses posix_ipc"
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}


def hide() -> None:
    """Takes away POSIX's functions, modules, signals, links, /proc and handles of folders."""
    for name in OF_POSIX.split():
        if hasattr(os, name):
            delattr(os, name)
    for name in [n for n in vars(signal) if n.startswith("SIG") and n not in SIGNALS]:
        delattr(signal, name)
    for name in ("alarm", "pause", "setitimer", "pthread_kill", "pthread_sigmask", "sigwait"):
        delattr(signal, name)
    access, flags = fcntl.fcntl, fcntl.F_GETFL
    fsync = os.fsync

    def fsync_of_windows(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        if access(number, flags) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        fsync(handle)

    def symlink_of_windows(*_: Any, **__: Any) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    os.fsync = fsync_of_windows
    os.symlink = symlink_of_windows
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
    sys.addaudithook(_refuse_to_open)
    for name in MODULES.split():
        sys.modules[name] = None  # type: ignore[assignment]
    sys.platform = "win32"


def _refuse_to_open(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.fsdecode(arguments[0])
    if path.startswith(("/proc/", "/dev/")) and path != os.devnull:
        raise FileNotFoundError(2, "No such file or directory", path)
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)

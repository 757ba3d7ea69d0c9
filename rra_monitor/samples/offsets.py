"""The offsets of open files, which a forked process shares with its parent."""

import os
import stat

try:
    import fcntl
except ImportError:  # Windows, which does not fork
    fcntl = None  # type: ignore[assignment]

STANDARD_STREAMS = 3


def offsets_kept() -> dict[int, int]:
    """Descriptor to offset of the regular files that are open for reading alone (Linux; none elsewhere)."""
    return {
        descriptor: os.lseek(descriptor, 0, os.SEEK_CUR)
        for descriptor, flags in _regular_files()
        if flags & os.O_ACCMODE == os.O_RDONLY
    }


def restore_offsets(offsets: dict[int, int]) -> None:
    """Set the offsets of files to what they were."""
    for descriptor, offset in offsets.items():
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
        except OSError:  # closed since
            continue


def own_offsets() -> None:
    """Open the regular files of this process again under their descriptors, so that it has offsets of its own."""
    for descriptor, flags in _regular_files():
        if flags & os.O_ACCMODE == os.O_WRONLY:
            continue
        try:
            own = os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)
        except OSError:
            continue
        os.lseek(own, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(own, descriptor, inheritable=os.get_inheritable(descriptor))
        os.close(own)


def _regular_files() -> list[tuple[int, int]]:
    """Descriptors and flags of the open regular files."""
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []
    found = []
    for descriptor in descriptors:
        try:
            if descriptor >= STANDARD_STREAMS and stat.S_ISREG(os.fstat(descriptor).st_mode):
                found.append((descriptor, fcntl.fcntl(descriptor, fcntl.F_GETFL)))
        except OSError:  # that of the listing itself, for one
            continue
    return found

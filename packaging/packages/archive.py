"""Tar archives whose bytes depend on their contents only."""

import gzip
import io
import tarfile

from release import PACKAGE


def tarball(items, epoch, links=(), open_folders=()):
    """An uncompressed tar archive: files owned by root, in order, all of one time. Everybody
    may write to `open_folders`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders = set()

        def add(path, mode, kind=tarfile.REGTYPE, content=b"", target=""):
            entry = tarfile.TarInfo(path)
            entry.mode, entry.type, entry.mtime = mode, kind, epoch
            entry.size, entry.linkname = len(content), target
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(content))

        def add_folders(path):
            parts = path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    add(folder, 0o755, tarfile.DIRTYPE)

        for path in sorted(open_folders):
            add_folders(path)
            folders.add(path)
            add(path, 0o1777, tarfile.DIRTYPE)
        for item in sorted(items, key=lambda item: item.path):
            add_folders(item.path)
            add(item.path, item.mode, content=item.source.read_bytes())
        for path, target in sorted(links):
            add_folders(path)
            add(path, 0o777, tarfile.SYMTYPE, target=target)
    return buffer.getvalue()


def compressed(data):
    """gzip without a name and a time."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def make(release):
    """The archive for a person: unpacked into the original's folder it is its layout."""
    name = f"{PACKAGE}-{release.version}-{release.architecture}-linux"
    items = [*release.items(), *release.pages(), *release.completions()]
    inside = [item._replace(path=f"{name}/{item.path}") for item in items]
    file = release.dist / f"{name}.tar.gz"
    file.write_bytes(compressed(tarball(inside, release.epoch)))
    return file

"""Container images without a container engine: an OCI image layout in tar archives.

`skopeo copy oci-archive:FILE …`, `podman load` and `docker load` take it. The image has
the program, Debian's certificate authorities (nothing could be trusted without them),
and nothing else; it runs as nobody.
"""

import collections
import datetime
import hashlib
import json
import pathlib

import archive
from release import LINK, PACKAGE, PREFIX, PROGRAM, Item

#: From Debian's package ca-certificates, so that a build machine's own additions stay out.
AUTHORITIES = pathlib.Path("/usr/share/ca-certificates/mozilla")
NOBODY = "65534:65534"

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Layout:
    """The blobs of an image layout."""

    def __init__(self, folder):
        self.folder = folder
        self.items = []

    def add(self, path, content):
        """A file of the layout."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.items.append(Item(file, path, 0o644))

    def blob(self, media_type, content):
        """A blob; gives its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        self.add(f"blobs/sha256/{digest}", content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def as_json(value):
    """JSON whose bytes depend on the value only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


#: What is in an image, and how it is run.
Contents = collections.namedtuple("Contents", "package title items links folders entrypoint env")


def make(releases):
    """One image of the program for all architectures."""
    images = []
    for release in releases:
        items = [
            item._replace(path=f"{PREFIX}/{item.path}".lstrip("/")) for item in release.items()
        ]
        bundle = release.work / "ca-certificates.crt"
        certificates = sorted(AUTHORITIES.glob("*.crt"))
        if not certificates:
            raise SystemExit(f"{AUTHORITIES} is empty: install Debian's ca-certificates")
        bundle.write_bytes(b"".join(file.read_bytes() for file in certificates))
        items.append(Item(bundle, "etc/ssl/certs/ca-certificates.crt", 0o644))
        links = [(LINK.lstrip("/"), f"{PREFIX}/bin/{PROGRAM}")]
        contents = Contents(PACKAGE, PROGRAM, items, links, (), [LINK], ["PATH=/usr/local/bin"])
        images.append((release, contents))
    write(images)


def write(images):
    """Writes one archive with an image for each architecture: pairs of a release and what its image holds."""
    first, contents = images[0]
    layout = Layout(first.work / f"oci-{contents.title}")
    layout.add("oci-layout", as_json({"imageLayoutVersion": "1.0.0"}))
    platforms = [image(release, each, layout) for release, each in images]
    # Tools without an idea of platforms take the first entry; one platform needs no list.
    entry = (
        platforms[0]
        if len(platforms) == 1
        else layout.blob(
            INDEX, as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": platforms})
        )
    )
    entry = dict(entry, annotations={"org.opencontainers.image.ref.name": first.version})
    layout.add(
        "index.json",
        as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}),
    )
    file = first.dist / f"{contents.package}-{first.version}-oci.tar"
    file.write_bytes(archive.tarball(set(layout.items), first.epoch))


def image(release, contents, layout):
    """One architecture's image; gives the descriptor of its manifest."""
    plain = archive.tarball(contents.items, release.epoch, contents.links, contents.folders)
    layer = layout.blob(LAYER, archive.compressed(plain))

    created = datetime.datetime.fromtimestamp(release.epoch, datetime.timezone.utc)
    created = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": contents.title,
        "org.opencontainers.image.description": release.description,
        "org.opencontainers.image.version": release.version,
        "org.opencontainers.image.licenses": release.license,
    }
    platform = {"architecture": release.names.oci, "os": "linux"}
    config = layout.blob(
        CONFIG,
        as_json(
            {
                **platform,
                "created": created,
                "config": {
                    "User": NOBODY,
                    "Env": contents.env,
                    "Entrypoint": contents.entrypoint,
                    "WorkingDir": "/",
                    "Labels": labels,
                },
                "rootfs": {
                    "type": "layers",
                    "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()],
                },
                "history": [{"created": created, "created_by": "make packages"}],
            }
        ),
    )
    manifest = layout.blob(
        MANIFEST,
        as_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config,
                "layers": [layer],
                "annotations": labels,
            }
        ),
    )
    return dict(manifest, platform=platform)

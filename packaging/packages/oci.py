"""A container image without a container engine: an OCI image layout in a tar archive.

`skopeo copy oci-archive:FILE …`, `podman load` and `docker load` take it. The image has
the program, Debian's certificate authorities (nothing could be trusted without them),
and nothing else; it runs as nobody.
"""

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


def make(releases):
    """One image for all architectures."""
    first = releases[0]
    layout = Layout(first.work / "oci")
    layout.add("oci-layout", as_json({"imageLayoutVersion": "1.0.0"}))
    platforms = [image(release, layout) for release in releases]
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
    file = first.dist / f"{PACKAGE}-{first.version}-oci.tar"
    file.write_bytes(archive.tarball(set(layout.items), first.epoch))


def image(release, layout):
    """One architecture's image; gives the descriptor of its manifest."""
    bundle = release.work / "ca-certificates.crt"
    certificates = sorted(AUTHORITIES.glob("*.crt"))
    if not certificates:
        raise SystemExit(f"{AUTHORITIES} is empty: install Debian's ca-certificates")
    bundle.write_bytes(b"".join(file.read_bytes() for file in certificates))

    items = [item._replace(path=f"{PREFIX}/{item.path}".lstrip("/")) for item in release.items()]
    items.append(Item(bundle, "etc/ssl/certs/ca-certificates.crt", 0o644))
    links = [(LINK.lstrip("/"), f"{PREFIX}/bin/{PROGRAM}")]
    plain = archive.tarball(items, release.epoch, links)
    layer = layout.blob(LAYER, archive.compressed(plain))

    created = datetime.datetime.fromtimestamp(release.epoch, datetime.timezone.utc)
    created = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": PROGRAM,
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
                    "Env": ["PATH=/usr/local/bin"],
                    "Entrypoint": [LINK],
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

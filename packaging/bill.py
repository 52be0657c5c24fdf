#!/usr/bin/env python3
"""What is linked into the static binary: a CycloneDX bill of materials, and the licences.

    packaging/bill.py sbom     ARCHITECTURE [PACKAGE]    ->  CycloneDX 1.6 as JSON on stdout
    packaging/bill.py licenses ARCHITECTURE [PACKAGE]    ->  all licence texts on stdout

PACKAGE is the crate: session-manager-plugin, or sandbox.

The crates are read from `cargo metadata`; OpenSSL, musl and Rust's standard library,
which are linked as well, are no crates that it knows of: they are added by hand,
which is what ready-made tools leave out. Which compiler and which musl they were stands
in `built-with`, beside the binary, where packaging/musl/build has written it.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

TOP = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
PROGRAM = "session-manager-plugin"
#: Where the binaries of the architectures are.
FOLDERS = {"x86_64": "static", "aarch64": "static-aarch64"}
#: Names under which projects keep their terms.
LICENSE_FILE = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)

#: Something that is linked: `folder` is where its licence files are, if anywhere.
Component = collections.namedtuple("Component", "name version license purl description folder")


def linked_crates(target, name):
    """The crates linked into a crate's program for a target, without build scripts' and macros' own, sorted."""
    metadata = json.loads(
        subprocess.check_output(
            ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target],
            cwd=TOP,
        )
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(
        package["id"]
        for package in metadata["packages"]
        if package["name"] == name and package["source"] is None
    )

    seen = set()
    waiting = [root]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for dependency in nodes[current]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            package = packages[dependency["pkg"]]
            macro = any("proc-macro" in each["kind"] for each in package["targets"])
            if normal and not macro:
                waiting.append(dependency["pkg"])
    edges = {
        purl(packages[each]): sorted(
            purl(packages[dependency["pkg"]])
            for dependency in nodes[each]["deps"]
            if dependency["pkg"] in seen
        )
        for each in seen
    }
    crates = sorted(
        (packages[each] for each in seen), key=lambda each: (each["name"], each["version"])
    )
    openssl = next(each for each in metadata["packages"] if each["name"] == "openssl-src")
    return crates, edges, packages[root], openssl


def purl(package):
    """A crate's package URL."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package):
    """A crate as a component."""
    return Component(
        package["name"],
        package["version"],
        # The old way to write "or".
        (package["license"] or "NOASSERTION").replace("/", " OR "),
        purl(package),
        package["description"] or "",
        pathlib.Path(package["manifest_path"]).parent,
    )


def read_built_with(architecture):
    """What the binary was built with: rustc (its version line), sysroot, libc."""
    file = TARGET / FOLDERS[architecture] / "built-with"
    if not file.exists():
        sys.exit(f"{file} is not there: make {FOLDERS[architecture]}")
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def native_components(openssl, built_with):
    """What is linked and is no crate."""
    openssl_version = openssl["version"].partition("+")[2]
    rust_version = built_with["rustc"].split()[1]
    sysroot = pathlib.Path(built_with["sysroot"])
    rust_sources = sysroot / "lib/rustlib/src/rust"
    rust_documents = rust_sources if rust_sources.is_dir() else sysroot / "share/doc/rust"
    return [
        Component(
            "openssl",
            openssl_version,
            "Apache-2.0",
            f"pkg:generic/openssl@{openssl_version}",
            "TLS and cryptography",
            pathlib.Path(openssl["manifest_path"]).parent / "openssl",
        ),
        musl(built_with["libc"], rust_version),
        Component(
            "rust-std",
            rust_version,
            "MIT OR Apache-2.0",
            f"pkg:generic/rust-std@{rust_version}",
            "Rust's standard library",
            rust_documents,
        ),
    ]


def musl(libc, rust_version):
    """The C library. Rust and zig do not say which musl they bring: their versions do."""
    if libc == "debian":
        version = debian_version("musl-dev")
        package = f"pkg:deb/debian/musl@{version}"
        folder = pathlib.Path("/usr/share/doc/musl-dev")
    elif libc == "zig":
        tools = TARGET / "tools" / "python"
        zig = subprocess.check_output([tools / "bin/python", "-m", "ziglang", "version"], text=True)
        version = f"zig {zig.strip()}"
        package = f"pkg:pypi/ziglang@{zig.strip()}"
        folder = next(tools.glob("lib/python3*/site-packages/ziglang/lib/libc/musl"))
    else:
        version = f"rust {rust_version}"
        package = f"pkg:generic/musl?rust={rust_version}"
        folder = None
    return Component("musl", version, "MIT", package, "C library", folder)


def debian_version(package):
    """The version of an installed Debian package."""
    return subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}", package], text=True)


def sbom(architecture, name):
    """The bill of materials, the same bytes for the same commit and compiler."""
    target = f"{architecture}-unknown-linux-musl"
    crates, edges, root, openssl = linked_crates(target, name)
    built_with = read_built_with(architecture)
    natives = native_components(openssl, built_with)
    components = [component(each) for each in crates if each is not root] + natives
    edges[purl(root)] = sorted(edges[purl(root)] + [each.purl for each in natives])

    def entry(each, kind="library"):
        return {
            "type": kind,
            "bom-ref": each.purl,
            "name": each.name,
            "version": each.version,
            "description": " ".join(each.description.split()),
            "licenses": [{"expression": each.license}],
            "purl": each.purl,
        }

    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": entry(component(root), "application"),
            "properties": [
                {"name": "target", "value": target},
                {"name": "compiler", "value": built_with["rustc"]},
            ],
        },
        "components": [entry(each) for each in components],
        "dependencies": [
            {"ref": each, "dependsOn": edges.get(each, [])}
            for each in [purl(root)] + [each.purl for each in components]
        ],
    }
    # A serial number that follows from the contents.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill, sort_keys=True))
    bill["serialNumber"] = f"urn:uuid:{serial}"
    return json.dumps(bill, indent=2) + "\n"


def licenses(architecture, name):
    """All licence texts, each once, with the names of those that it covers."""
    crates, _, _, openssl = linked_crates(f"{architecture}-unknown-linux-musl", name)
    components = [component(each) for each in crates]
    components += native_components(openssl, read_built_with(architecture))
    # Copies that differ in white space only are one text.
    texts = {}
    users = collections.defaultdict(list)
    without = []
    for each in components:
        files = license_files(each.folder)
        if not files:
            without.append(each)
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace")
            key = " ".join(text.split())
            texts.setdefault(key, "\n".join(line.rstrip() for line in text.strip().splitlines()))
            users[key].append(each)

    lines = [f"{name} is made of these parts, under the licences named.", ""]
    lines += [f"{each.name} {each.version}: {each.license}" for each in components]
    if without:
        lines += [
            "",
            "These come without a copy of their licence text; the texts below are the same:",
        ]
        lines += [f"{each.name} {each.version}: {each.license}" for each in without]
    for key in sorted(users, key=lambda key: users[key][0].name):
        names = ", ".join(sorted({f"{each.name} {each.version}" for each in users[key]}))
        lines += ["", "=" * 78, names, "=" * 78, "", texts[key]]
    return "\n".join(lines) + "\n"


def license_files(folder):
    """The licence files in a component's folder."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(
        file for file in folder.iterdir() if file.is_file() and LICENSE_FILE.match(file.name)
    )


def main():
    """Prints what the arguments ask for."""
    makers = {"sbom": sbom, "licenses": licenses}
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in makers or sys.argv[2] not in FOLDERS:
        sys.exit(__doc__)
    name = sys.argv[3] if len(sys.argv) > 3 else PROGRAM
    sys.stdout.write(makers[sys.argv[1]](sys.argv[2], name))


if __name__ == "__main__":
    main()

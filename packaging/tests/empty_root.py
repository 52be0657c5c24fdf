#!/usr/bin/env python3
"""The static binary in a root directory with nothing else in it.

As root with chroot(8), else in a user namespace (`unshare -r`). PLUGIN names
another binary than target/static/session-manager-plugin.
"""

import os
import resource
import shutil
import subprocess
import unittest

import support

MIB = 1024 * 1024
NOBODY = 65534


class EmptyRoot(support.Folder):
    """Each test has a fresh root directory that holds the program alone."""

    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        self.root.mkdir()
        shutil.copy2(support.BINARY, self.root / "session-manager-plugin")

    def write(self, path, text):
        """Puts a file into the root directory."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def inside(self, *arguments, user=None, read_only=False):
        """The command that runs the program with the root directory as its `/`."""
        chroot = ["chroot"]
        if user is not None:
            chroot.append(f"--userspec={user}:{user}")
        chroot += [str(self.root), "/session-manager-plugin", *arguments]
        if read_only:
            script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
            return [*namespace("-m"), "sh", "-c", script, str(self.root), *chroot]
        if os.geteuid() == 0:
            return chroot
        return [*namespace(), *chroot]


def namespace(*options):
    """unshare(1) with what this user needs to be allowed to change its root."""
    return ["unshare", *options] if os.geteuid() == 0 else ["unshare", "-r", *options]


def limited(**limits):
    """A function for `preexec_fn` that sets resource limits: `limited(NOFILE=16)`."""

    def set_limits():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return set_limits


class Basics(EmptyRoot):
    """What needs no session."""

    def test_the_binary_asks_for_no_interpreter_and_no_library(self):
        headers = support.checked(["readelf", "-ld", support.BINARY]).decode()
        self.assertNotIn("INTERP", headers)
        self.assertNotIn("(NEEDED)", headers)

    def test_the_binary_is_position_independent_with_a_locked_down_memory_map(self):
        headers = support.checked(["readelf", "-hlW", support.BINARY]).decode()
        self.assertIn("DYN (", headers)
        self.assertIn("GNU_RELRO", headers)
        stack = next(line for line in headers.splitlines() if "GNU_STACK" in line)
        self.assertNotIn("RWE", stack)

    def test_version_and_installation(self):
        self.assert_works(self.inside(), env={"PATH": os.environ["PATH"]})

    def test_an_empty_environment(self):
        # Without even a PATH: chroot is named in full.
        command = self.inside("--version")
        command[0] = shutil.which(command[0])
        result = support.run(command, env={})
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_as_nobody(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.assert_works(self.inside(user=NOBODY))

    def test_on_a_read_only_file_system(self):
        if support.run([*namespace("-m"), "true"]).returncode:
            self.skipTest("no mount namespaces here")
        self.assert_works(self.inside(read_only=True))

    def test_with_little_memory_few_descriptors_and_a_small_stack(self):
        # chroot(8) has a stack and libraries of its own to fit into these limits.
        self.assert_works(
            self.inside(),
            preexec_fn=limited(AS=16 * MIB, NOFILE=8, STACK=64 * 1024),
        )

    def test_with_closed_standard_streams(self):
        # Rust's start code puts /dev/null where a standard stream is closed, so that
        # no socket ever becomes number 1; without such a file it aborts.
        self.write("/dev/null", "")
        command = self.inside("--version")
        result = support.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command])
        self.assertIn(result.returncode, (0, 1))

    def test_bad_calls_end_with_a_reason(self):
        result = support.run(self.inside("{", "eu-west-1", "StartSession"))
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"Cannot perform start session: ", result.stdout)


if __name__ == "__main__":
    support.main()

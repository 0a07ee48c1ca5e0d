"""The Debian package in a fresh root: installed, demonstrated, served from, upgraded, removed and purged."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile

from artifacts import only
from root import RESOURCE, Running, debian, token

STATE, SETTINGS, UNIT = "var/lib/sealwright", "etc/sealwright/sealwright.toml", "usr/lib/systemd/system/sealwright.service"


def install(root, package):
    """Installs a package with dpkg; returns what it says."""
    shutil.copy(package, root.path / "package.deb")
    said = root.run("dpkg", "--install", "/package.deb")
    (root.path / "package.deb").unlink()
    return said


@contextlib.contextmanager
def newer(package):
    """The same package with a higher version."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "--raw-extract", package, f"{folder}/tree"], check=True)
        control = f"{folder}/tree/DEBIAN/control"
        text = open(control).read()
        with open(control, "w") as file:
            file.write(re.sub(r"^Version: .*$", lambda found: f"{found[0]}+newer", text, flags=re.MULTILINE))
        command = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", f"{folder}/tree", f"{folder}/newer.deb"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield f"{folder}/newer.deb"


class Unit:
    """What the unit in the root says about its process."""

    def __init__(self, root):
        self.values = dict(re.findall(r"^(\w+)=(.+)$", (root.path / UNIT).read_text(), re.MULTILINE))
        self.command = self.values["ExecStart"].split()
        self.environment = dict([self.values["Environment"].split("=", 1)])
        self.folder = self.values["WorkingDirectory"]
        self.user = root.user(self.values["User"])


def serve(root):
    """Starts the server as the unit does, except for two ports that are free, and the log in JSON."""
    unit = Unit(root)
    free = {"SEALWRIGHT_LISTEN": "127.0.0.1:0", "SEALWRIGHT_MANAGEMENT_LISTEN": "127.0.0.1:0", "SEALWRIGHT_LOG_FORMAT": "json"}
    return Running(root, unit.command, user=unit.user, folder=unit.folder, environment=unit.environment | free)


def sealwright(root, *command):
    """A command, as the comments of the unit say."""
    unit = Unit(root)
    return root.run("/usr/bin/sealwright", *command, user=unit.user, folder=unit.folder, environment=unit.environment)


def register(root):
    """Creates a client of the running server; returns its secret."""
    sealwright(root, "resource", "create", RESOURCE, "--scope", "orders:read")
    created = sealwright(root, "client", "create", "billing", "--grant", "client_credentials", "--allow", f"{RESOURCE}=orders:read", "--json")
    return json.loads(created)["secret"]["value"]


def the_package_installs_and_the_demo_issues_a_token(packages):
    """Any user can run the demo, and pastes its first request."""
    with debian() as root:
        said = install(root, only(packages, "*.deb"))
        assert "systemctl enable --now sealwright" in said, said
        with Running(root, ["/usr/bin/sealwright", "demo", "--listen", "127.0.0.1:0"], user=root.user("daemon"), folder="/tmp") as demo:
            issuer = demo.find(lambda text: re.search(r"ISSUER=http://(\S+)", text))[1]
            client, secret = demo.find(lambda text: re.search(r"APP='([^:]+):([^']+)'", text)).groups()
            issued = token(issuer, client, secret)
        assert not os.listdir(root.path / "tmp"), "the demo leaves something behind"
    return f"a token for {issued['expires_in']} s"


def the_package_serves_with_its_own_settings_as_its_own_user(packages):
    """As the unit says; the database and the sealing key are for that user alone."""
    with debian() as root:
        install(root, only(packages, "*.deb"))
        settings = (root.path / SETTINGS).stat()
        unit = Unit(root)
        assert (settings.st_uid, settings.st_gid, settings.st_mode & 0o777) == (0, unit.user[1], 0o640), oct(settings.st_mode)
        with serve(root) as server:
            address = server.address()
            token(address, "billing", register(root))
        state = root.path / STATE
        made = {name: (state / name).stat() for name in [".", "sealwright.db", "keys/sealing.key"]}
        assert {(entry.st_uid, entry.st_gid, entry.st_mode & 0o077) for entry in made.values()} == {(*unit.user, 0)}, made
        assert not (root.path / "etc/systemd/system/multi-user.target.wants/sealwright.service").exists(), "enabled"
    return f"as {unit.user[0]}"


def the_upgrade_keeps_database_key_clients_and_settings(packages):
    """The secret from before gets a token after, and a changed setting still applies."""
    package = only(packages, "*.deb")
    with debian() as root, newer(package) as upgraded:
        install(root, package)
        with (root.path / SETTINGS).open("a") as settings:
            settings.write('token_lifetime = "5m"\n')
        with serve(root) as server:
            server.address()
            secret = register(root)
        key = root.path / STATE / "keys/sealing.key"
        before = key.read_bytes(), (root.path / SETTINGS).stat()
        said = install(root, upgraded)
        assert "enable --now" not in said, said
        version = root.run("dpkg-query", "--show", "--showformat=${Version}", "sealwright")
        assert version.endswith("+newer"), version
        after = key.read_bytes(), (root.path / SETTINGS).stat()
        assert before[0] == after[0] and before[1].st_mode == after[1].st_mode and before[1].st_gid == after[1].st_gid
        with serve(root) as server:
            issued = token(server.address(), "billing", secret)
        assert issued["expires_in"] == 300, issued
    return version


def the_removal_keeps_the_data_and_purge_leaves_nothing(packages):
    """Neither file nor user is left, and purge says what it deletes. A package that is installed again finds what a removal has left."""
    package = only(packages, "*.deb")
    with debian() as root:
        before, accounts = root.files(), (root.path / "etc/passwd").read_text()
        install(root, package)
        with serve(root) as server:
            server.address()
            secret = register(root)
        said = root.run("dpkg", "--remove", "sealwright")
        assert "until the package is purged" in said, said
        assert (root.path / STATE / "keys/sealing.key").exists() and not (root.path / "usr/bin/sealwright").exists()
        install(root, package)
        with serve(root) as server:
            token(server.address(), "billing", secret)
        said = root.run("dpkg", "--purge", "sealwright")
        assert "removing the database and the sealing key" in said, said
        left = root.files() - before
        # Copies that adduser keeps of the files that it changes.
        left -= {f"etc/{name}-" for name in ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"]}
        assert not left, sorted(left)
        assert (root.path / "etc/passwd").read_text() == accounts and "sealwright" not in (root.path / "etc/group").read_text()
    return "nothing"

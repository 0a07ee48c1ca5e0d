"""The image: its settings, and its root file system as a container engine would run it."""

import contextlib
import json
import pathlib
import shutil
import subprocess
import tempfile

from artifacts import only, output
from root import RESOURCE, Root, Running, token
from world import free_port

# needs: skopeo=skopeo umoci=umoci

PORT, STATE = 8080, "/var/lib/sealwright"


def settings(packages):
    """The image's own settings, as engines read them."""
    return json.loads(output("skopeo", "inspect", "--config", f"oci-archive:{only(packages, '*.oci.tar')}"))


@contextlib.contextmanager
def unpacked(packages):
    """The root file system of the image, and a volume that has the owner of the folder on which it is mounted, as engines make it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-C", folder, "-xf", only(packages, "*.oci.tar")], check=True)
        [manifest] = json.loads(pathlib.Path(folder, "index.json").read_text())["manifests"]
        name = manifest["annotations"]["org.opencontainers.image.ref.name"]
        root, volume = pathlib.Path(folder, "root"), pathlib.Path(folder, "volume")
        output("umoci", "raw", "unpack", "--image", f"{folder}:{name}", root)
        inside = root / STATE.lstrip("/")
        volume.mkdir()
        shutil.copystat(inside, volume)
        shutil.chown(volume, inside.stat().st_uid, inside.stat().st_gid)
        yield Root(root), volume


def the_image_says_how_it_runs(packages):
    """The same as examples/Containerfile, and a user that is not root."""
    image = settings(packages)
    config = image["config"]
    assert (image["os"], image["architecture"]) == ("linux", "amd64")
    assert config["User"] == "10001:10001" and config["WorkingDir"] == STATE and list(config["Volumes"]) == [STATE], config
    assert config["Entrypoint"] == ["/usr/local/bin/sealwright"] and config["Cmd"] == ["serve"] and config["StopSignal"] == "SIGTERM", config
    assert list(config["ExposedPorts"]) == [f"{PORT}/tcp"] and f"SEALWRIGHT_LISTEN=0.0.0.0:{PORT}" in config["Env"], config
    return f"{len(image['rootfs']['diff_ids'])} layer"


def the_image_holds_one_program_and_no_shell(packages):
    """Nothing else can be executed. The user's folder is the only one that it owns."""
    with unpacked(packages) as (root, _):
        paths = [path for path in root.path.rglob("*") if not path.is_symlink()]
        programs = [path.relative_to(root.path) for path in paths if path.is_file() and path.stat().st_mode & 0o111]
        owned = [path.relative_to(root.path) for path in paths if path.stat().st_uid != 0]
        authorities = (root.path / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE")
    assert list(map(str, programs)) == ["usr/local/bin/sealwright"] and list(map(str, owned)) == ["var/lib/sealwright"], (programs, owned)
    assert authorities > 100, authorities
    return f"{authorities} certificate authorities"


def the_image_serves_on_a_read_only_root(packages):
    """As its own user, who can write to the volume alone. `sealwright health` then finds the server ready."""
    config = settings(packages)["config"]
    user = tuple(map(int, config["User"].split(":")))
    listen, management = (f"127.0.0.1:{free_port()}" for _ in range(2))
    environment = dict(variable.split("=", 1) for variable in config["Env"]) | {
        "SEALWRIGHT_LISTEN": listen.replace("127.0.0.1", "0.0.0.0"), "SEALWRIGHT_MANAGEMENT_LISTEN": management, "SEALWRIGHT_DRAIN_DELAY": "0s",
        "SEALWRIGHT_ISSUER": "https://auth.example", "SEALWRIGHT_BEHIND_PROXY": "127.0.0.1",
    }
    with unpacked(packages) as (root, volume):
        place = {"user": user, "folder": config["WorkingDir"], "environment": environment, "read_only_but": volume}

        def sealwright(*command):
            return root.run(*config["Entrypoint"], *command, **place)

        with Running(root, config["Entrypoint"] + config["Cmd"], **place) as server:
            server.address()
            health = sealwright("health")
            sealwright("resource", "create", RESOURCE, "--scope", "orders:read")
            created = sealwright("client", "create", "billing", "--grant", "client_credentials", "--allow", f"{RESOURCE}=orders:read", "--json")
            token(listen, "billing", json.loads(created)["secret"]["value"])
        assert {path.stat().st_uid for path in volume.rglob("*")} == {user[0]} and (volume / "keys/sealing.key").exists()
    return health.strip()

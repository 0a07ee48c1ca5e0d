"""What the files hold, before one is installed."""

import json
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile

# needs: lintian=lintian file=file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-musl"


def output(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def only(packages, pattern):
    [path] = packages.glob(pattern)
    return path


def binary(packages, folder):
    """The program of the archive, unpacked into this folder."""
    with tarfile.open(only(packages, "*.tar.gz")) as archive:
        [member] = [member for member in archive if member.name.endswith("/sealwright")]
        archive.extract(member, folder)
    return pathlib.Path(folder, member.name)


def the_binary_is_static_and_runs_alone(packages):
    """It runs in a root that holds nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        program = binary(packages, folder)
        kind = output("file", "--brief", program)
        assert "static" in kind and "interpreter" not in kind, kind
        linked = subprocess.run(["ldd", program], capture_output=True, text=True)
        assert "statically linked" in linked.stdout + linked.stderr or "not a dynamic executable" in linked.stderr, linked
        version = output("chroot", program.parent, "/sealwright", "--version").strip()
    assert version.split()[1] in only(packages, "*.deb").name, version
    return version


def no_path_of_the_build_is_in_the_binary(packages):
    """A path would differ between two machines, and OpenSSL would load modules from it."""
    with tempfile.TemporaryDirectory() as folder:
        program = binary(packages, folder).read_bytes()
    folders = {ROOT, pathlib.Path.home(), os.environ.get("CARGO_HOME", ROOT), os.environ.get("CARGO_TARGET_DIR", ROOT)}
    places = [match.start() for path in folders for match in re.finditer(re.escape(os.fsencode(f"{path}/")), program)]
    found = [program[place - 40:place + 120] for place in places]
    assert not found, found[:10]
    return f"{len(program) / 2**20:.0f} MiB searched"


def the_packages_hold_the_same_binary(packages):
    """That of the archive is that of the Debian package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", only(packages, "*.deb"), f"{folder}/deb"], check=True)
        assert binary(packages, folder).read_bytes() == pathlib.Path(folder, "deb/usr/bin/sealwright").read_bytes()
    return ", ".join(f"{path.name} {path.stat().st_size / 2**20:.1f} MiB" for path in sorted(packages.iterdir()))


def the_checksums_name_every_file(packages):
    """SHA256SUMS verifies, and leaves no file out."""
    output("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=packages)
    named = {line.split()[1] for line in (packages / "SHA256SUMS").read_text().splitlines()}
    assert named == {path.name for path in packages.iterdir()} - {"SHA256SUMS"}, named
    return f"{len(named)} files"


def the_sbom_names_every_crate(packages):
    """Every crate that Cargo builds for this target and these features, with its version."""
    tree = output("cargo", "tree", "--locked", "--target", TARGET, "--edges", "normal,build", "--prefix", "none", cwd=ROOT)
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    text = only(packages, "*.cdx.json").read_text()
    sbom = json.loads(text)
    assert str(ROOT) not in text and "timestamp" not in text
    named = {(part["name"], f"v{part['version']}") for part in [sbom["metadata"]["component"], *sbom["components"]]}
    assert crates <= named, f"not named: {sorted(crates - named)}"
    without = [part["name"] for part in sbom["components"] if not part.get("licenses")]
    assert not without, f"without a license: {without}"
    return f"{len(crates)} crates, and {len(named - crates)} more"


def the_archive_holds_what_a_person_installs(packages):
    """Program, unit, settings, man pages, completions and licenses, owned by root."""
    with tarfile.open(only(packages, "*.tar.gz")) as archive:
        members = archive.getmembers()
        top = members[0].name
        names = {member.name.removeprefix(f"{top}/") for member in members}
        assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert names >= {
        "sealwright", "sealwright.service", "sealwright.toml", "LICENSE-MIT", "LICENSE-APACHE", "LICENSES-THIRD-PARTY", "man/sealwright.1.gz",
        "completions/sealwright.bash", "completions/_sealwright", "completions/sealwright.fish",
    }, names
    return f"{len(names)} files"


def the_debian_package_is_clean_for_lintian(packages):
    """Without overrides that are not needed."""
    done = subprocess.run(["lintian", "--display-info", "--fail-on", "error,warning", only(packages, "*.deb")], capture_output=True, text=True)
    assert done.returncode == 0 and "unused-override" not in done.stdout, done.stdout + done.stderr
    return "no errors and no warnings"


def packing_twice_gives_the_same_bytes(packages):
    """From the same binary; `packaging/build --rebuild` also compiles it twice."""
    return output(ROOT / "packaging/build", "--check").splitlines()[0]

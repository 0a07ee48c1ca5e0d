"""The verifiers of other people and ours: how each is built and run, and by which rule it caches keys."""

import shutil
import subprocess
from pathlib import Path

HARNESS = Path(__file__).parent / "harness"
OUR_VERIFIERS, OUR_SHARE = 20, 1


class Library:
    """`rule` is how it caches keys by default, and `compressed` how it does when the times of the issuer are divided by N.

    `fetches` says whether a token with an unknown key makes it fetch the keys.
    """

    def __init__(self, name, title, rule, compressed, build, command, fetches=True):
        self.name, self.title, self.rule, self.compressed = name, title, rule, compressed
        self.build, self.command, self.fetches = build, command, fetches


def go(name, title, rule, compressed, **more):
    def build(folder):
        for file in [*(HARNESS / name).iterdir(), HARNESS / "go/lines.go"]:
            shutil.copy(file, folder)
        run(folder, "go", "vet", ".")
        run(folder, "go", "build", "-o", "check", ".")

    return Library(name, title, rule, compressed, build, lambda folder: [folder / "check"], **more)


def java(main, title, rule, compressed):
    def build(folder):
        shutil.copytree(HARNESS / "java", folder, dirs_exist_ok=True)
        run(folder, "mvn", "-B", "-q", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath")

    def command(folder):
        return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"target/classes:{(folder / 'classpath').read_text()}", main]

    return Library(main.lower(), title, rule, compressed, build, command)


def script(name, title, rule, compressed):
    def build(folder):
        shutil.copytree(HARNESS / "js", folder, dirs_exist_ok=True)
        run(folder, "npm", "ci", "--silent", "--no-audit", "--no-fund")

    return Library(name, title, rule, compressed, build, lambda folder: ["node", f"{name}.js"])


def python(name, title, rule, compressed):
    def build(folder):
        shutil.copytree(HARNESS / name, folder, dirs_exist_ok=True)
        run(folder, "python3", "-m", "venv", "venv")
        run(folder, "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt")

    return Library(name, title, rule, compressed, build, lambda folder: [folder / "venv/bin/python", "harness.py"])


LIBRARIES = [
    python("pyjwt", "PyJWT 2.15", "5 min; an unknown `kid` fetches, 30 s after the last fetch at the earliest", "1 s; unknown `kid`: 30 s / N"),
    script("jose", "jose 6.2", "10 min; an unknown `kid` fetches, 30 s after the last fetch at the earliest", "1 s; unknown `kid`: 30 s / N"),
    go("go-oidc", "go-oidc 3.21", "without end; an unknown `kid` fetches at once", "as by default: nothing can be set"),
    go("jwx", "lestrrat-go/jwx 3.3", "`max-age`, 15 min at least; an unknown `kid` does not fetch", "1 s, which it rounds up to 2 s", fetches=False),
    java("Nimbus", "Nimbus JOSE+JWT 10.10", "5 min; an unknown `kid` fetches, twice in 30 s at most", "1 s; unknown `kid`: twice in 30 s / N"),
    java("Spring", "Spring Security 7.1", "5 min; an unknown `kid` fetches at once", "1 s, by a cache of its own; unknown `kid`: at once"),
    script("aws-jwt-verify", "aws-jwt-verify 5.2", "without end; an unknown `kid` fetches, and if it stays unknown, not for 10 s", "without end; 10 s / N"),
]
DEBIAN = {"python3": "python3", "node": "nodejs", "npm": "npm", "go": "golang-go", "java": "openjdk-17-jdk-headless", "mvn": "maven"}


def ours(program):
    return Library(
        "sealwright", f"Sealwright's verifier, {OUR_VERIFIERS} instances", "4/5 of `max-age`; an unknown `kid` fetches, 10 s after the last fetch at the earliest",
        "4/5 of `max-age`; unknown `kid`: 10 s / N", lambda folder: None, lambda folder: [program, str(OUR_VERIFIERS), str(OUR_SHARE)])


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"`{' '.join(command)}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def build_all(root, program):
    """Builds every library below `root`. One that cannot be built fails the part."""
    missing = [f"{name} (Debian: {package})" for name, package in DEBIAN.items() if not shutil.which(name)]
    assert not missing, f"missing: {', '.join(missing)}"
    built = []
    for library in [ours(program), *LIBRARIES]:
        folder = Path(root) / library.name
        folder.mkdir()
        library.build(folder)
        built.append((library, folder))
    return built

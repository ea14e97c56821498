"""The images: linted, pinned, without root or a shell, and with everything in them that they import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.k8s.charts import JOBS, ROOT, container, of_kind, rendered
from tests.k8s.images import DOCKERFILES, Dockerfile, distributions_of, requirements, third_party

MODALITIES = {"vision-encoder": "siglip", "audio-encoder": "whisper", "llm-decoder": "llama"}
COMMANDS = ("checkpoint", "triton")
"""Sub-commands of `trichord` that init containers run out of a Triton image."""

dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda one: one.service)


def test_every_service_has_one() -> None:
    services = {path.name for path in (ROOT / "services").iterdir() if any(path.glob("*/__main__.py"))}
    assert {one.service for one in DOCKERFILES} == services


@dockerfile
def test_lint(dockerfile: Dockerfile) -> None:
    command = [Path(sys.executable).parent / "hadolint", ROOT / "services" / dockerfile.service / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@dockerfile
def test_bases_are_arguments_without_a_default(dockerfile: Dockerfile) -> None:
    """Whoever builds names them by digest: a default would be a tag that moves."""
    arguments = dockerfile.stages["arguments"]
    bases = {one[0].split()[1] for name, one in dockerfile.stages.items() if name != "arguments"}
    outside = {base for base in bases if base not in dockerfile.stages}
    assert {f"ARG {base[2:-1]}" for base in outside} == set(arguments)


@dockerfile
def test_what_is_shipped_is_the_environment_alone(dockerfile: Dockerfile) -> None:
    """No source, no build tool, no pip; a user by number; a list of what is in it; a program to start, no shell."""
    shipped = [name for name in dockerfile.stages if name in ("final", "front", "triton")]
    assert len(shipped) == (2 if dockerfile.service in MODALITIES else 1)
    for name in shipped:
        stage = dockerfile.stages[name]
        copies = [one.split()[-1] for one in stage if one.startswith("COPY ")]
        assert copies == ["/opt/trichord", "/opt/trichord/sbom.cdx.json"]
        assert "USER 10001:10001" in stage
        assert stage[-1].startswith('ENTRYPOINT ["/opt/')
        assert not any("pip" in one for one in stage if one.startswith("RUN "))
    installs = [one for stage in dockerfile.stages.values() for one in stage if "'.[" in one]
    assert all("venv --without-pip /opt/trichord" in one for one in installs)


@dockerfile
def test_the_chart_starts_what_the_image_starts(dockerfile: Dockerfile) -> None:
    deployment = of_kind(rendered("cpu", JOBS), "Deployment")[dockerfile.service]
    front = dockerfile.stages.get("front") or dockerfile.stages["final"]
    (main,) = deployment["spec"]["template"]["spec"]["containers"]
    assert yaml.safe_load(front[-1].removeprefix("ENTRYPOINT ")) == main["command"]
    exposed = {int(port) for one in front if one.startswith("EXPOSE ") for port in one.split()[1:]}
    assert exposed == {port["containerPort"] for port in main["ports"]}
    assert main["image"].split(":")[0] == f"trichord/{dockerfile.service}"
    if "triton" in dockerfile.stages:
        triton = container(deployment, "triton")
        assert yaml.safe_load(dockerfile.stages["triton"][-1].removeprefix("ENTRYPOINT ")) == triton["command"]
        assert triton["image"].split(":")[0] == f"trichord/{dockerfile.service}-triton"


def sources(service: str, stage: str) -> list[Path]:
    """What runs in an image: the package's own process, or a model in Triton and the commands of init containers."""
    folder = ROOT / "services" / service
    if stage == "build":
        tests = sorted((ROOT / "deploy" / "helm" / "trichord" / "files").glob("*.py")) if service == "gateway" else []
        return [*folder.glob("*/__main__.py"), *tests]
    commands = [ROOT / "libs" / "trichord_cli" / f"{name}.py" for name in COMMANDS]
    return [folder / "model_repository" / MODALITIES[service] / "1" / "model.py", *commands]


INSTALLS = [(one, stage) for one in DOCKERFILES for stage in ("build", "triton-build") if stage in one.stages]
install = pytest.mark.parametrize(("dockerfile", "stage"), INSTALLS, ids=[f"{o.service}-{s}" for o, s in INSTALLS])


@install
def test_every_import_is_of_something_installed(dockerfile: Dockerfile, stage: str) -> None:
    """What is imported is asked for by name, not only by what something else asks for."""
    installed = requirements(dockerfile.extras(stage))
    imported = third_party(sources(dockerfile.service, stage))
    missing = {
        name: path
        for name, path in imported.items()
        if name.partition(".")[0] not in sys.stdlib_module_names and not distributions_of(name) & installed
    }
    assert len(imported) > 10
    assert missing == {}


@pytest.mark.parametrize(
    "service", ["gateway", "vision-encoder", "audio-encoder", "llm-decoder", "autoscaler", "job-worker"]
)
def test_no_front_imports_what_models_run_on(service: str) -> None:
    names = {name.partition(".")[0] for name in third_party(sources(service, "build"))}
    assert not names & {"torch", "transformers", "gguf", "huggingface_hub"}


def test_an_import_that_nothing_brings_is_found() -> None:
    """The check itself can fail: the audio encoder's modules in the vision encoder's image."""
    installed = requirements(["vision"])
    imported = third_party(sources("audio-encoder", "build"))
    assert {name for name in imported if name == "soxr"}
    assert not distributions_of("soxr") & installed


def test_the_context_has_what_is_copied() -> None:
    """.dockerignore lets in what the Dockerfiles copy, and no more."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        path
        for one in DOCKERFILES
        for stage in one.stages.values()
        for line in stage
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
    }
    assert copied == let_in
    assert lines.index("*") < min(lines.index(f"!{path}") for path in let_in)


@install
@pytest.mark.images
def test_the_install_line_installs(dockerfile: Dockerfile, stage: str, tmp_path: Path) -> None:
    """In a clean environment of its own the process is imported, and the model repository is there."""
    environment, extras = tmp_path / "trichord", ",".join(dockerfile.extras(stage))
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    run(*pip, f"{ROOT}[{extras}]")
    for path in sources(dockerfile.service, stage):
        if path.name == "__main__.py":
            run(str(python), "-c", f"import {path.parent.name}.__main__")
        elif path.parent.name == "trichord_cli":
            run(str(environment / "bin" / "trichord"), path.stem, "--help")
    if stage == "triton-build":
        run(str(python), "-c", _FIND_REPOSITORY, dockerfile.service.replace("-", "_"))


_FIND_REPOSITORY = """
import sys
from trichord.triton.repository import model_repository
assert list(model_repository(sys.argv[1]).glob("*/1/model.py"))
"""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""What is shipped: wheel and sdist, built, listed, sized, installed and used."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[1]
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return {path.suffix: path for path in folder.iterdir()}


def test_the_wheel_holds_the_package_and_its_weights_alone(built):
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ecgtwin"}
    for part in ("assets/default/model.safetensors", "assets/registry.json", "assets/statements.json"):
        assert f"ecgtwin/{part}" in names
    suffixes = {Path(name).suffix for name in names if ".dist-info/" not in name}
    assert suffixes <= {".py", ".json", ".safetensors", ".md", ".dat", ".hea", ".typed", ""}
    size = built[".whl"].stat().st_size
    print(f"wheel: {len(names)} files, {size / MEGABYTE:.1f} MB")
    assert size < 20 * MEGABYTE


def test_the_sdist_holds_sources_and_tests(built):
    with tarfile.open(built[".gz"]) as sdist:
        names = sdist.getnames()
    inside = {name.split("/", 1)[1] for name in names if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/data/golden.json"} <= inside
    assert not [name for name in inside if name.endswith((".pyc", ".pt", ".bin", ".pkl", ".csv", ".ckpt"))]
    size = built[".gz"].stat().st_size
    print(f"sdist: {len(names)} files, {size / MEGABYTE:.1f} MB")
    assert size < 25 * MEGABYTE


def test_the_wheel_draws_a_twin_where_it_is_installed(built, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(built[".whl"]) as wheel:
        wheel.extractall(site)
    code = (
        "import ecgtwin; from pathlib import Path\n"
        f"assert Path(ecgtwin.__file__).is_relative_to({str(site)!r})\n"
        "print(ecgtwin.ECGTwinGenerator.from_pretrained().sample(None, 'PVC', random_state=0).shape)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "(1, 12, 1000)"

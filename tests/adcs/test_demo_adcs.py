"""`make demo-adcs`: a server in front of the simulated CA, from nothing to a certificate."""

import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.cli import group
from tools.adcs_sim.database import Database


def a_demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.adcs_sim.demo", "--once", "--workdir", folder]
    command += ["--listen", "127.0.0.1:0", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_the_demo_obtains_a_certificate_from_the_simulated_ca(tmp_path):
    done = a_demo(tmp_path / "demo")
    assert (done.returncode, done.stderr) == (0, ""), done
    pem = (tmp_path / "demo/clients/web.demo.test.pem").read_bytes()
    leaf = x509.load_pem_x509_certificate(pem)
    root = x509.load_pem_x509_certificate((tmp_path / "demo/windows-ca.pem").read_bytes())
    leaf.verify_directly_issued_by(root)
    database = Database(tmp_path / "demo/windows-ca/requests.jsonl")
    assert database.issued() == [leaf.public_bytes(Encoding.DER)]
    database.close()
    assert "request      1 at windows-ca" in done.stdout
    assert "attribute    certeasyorder: " in done.stdout
    assert done.stdout.count(f"{sys.executable} -m") == 1  # of the CA, which only a checkout has
    (port,) = re.findall(r"-m tools.adcs_sim .* --mapper-port (\d+)", done.stdout)
    assert f"endpoint-mapper-port: {port}" in (tmp_path / "demo/config.yml").read_text()
    without = CliRunner().invoke(group, ["demo", "--workdir", str(tmp_path / "demo")])
    assert without.exit_code == 1
    told = f"python -m tools.adcs_sim.demo --workdir {tmp_path}/demo"
    assert told in without.stderr


def test_a_folder_of_another_demo_is_left_alone(tmp_path):
    (tmp_path / "config.yml").write_text("authorities: []\n")
    done = a_demo(tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr

#!/bin/sh
# Installs Certeasy from this folder, without Internet, into a folder of its own:
#
#     sh install.sh [FOLDER]        /opt/certeasy unless named; PYTHON=... names another Python
#
# Done again, with a later version's folder, it upgrades; with an earlier one's, it goes back.
set -eu
folder=${1:-/opt/certeasy}
python=${PYTHON:-python@PYTHON@}
here=$(cd "$(dirname "$0")" && pwd)

command -v "$python" >/dev/null || {
  echo "install.sh: there is no $python; these packages are for Python @PYTHON@" >&2
  exit 1
}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$version" != "@PYTHON@" ]; then
  echo "install.sh: $python is Python $version; these packages are for Python @PYTHON@" >&2
  exit 1
fi
"$python" -m venv --upgrade-deps --help >/dev/null || {
  echo "install.sh: $python has no venv; on Debian it is in the package python3-venv" >&2
  exit 1
}
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-index \
  --find-links "$here/wheels" --require-hashes --requirement "$here/requirements.txt"
"$folder/bin/python" -m pip check --disable-pip-version-check
"$folder/bin/certeasy" --version
echo "installed in $folder; next: $folder/bin/certeasy --help"

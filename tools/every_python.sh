#!/bin/sh
# Run the tests on every Python from 3.11 on that is installed here, each in an environment of its own.
set -eu
tried=0
for version in 3.11 3.12 3.13 3.14; do
  python=
  for candidate in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python3; do
    if "$candidate" -c '' 2>/dev/null; then python=$candidate; fi
  done
  if [ -z "$python" ]; then continue; fi
  echo "== Python $version ($python)"
  copy=$(mktemp -d)
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
  make -C "$copy" PYTHON="$python" test
  rm -rf "$copy"
  tried=$((tried + 1))
done
test "$tried" -gt 0

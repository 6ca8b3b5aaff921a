#!/bin/sh
# Installs Corral from this checkout, with its local engines in their locked versions, into a folder of its own.
# usage: container/install.sh FOLDER [cpu|cuda]
set -eu

folder=${1:?usage: container/install.sh FOLDER [cpu|cuda]}
case ${2:-cpu} in
    cpu) lock=run ;;
    cuda) lock=cuda ;;
    *) echo "there is no variant '$2': use cpu or cuda" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."

# Reads text for Kokoro.
command -v espeak-ng >/dev/null 2>&1 || { apt-get update && apt-get install --yes --no-install-recommends espeak-ng; }

python3 -m venv "$folder"
python="$folder/bin/python"
version=$(sed -n 's/^UV_VERSION := //p' Makefile)
"$python" -m pip install --quiet --disable-pip-version-check "uv==$version"
"$folder/bin/uv" pip install --quiet --python "$python" --require-hashes -r "requirements/$lock.lock"
"$folder/bin/uv" pip install --quiet --python "$python" --no-deps --no-build-isolation .
"$folder/bin/corral" --version

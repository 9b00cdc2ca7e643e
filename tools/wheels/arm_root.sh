#!/usr/bin/env bash
# Makes a folder with a Python 3.11 and a torch for 64 bit ARM, which qemu-aarch64 runs: FOLDER/root with packages of the
# distribution (Debian 12), FOLDER/site with wheels. Nothing is installed into this system.
#   tools/wheels/arm_root.sh FOLDER
set -euo pipefail
mkdir -p "$1"
cd "$1"
state=$PWD/apt
mkdir -p "$state"/{lists/partial,cache/archives/partial,debs} root wheels site
touch "$state/status"
options=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::lists=$state/lists"
  -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
(cd "$state/debs" && apt-get "${options[@]}" download libc6 libgcc-s1 libstdc++6 libgomp1 python3.11 python3.11-minimal \
  libpython3.11-minimal libpython3.11-stdlib libssl3 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 \
  libcrypt1)
for package in "$state"/debs/*.deb; do dpkg -x "$package" root; done
python3 -m pip download --quiet --no-deps --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
  --only-binary=:all: --python-version 311 --dest wheels torch==2.6.0 numpy typing_extensions sympy mpmath networkx jinja2 \
  markupsafe fsspec filelock pytest pytest-timeout hypothesis iniconfig packaging pluggy attrs sortedcontainers pygments
for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" site; done
qemu-aarch64 -cpu max,sve=off -L root -E "PYTHONPATH=$PWD/site" root/usr/bin/python3.11 -c 'import torch; print(torch.__version__)'

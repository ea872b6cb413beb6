#!/bin/bash
# tools/setup.sh --debian | --rigs | [--resolve] VENV
# Brings what the project needs: Debian packages (only those that are missing; --debian: no more than these; --rigs: and
# those of the virtual machines and of the station's image), then the virtual environment VENV with the versions of
# tools/constraints.txt. --resolve ignores that file, takes the newest that fit, and writes it anew.
set -euo pipefail
cd -P "$(dirname "$0")/.."

debian_packages=(
    chromium gcc libfribidi0 libpcsclite-dev mosquitto nftables pcscd python3 python3-dev python3-venv strace systemd
    vsmartcard-vpcd zbar-tools
)
rig_packages=(  # make test-long, image and test-image only: 200 MB
    busybox-static cog dbus-daemon device-tree-compiler e2fsprogs fakeroot fdisk gammu gstreamer1.0-gl
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-good kmod mmdebstrap mobile-broadband-provider-info modemmanager
    openssh-server ppp python3-dbus python3-gi qemu-system-arm qemu-system-x86 wpewebkit-driver
)
declare -A units=(  # what these packages would start, and nobody has asked for
    [modemmanager]=ModemManager.service [openssh-server]="ssh.service ssh.socket"
)
constraints=tools/constraints.txt

resolve=
if [[ ${1:-} == --resolve ]]; then resolve=yes; shift; fi
if [[ ${1:-} == --rigs ]]; then debian_packages+=("${rig_packages[@]}"); set -- --debian; fi
venv=${1:?usage: tools/setup.sh --debian | --rigs | [--resolve] VENV}

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

install_debian_packages() {
    local missing=() package root=() found=()
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: bring these yourself: ${debian_packages[*]}"
        return
    fi
    for package in "${debian_packages[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        command -v sudo >/dev/null || fail "run as root: apt-get install ${missing[*]}"
        root=(sudo)
    fi
    say "Debian packages: ${missing[*]}"
    # mosquitto's package starts a broker on port 1883: the demo and the tests do not need it, and leave it alone. Nobody's
    # machine gets an sshd on port 22, or a daemon that talks to its modems, by tests that start their own: where there
    # was none, there is none that starts.
    local idle=()
    for package in "${missing[@]}"; do read -ra found <<<"${units[$package]:-}"; idle+=("${found[@]}"); done
    ((${#idle[@]})) && "${root[@]}" systemctl --quiet --root=/ mask "${idle[@]}"
    { "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
        fail "apt-get could not install: ${missing[*]}. Install them, then run make setup again."
    ((${#idle[@]})) && "${root[@]}" systemctl --quiet --root=/ unmask "${idle[@]}" &&
        "${root[@]}" systemctl --quiet --root=/ disable "${idle[@]}"
    return 0
}

find_python() {
    local python
    for python in python3.11 /usr/bin/python3.11 python3; do
        if "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    fail "no Python 3.11 or later with venv. On Debian 12: apt-get install python3 python3-venv"
}

make_venv() {
    local python
    # pip's location is checked too: a tree that was copied with its environment has scripts that run the old one.
    if [[ $resolve || $(sed -n 's/^#!//p;q' "$venv/bin/pip" 2>/dev/null) != "$PWD/$venv/bin/python"* ]]; then
        python=$(find_python)
        say "$venv, with $("$python" --version)"
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
}

install_python_packages() {
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check -qq)
    if [[ $resolve ]]; then
        "${pip[@]}" install --editable '.[dev,device,flash,framebuffer,modbus,modemmanager,pcsc]'
        { echo "# Written by make constraints: the versions that make setup installs."
          "${pip[@]}" freeze --exclude-editable; } >"$constraints"
        say "$constraints: $(grep -c == "$constraints") packages"
    else
        say "Python packages of pyproject.toml [dev] into $venv, versions of $constraints"
        PIP_CONSTRAINT=$constraints "${pip[@]}" install --editable '.[dev]'
        PIP_CONSTRAINT=$constraints "${pip[@]}" install --editable '.[pcsc]' 2>/dev/null ||
            say "pyscard has no wheel for Linux and could not be built: the tests of PC/SC readers are skipped"
    fi
}

compile_ours() {  # as a build brings it: a process that compiles all of it at its start stays 7 MB larger
    "$venv/bin/python" -m compileall -q -j 0 agent board tools
}

install_wasm() {  # for one test, which is skipped without it; the lock file holds its hash
    if ! command -v npm >/dev/null; then
        say "no npm: without MicroPython's WebAssembly build (apt-get install nodejs npm, if you want it)"
        return
    fi
    mkdir -p "$venv/wasm"
    cp tools/wasm/package.json tools/wasm/package-lock.json "$venv/wasm/"
    npm ci --prefix "$venv/wasm" --ignore-scripts --no-audit --no-fund --silent ||
        say "npm could not bring MicroPython's WebAssembly build; its test will be skipped"
}

install_debian_packages
if [[ $venv == --debian ]]; then exit; fi
make_venv
install_python_packages
compile_ours
install_wasm
touch "$venv/.stamp"
say "done"

# shellcheck shell=bash
# Sourced by what takes packages out of Debian's suites without installing them. The caller has
# `die` and $work, an empty directory for apt's files.
#
#   use_suite SUITE [deb-src]   the suite that apt knows from here on; with its sources
#   apt get|cache ARGUMENT...   an apt of our own, which thinks nothing is installed. The machine's
#                               lists, sources and packages are left alone; its apt.conf holds
#   arch                        set it to take packages of another architecture than this machine's
#   MOODLOOP_DEBIAN_MIRROR=URL  from where (apt's mirror on a Debian, else https://deb.debian.org/debian)

command -v apt-get >/dev/null || die "apt-get is needed, which Debian and its kin have."
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keyring ] || die "$keyring is missing: install debian-archive-keyring."
arch=$(dpkg --print-architecture)

# shellcheck source=/dev/null
. /etc/os-release
mirror=${MOODLOOP_DEBIAN_MIRROR:-}
if [ -z "$mirror" ] && [ "$ID" = debian ]; then
    mirror=$(apt-get update --print-uris |
        sed -n "s,^'\(.*\)/dists/$VERSION_CODENAME/InRelease'.*,\1,p" | head -n1)
fi
mirror=${mirror:-https://deb.debian.org/debian}

apt() {
    local command=$1
    shift
    "apt-$command" -qq -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" \
        -o Dir::Cache="$work/apt" -o Dir::Etc::sourcelist="$work/apt/sources" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User="$(id -un)" \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
        -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

use_suite() {
    local wanted="$*" suite=$1 kind=${2:-deb}
    [ "$(cat "$work/suite" 2>/dev/null || true)" != "$wanted" ] || return 0
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
    : >"$work/apt/status"
    echo "$kind [signed-by=$keyring] $mirror $suite main" >"$work/apt/sources"
    # experimental holds only what differs from sid
    [ "$suite" != experimental ] ||
        echo "$kind [signed-by=$keyring] $mirror sid main" >>"$work/apt/sources"
    apt get update && echo "$wanted" >"$work/suite"
}

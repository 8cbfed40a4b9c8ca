# The Debian packages that strata needs, and how to get them: sourced after common.sh, not run.

packages_build=(gcc libc6-dev cmake ninja-build pkg-config libhwloc-dev libopenblas0
    libpcre2-dev libutf8proc-dev libxxhash-dev libjansson-dev liblmdb-dev libserd-dev libzstd-dev
    zlib1g-dev)
packages_fetch=(python3-pip ca-certificates)
packages_bench=(g++ libbenchmark-dev python3-venv)
packages_test=(ccache libcmocka-dev libsimde-dev clang-format-14 valgrind python3-matplotlib)
packages_full_test=(clang libclang-rt-14-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)

# need_packages yes|no PACKAGE...: installs what is missing (yes) or ends the script with the list
# of it (no).
need_packages()
{
    local install=$1 package missing=() as_root=()
    shift
    if ! command -v dpkg-query >/dev/null; then
        say "This is not Debian: please see to these packages or their like yourself:"
        say "  $*"
        return
    fi
    for package; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null |
            grep -x installed >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$install" = no ]; then
        die "missing Debian packages: ${missing[*]}
Install them (apt-get install --no-install-recommends ${missing[*]}), or run without --no-install."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "missing Debian packages, and neither root nor sudo to install them: ${missing[*]}"
        as_root=(sudo)
    fi
    say "Installing Debian packages${as_root:+ with sudo}: ${missing[*]}"
    "${as_root[@]}" apt-get -qq update || say "apt-get update failed; going on with the old lists"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
        --no-install-recommends install "${missing[@]}" >&2 ||
        die "apt-get could not install: ${missing[*]}"
}

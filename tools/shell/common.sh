# Shared by the scripts of tools/: sourced, not run.

# The top of the source tree.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# say WORD...: a line for the user.
say()
{
    printf '%s\n' "$*" >&2
}

# die WORD...: a message that begins with the script's name, and exit status 1.
die()
{
    say "${0##*/}: $*"
    exit 1
}

# wrong_usage WORD...: the same with exit status 2.
wrong_usage()
{
    say "${0##*/}: $* (--help shows the usage)"
    exit 2
}

# model_folder: prints the folder that the command `strata` looks for models in.
model_folder()
{
    local home=${STRATA_HOME:-${XDG_CACHE_HOME:+$XDG_CACHE_HOME/strata}}
    home=${home:-${HOME:+$HOME/.cache/strata}}
    [ -n "$home" ] ||
        die "none of STRATA_HOME, XDG_CACHE_HOME and HOME is set: nowhere to put models"
    printf '%s/models\n' "$home"
}

# choose_build_tools: ninja and ccache for builds that cmake configures from now on, where present.
choose_build_tools()
{
    if command -v ninja >/dev/null; then
        export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
    fi
    if command -v ccache >/dev/null; then
        export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
    fi
}

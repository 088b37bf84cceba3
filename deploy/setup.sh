#!/bin/sh
# Makes the virtual environment DIR with csro and its pinned dependencies. Usage: PYTHON=python3 sh deploy/setup.sh DIR
set -eu
dir=$1
here=$(dirname "$0")
python=${PYTHON:-python3}
say() { printf '%s\n' "csro set-up: $*" >&2; }

works() { "$dir/bin/python" -c 'import pip' 2>/dev/null; }
# What is to be installed, and the Python and the C compiler for which it is.
state() {
    {
        cat pyproject.toml constraints.txt sandbox/plain_rounds.c && "$dir/bin/python" -V
        command -v cc || echo "no C compiler"
    } | cksum
}
if works && [ "$(cat "$dir/.installed" 2>/dev/null)" = "$(state)" ]; then
    say "nothing new to install"
    exit 0
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    say "need Python 3.11 or newer as '$python' (set PYTHON=/path/to/python3.11)"
    exit 1
}
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    sh "$here/system_package.sh" python3-venv
fi
works || { # the links to a Python that is gone stay in the way of new ones
    rm -f "$dir/bin/python"*
    "$python" -m venv "$dir"
}
rm -f "$dir/.installed" # an interrupted installation is none
command -v cc >/dev/null || { sh "$here/system_package.sh" gcc && sh "$here/system_package.sh" libc6-dev; } || true
rm -f sandbox/_plain_rounds.*
say "installing dependencies (a few minutes the first time)"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
"$dir/bin/python" -c 'from sandbox import plain_rounds; raise SystemExit(plain_rounds.library() is None)' 2>/dev/null ||
    say "the compiled rounds are not built (no C compiler?): csro works without, fast programs take a tenth longer to play"
# Ray's agents miss their start-up deadline when they must compile bytecode first.
"$dir/bin/python" -m compileall -q -j 0 "$dir/lib" >/dev/null 2>&1 || true
state >"$dir/.installed"
say "done"

#!/bin/sh
# Provides what building needs besides Rust: Python, make, a C++ compiler, cmake and libclang (llama.cpp is C++, and its bindings are
# generated from its headers), and ccache, which only saves time.
#
# Where this script may use apt (Debian and its kin, as root or with a sudo that asks for no password) it installs what is missing as
# packages. Elsewhere cmake and libclang come by pip into target/tools, and nothing outside of it changes. Either way it writes
# target/tools/env.sh, which the Makefile reads before each build:
#
#     . target/tools/env.sh && cargo build --workspace
#
# There it also says what this machine's processor can do: llama.cpp chooses its instructions when it is compiled, and generates up to
# half as fast again with AVX-512. A binary built so refuses to run llama.cpp where they are missing.
#
# MINIVAULT_SETUP=pip keeps it from using apt. MINIVAULT_PORTABLE=1 builds llama.cpp for every processor with AVX2.
set -eu
cd "$(dirname "$0")/.."
. tools/apt.sh
tools=$PWD/target/tools
packages=$tools/python

say() { echo "setup: $*" >&2; }
give_up() {
    say "$*"
    exit 1
}
cxx_compiler() { has "${CXX:-c++}" || has g++ || has clang++; }

# The folders where bindgen looks for it, too.
has_libclang() {
    for folder in ${LIBCLANG_PATH:+"$LIBCLANG_PATH"} $(llvm-config --libdir 2>/dev/null || true) /usr/lib/llvm*/lib /usr/lib/*-linux-gnu \
        /usr/lib64 /usr/lib64/llvm*/lib /usr/lib /usr/local/lib /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib \
        /Library/Developer/CommandLineTools/usr/lib; do
        for file in "$folder"/libclang.so* "$folder"/libclang-[0-9]*.so* "$folder"/libclang.dylib; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

# stddef.h and the like: clang's package of headers is one of its own.
has_clang_headers() {
    for file in /usr/lib/llvm*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h \
        /opt/homebrew/opt/llvm/lib/clang/*/include/stddef.h /Library/Developer/CommandLineTools/usr/lib/clang/*/include/stddef.h; do
        [ -e "$file" ] && return 0
    done
    return 1
}

has_pip() { python3 -c 'import importlib.util as u; raise SystemExit(u.find_spec("pip") is None)' 2>/dev/null; }
pip_cmake=$packages/cmake/data/bin
pip_libclang=$packages/clang/native
has_pip_cmake() { [ -x "$pip_cmake/cmake" ]; }
has_pip_libclang() { [ -e "$pip_libclang/libclang.so" ] || [ -e "$pip_libclang/libclang.dylib" ]; }

# What to install, as Debian names it: first what has to be there, then what only helps. pip also fetches the fallback's model.
required() {
    has make || echo make
    cxx_compiler || echo g++
    has python3 || echo python3
    has cmake || has_pip_cmake || echo cmake
    has_libclang || has_pip_libclang || echo libclang-dev
}
helpful() {
    has python3 && has_pip || echo python3-pip
    has ccache || echo ccache
}

# The options of llama.cpp's build for this processor, beyond AVX2 and as far as the compiler knows them.
processor_options() {
    [ -z "${MINIVAULT_PORTABLE:-}" ] && [ "$(uname -m)" = x86_64 ] && [ -r /proc/cpuinfo ] || return 0
    abilities=" $(sed -n 's/^flags[^:]*: *//p;T;q' /proc/cpuinfo) "
    offer_option GGML_AVX512 avx512f avx512cd avx512vl avx512dq avx512bw || return 0
    offer_option GGML_AVX512_VBMI avx512vbmi || true
    offer_option GGML_AVX512_VNNI avx512_vnni || true
    offer_option GGML_AVX512_BF16 avx512_bf16 || true
}
# offer_option OPTION ABILITY...: as the kernel names them; the compiler's names have no underscores.
offer_option() {
    option=$1
    shift
    switches=
    for ability; do
        case $abilities in *" $ability "*) switches="$switches -m$(echo "$ability" | tr -d _)" ;; *) return 1 ;; esac
    done
    # shellcheck disable=SC2086 # Several switches are several words.
    echo 'int main() {}' | "${CXX:-c++}" $switches -x c++ -fsyntax-only - 2>/dev/null && echo "$option"
}

install_by_apt() {
    say "installing by apt: $*"
    apt_install "$log" "$@" || {
        tail -n 5 "$log" >&2
        say "apt couldn't install them (all it said is in $log)"
    }
}

# A folder of our own: --target never touches what the system or the user has installed, and no virtual environment is needed for it.
pip_install() {
    if ! has_pip && [ ! -x "$tools/venv/bin/pip" ]; then
        python3 -m venv "$tools/venv" >"$log" 2>&1 ||
            give_up "python3 has neither pip nor venv, so $* can't be installed without root. As root: apt-get install $wanted"
    fi
    python=python3
    has_pip || python=$tools/venv/bin/python3
    say "installing by pip into target/tools/python: $*"
    "$python" -m pip install --quiet --no-input --disable-pip-version-check --only-binary :all: --upgrade --target "$packages" "$@" \
        </dev/null >"$log" 2>&1 || tail -n 5 "$log" >&2
}

has cargo || give_up "there is no cargo on the PATH; Rust comes from https://rustup.rs"
mkdir -p "$tools"
log=$tools/install.log
wanted=$(required | tr '\n' ' ')
if [ -n "$wanted" ] || [ ! -e "$tools/env.sh" ]; then
    [ -z "$wanted" ] || say "missing: $wanted(llama.cpp is built with a C++ compiler and cmake; libclang reads its headers)"
    wished=$(helpful | tr '\n' ' ')
    # shellcheck disable=SC2086 # Several packages are several words.
    if [ -n "$wanted$wished" ] && may_use_apt; then install_by_apt $wanted $wished; fi
fi
wanted=$(required | tr '\n' ' ')
for package in $wanted; do
    case $package in
    cmake) pip_install 'cmake>=3.28,<5' ;;
    libclang-dev) pip_install 'libclang>=16' ;;
    esac
done
# What counts is what is there now, not what an installer said of itself.
wanted=$(required | tr '\n' ' ')
[ -z "$wanted" ] || give_up "still missing: $wanted. As root: apt-get install $wanted"

{
    echo "# Written by tools/setup.sh: what cargo needs to know to build llama.cpp here."
    # Once installed they stay in use: another compiler or libclang would make cargo build llama.cpp again.
    if [ -x "$tools/venv/bin/python3" ]; then echo "PATH='$tools/venv/bin':\$PATH; export PATH"; fi
    if has_pip_cmake; then echo "PATH='$pip_cmake':\$PATH; export PATH"; fi
    if has_pip_libclang; then echo "LIBCLANG_PATH='$pip_libclang'; export LIBCLANG_PATH"; fi
    # The package has no headers, and libclang looks for them beside itself only.
    if { has_pip_libclang || ! has_clang_headers; } && [ -z "${BINDGEN_EXTRA_CLANG_ARGS:-}" ] && has gcc; then
        echo "BINDGEN_EXTRA_CLANG_ARGS='-I$(gcc -print-file-name=include)'; export BINDGEN_EXTRA_CLANG_ARGS"
    fi
    for option in $(processor_options); do echo "$option=ON; export $option"; done
} >"$tools/env.sh.new"
# cargo notices options that change or go, but not those that come: then it has to forget the llama.cpp that was built without.
target=${CARGO_TARGET_DIR:-target}
if [ -d "$target/debug/build" ] && grep '^GGML_' "$tools/env.sh.new" >/dev/null && ! grep '^GGML_' "$tools/env.sh" >/dev/null 2>&1; then
    say "llama.cpp will be built anew, for this processor"
    cargo clean --quiet --package llama-cpp-sys-2
fi
mv "$tools/env.sh.new" "$tools/env.sh"

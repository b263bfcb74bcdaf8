#!/bin/sh
# Installs what the suites need into FOLDER (target/compat): install.sh FOLDER [STEP...]
#
#     python      the Python clients and suites, in a virtual environment (1 GB)
#     instructor  instructor, in an environment of its own
#     node        the Node clients
#     openai      openai-python's own tests, out of its source package
#     llama       llama.cpp's server tests, out of llama-cpp-python's source package
#
# Versions are pinned beside this script. A step is done again when what it installs has changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/done" "$1/source"
folder=$(cd "$1" && pwd)
shift
pip="-m pip --quiet --disable-pip-version-check"

environment() {
    [ -x "$folder/$1/bin/python" ] || python3 -m venv "$folder/$1"
    "$folder/$1/bin/python" $pip install -r "$here/$2"
}
python_inputs() { cat "$here/requirements.txt"; }
install_python() { environment venv requirements.txt; }

instructor_inputs() { cat "$here/instructor.txt"; }
install_instructor() { environment instructor instructor.txt; }

node_inputs() { cat "$here/clients/package.json"; }
install_node() {
    mkdir -p "$folder/node"
    cp "$here/clients/package.json" "$folder/node/"
    (cd "$folder/node" && npm install --silent --no-audit --no-fund </dev/null)
}

openai_inputs() { grep '^openai==' "$here/requirements.txt"; }
install_openai() {
    version=$(openai_inputs)
    "$folder/venv/bin/python" $pip download --no-deps --no-binary :all: --dest "$folder/source" "$version"
    rm -rf "$folder/openai"
    mkdir "$folder/openai"
    # Without its src folder: the tests are to import what is installed.
    tar -xzf "$folder/source/openai-${version#*==}.tar.gz" -C "$folder/openai" --strip-components=1 --wildcards '*/tests' '*/pyproject.toml'
}

llama_inputs() { echo llama-cpp-python==0.3.36; }
install_llama() {
    version=$(llama_inputs)
    archive=$folder/source/llama_cpp_python-${version#*==}.tar.gz
    # 77 MB; the benchmark has it already where it was run.
    other=$folder/../bench/source/$(basename "$archive")
    [ -e "$archive" ] || [ ! -e "$other" ] || cp "$other" "$archive"
    [ -e "$archive" ] || "$folder/venv/bin/python" $pip download --no-deps --no-binary :all: --dest "$folder/source" "$version"
    rm -rf "$folder/llama.cpp"
    mkdir "$folder/llama.cpp"
    tar -xzf "$archive" -C "$folder/llama.cpp" --strip-components=3 --wildcards '*/vendor/llama.cpp/tools/server/tests' '*/vendor/llama.cpp/models/templates'
}

[ $# -gt 0 ] || set -- python instructor node openai llama
for step; do
    sum=$("${step}_inputs" | cksum)
    if [ ! -e "$folder/done/$step" ] || [ "$(cat "$folder/done/$step")" != "$sum" ]; then
        echo "compat: installing: $step" >&2
        "install_$step"
        echo "$sum" >"$folder/done/$step"
    fi
done

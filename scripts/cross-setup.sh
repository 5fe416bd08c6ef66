#!/bin/bash
# Prepares a Debian 12 x86_64 machine to lint this library for targets it cannot run.
#
#   scripts/cross-setup.sh [--link] [TARGET...]
#
# rustup's prebuilt standard libraries may be out of reach (a mirror without them, a closed
# network), so Debian's own rustc is used, together with the library source that Debian ships
# for exactly that compiler. For each TARGET the standard library is checked, not compiled:
# its metadata is all that `cargo check` and `cargo clippy` read. With --link it is compiled,
# and linkers are installed: zig for macOS and FreeBSD, GNU's cross compiler for aarch64 Linux.
#
# Safe to run again: what is there already is left alone, and then it takes under a second.
# Afterwards, for any Cargo project:
#   PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc cargo clippy --lib --target TARGET
set -euo pipefail

readonly DEFAULT_TARGETS=(
    x86_64-unknown-freebsd
    aarch64-apple-darwin
    x86_64-apple-darwin
    aarch64-unknown-linux-gnu
)
readonly RUST_PACKAGES=(rustc-web rust-web-src cargo-web rust-web-clippy)
readonly LINK_PACKAGES=(file python3-venv)
readonly LINK_PACKAGES_AARCH64_LINUX=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
readonly SYSROOT=/usr/lib/rustlib
readonly WORK=${SIDELOAD_CROSS_DIR:-/var/cache/sideload-cross}
export ZIG_VENV=${ZIG_VENV:-/opt/zig-venv}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

say() { echo "cross-setup: $*"; }
die() { say "error: $*" >&2; exit 1; }

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

install_packages() {
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    [[ $EUID -eq 0 ]] || die "not root; install these packages first: ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null
}

install_zig() {
    "$ZIG_VENV/bin/python" -m ziglang version >/dev/null 2>&1 && return
    say "installing zig into $ZIG_VENV"
    python3 -m venv "$ZIG_VENV"
    "$ZIG_VENV/bin/pip" install -q --disable-pip-version-check ziglang
}

library_source() {
    local release
    release=$(/usr/bin/rustc --version | cut -d' ' -f2)
    local source=/usr/src/rustc-$release/library
    [[ -d $source ]] || die "$source is missing: rust-web-src does not match rustc $release"
    echo "$source"
}

# A standard library is good only for the compiler that made it; `build` also serves `check`.
std_is_current() {
    local target=$1 verb=$2 stamp=$SYSROOT/$1/lib/sideload-std
    [[ -f $stamp ]] || return 1
    local have_verb have_compiler
    { read -r have_verb && read -r have_compiler; } <"$stamp" || return 1
    [[ $have_compiler == "$compiler" ]] && [[ $have_verb == "$verb" || $have_verb == build ]]
}

# A tree of links to Debian's source, writable where an edit is needed: without libstd.so no
# target needs a linker for its standard library.
prepare_source() {
    local source=$1
    rm -rf "$WORK/library"
    cp -rs "$source" "$WORK/library"
    sed -i 's/^crate-type = .*/crate-type = ["rlib"]/' "$WORK"/library/{std,test}/Cargo.toml
}

# The flags are those rustc's own bootstrap uses for a standard library with unwinding.
# Debian's compiler is a stable one: RUSTC_BOOTSTRAP lets the library use its own features.
compile_std() {
    local target=$1 verb=$2
    env -u RUSTUP_TOOLCHAIN -u CARGO_ENCODED_RUSTFLAGS \
        RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc \
        RUSTFLAGS="-Cforce-unwind-tables=yes -Cembed-bitcode=no -Zforce-unstable-if-unmarked -Cpanic=unwind" \
        __CARGO_DEFAULT_LIB_METADATA=sideload \
        CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=4 \
        /usr/bin/cargo "$verb" --release --locked --package sysroot \
        --features "panic-unwind backtrace" \
        --manifest-path "$WORK/library/Cargo.toml" \
        --target "$target" --target-dir "$WORK/target"
}

install_std() {
    local target=$1 verb=$2 start=$SECONDS
    local lib=$SYSROOT/$target/lib log=$WORK/$target.log kind=rmeta
    [[ $verb == check ]] || kind=rlib
    rm -rf "$lib" "$WORK/target/$target"
    if ! compile_std "$target" "$verb" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "the standard library for $target does not $verb (whole log: $log)"
    fi
    mkdir -p "$lib"
    cp "$WORK/target/$target/release/deps/"*."$kind" "$lib/"
    printf '%s\n%s\n' "$verb" "$compiler" >"$lib/sideload-std"
    say "$target: standard library installed ($verb, $((SECONDS - start)) s)"
}

main() {
    local verb=check targets=() target
    for argument in "$@"; do
        case $argument in
        --link) verb=build ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
        -*) die "unknown option $argument (see --help)" ;;
        *) targets+=("$argument") ;;
        esac
    done
    [[ ${#targets[@]} -gt 0 ]] || targets=("${DEFAULT_TARGETS[@]}")
    [[ $(uname -sm) == "Linux x86_64" && -x /usr/bin/dpkg-query ]] ||
        die "made for Debian on x86_64; elsewhere, 'rustup target add' gives the same"

    # Two runs at once would remove each other's work; the second finds it done.
    mkdir -p "$WORK"
    exec 9>"$WORK/lock"
    flock 9

    install_packages "${RUST_PACKAGES[@]}"
    if [[ $verb == build ]]; then
        install_packages "${LINK_PACKAGES[@]}"
        for target in "${targets[@]}"; do
            [[ $target != aarch64-unknown-linux-gnu ]] || install_packages "${LINK_PACKAGES_AARCH64_LINUX[@]}"
        done
        install_zig
    fi

    compiler=$(/usr/bin/rustc --version)
    readonly compiler
    local needed=()
    for target in "${targets[@]}"; do
        std_is_current "$target" "$verb" || needed+=("$target")
    done
    if [[ ${#needed[@]} -gt 0 ]]; then
        prepare_source "$(library_source)"
        for target in "${needed[@]}"; do install_std "$target" "$verb"; done
        # What was compiled against the old library cannot be mixed with the new one (E0460).
        rm -rf "${CARGO_TARGET_DIR:-$here/../target}/cross"
    fi
    say "ready: ${targets[*]}"
}

main "$@"

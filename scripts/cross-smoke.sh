#!/bin/bash
# Proves that scripts/cross-setup.sh --link did its work: checks, builds and links a program that
# opens a library with ours, and uses every dependency of it, for each target.
#
#   scripts/cross-smoke.sh [TARGET...]
#
# What was built stays in CARGO_TARGET_DIR, if that is set.
set -euo pipefail

readonly DEFAULT_TARGETS=(
    x86_64-unknown-freebsd
    aarch64-apple-darwin
    x86_64-apple-darwin
    aarch64-unknown-linux-gnu
)
export ZIG_VENV=${ZIG_VENV:-/opt/zig-venv}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly here work output=${CARGO_TARGET_DIR:-$work/target}

write_crate() {
    mkdir -p "$work/src"
    cat >"$work/Cargo.toml" <<TOML
[package]
name = "smoke"
edition = "2024"

[dependencies]
goblin = "0.10"
libc = "0.2"
memmap2 = "0.9"
region = "3"
sideload = { path = "$(dirname "$here")" }
thiserror = "2"
TOML
    cat >"$work/src/main.rs" <<'RUST'
#[derive(Debug, thiserror::Error)]
#[error("no page size")]
struct NoPageSize;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: sysconf takes no pointer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if page <= 0 || region::page::size() == 0 {
        return Err(NoPageSize.into());
    }
    let map = memmap2::MmapMut::map_anon(page as usize)?;
    let is_elf = goblin::elf::Elf::parse(&map).is_ok();
    let sum = std::thread::spawn(move || map.iter().map(|&b| u64::from(b)).sum::<u64>());
    println!("{is_elf} {:?}", sum.join());
    if let Some(name) = std::env::args().nth(1) {
        // SAFETY: whoever names it vouches for its initialisers.
        let library = unsafe { sideload::Library::open(&name) }?;
        // SAFETY: as above, and nothing is done with it.
        println!("{}", unsafe { library.get::<extern "C" fn()>("answer") }.is_ok());
    }
    Ok(())
}
RUST
}

linker_for() {
    case $1 in
    aarch64-unknown-linux-gnu) echo aarch64-linux-gnu-gcc ;;
    *-apple-darwin) zig_linker "${1%%-*}-macos" ;;
    *-unknown-freebsd) zig_linker "${1%%-*}-freebsd" ;;
    *) echo "cross-smoke: no linker known for $1" >&2; return 1 ;;
    esac
}

zig_linker() {
    ln -sf "$here/zigcc" "$work/zigcc-$1"
    echo "$work/zigcc-$1"
}

debian_cargo() {
    env -u RUSTUP_TOOLCHAIN PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc \
        CARGO_TARGET_DIR="$output" SDKROOT="$SDKROOT" \
        /usr/bin/cargo "$@" --quiet --manifest-path "$work/Cargo.toml"
}

smoke() {
    local target=$1 start=$SECONDS linker variable
    linker=$(linker_for "$target")
    variable=CARGO_TARGET_${target//-/_}_LINKER
    variable=${variable^^}
    debian_cargo clippy --target "$target"
    export "$variable=$linker"
    debian_cargo build --target "$target"
    file --brief "$output/$target/debug/smoke" | cut -c1-72
    echo "cross-smoke: $target: linted and linked ($((SECONDS - start)) s)"
}

# rustc asks xcrun for the SDK otherwise; zig brings the macOS stubs itself.
SDKROOT=$("$ZIG_VENV/bin/python" -c 'import ziglang, os; print(os.path.dirname(ziglang.__file__))')/lib/libc/darwin
write_crate
[[ $# -gt 0 ]] || set -- "${DEFAULT_TARGETS[@]}"
for target in "$@"; do smoke "$target"; done

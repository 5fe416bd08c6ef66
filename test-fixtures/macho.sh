#!/bin/bash
# Builds the Mach-O fixtures from src/macho into bin/macho, on Linux. Run it after a change of a source, and check in
# what it made. Needs Debian's clang-19, lld-19 and llvm-19, and a Python (PY=…) with the package `ziglang`, whose
# Darwin headers and libSystem.tbd are used.
set -eu
cd "$(dirname "$0")"
SRC=$PWD/src/macho OUT=${1:-$PWD/bin/macho} TMP=$(mktemp -d) PY=${PY:-python3} V=-19
trap 'rm -rf "$TMP"' EXIT
mkdir -p "$OUT"
rm -f "$OUT"/*
ZIG=$($PY -c 'import ziglang,os;print(os.path.dirname(ziglang.__file__))')/lib
# lld rejects arm64e.x1-*, and the file has no plain arm64.
sed 's/arm64e\.x1-/arm64-/g' "$ZIG/libc/darwin/libSystem.tbd" >"$TMP/libSystem.tbd"
# Where lld looks for what a flat namespace has to know in all its parts.
mkdir -p "$TMP/root/usr/lib" && cp "$TMP/libSystem.tbd" "$TMP/root/usr/lib/libSystem.B.tbd"

compile() { # arch version object source [flags]
  local arch=$1 version=$2 object=$3 source=$4
  shift 4
  local compiler=(clang$V)
  case $source in
  *.cpp) compiler=(clang++$V -std=c++17 -nostdinc++) ;;
  *.m) compiler=(clang$V "-fobjc-runtime=macosx-$version") ;;
  esac
  case $source in exception.cpp | *.m | *.c) ;; *) compiler+=(-fno-exceptions -fno-rtti) ;; esac
  "${compiler[@]}" -target "$arch-apple-macos$version" -O1 -fPIC "$@" -c "$SRC/$source" -o "$object"
}
dylib() { # arch version tag name source [cflags] -- [ldflags]
  local arch=$1 version=$2 tag=$3 name=$4 source=$5 cflags=()
  shift 5
  while [ $# -gt 0 ] && [ "$1" != -- ]; do cflags+=("$1") && shift; done
  [ $# -eq 0 ] || shift
  local kind=(-dylib -install_name "@rpath/$name-$tag.dylib")
  case " $* " in *" -bundle "*) kind=() ;; esac
  compile "$arch" "$version" "$TMP/$name-$tag.o" "$source" ${cflags[@]+"${cflags[@]}"}
  ld64.lld$V -arch "$arch" -platform_version macos "$version" "$version" -o "$OUT/$name-$tag.dylib" ${kind[@]+"${kind[@]}"} \
    "$TMP/$name-$tag.o" "$@" "$TMP/libSystem.tbd" 2> >(grep -v 'newer than target minimum' >&2 || true)
}

# What makes lld choose opcodes or chains is the oldest system that the image is for.
for config in "x86_64 10.9 x64-old" "x86_64 13.0 x64-chained" "arm64 11.0 a64-old" "arm64 13.0 a64-chained"; do
  read -r arch version tag <<<"$config"
  make() { dylib "$arch" "$version" "$tag" "$@"; }
  here=(-rpath @loader_path/.)
  make rebase rebase.c
  make bind bind.c
  make addend_table addend_table.c
  make addend addend.c -- "$OUT/addend_table-$tag.dylib" "${here[@]}"
  make init init.c
  make tlv tlv.c
  make cxx cxx.cpp -- "$SRC/libcxx.tbd"
  make dep_base dep_base.c
  make dep dep.c -- "$OUT/dep_base-$tag.dylib" "${here[@]}" -undefined dynamic_lookup
  make weak_one weak_one.cpp -- "$SRC/libcxx.tbd"
  make weak_two weak_two.cpp -- "$OUT/weak_one-$tag.dylib" "$SRC/libcxx.tbd" "${here[@]}"
  case $tag in a64-old) continue ;; esac
  make umbrella umbrella.c -- -reexport_library "$OUT/dep_base-$tag.dylib" "${here[@]}"
  make reexport reexport.c -- "$OUT/umbrella-$tag.dylib" "${here[@]}"
  make bundle bundle.c -- -bundle -undefined dynamic_lookup
  make exception exception.cpp -- "$SRC/libcxx.tbd"
  case $tag in a64-*) continue ;; esac
  make mutex mutex.cpp -- "$SRC/libcxx.tbd"
  make fini fini.c
  make system system.c
  make plugin plugin.c
  make items items.s
  make routine routine.c -- -headerpad 0x100
  make term term.c
  make chosen chosen.c
  make resolver resolver.c -- "$OUT/chosen-$tag.dylib" "${here[@]}"
  # Two that need each other: the first of them is made twice.
  make above above.c -- -undefined dynamic_lookup
  make below below.c -- "$OUT/above-$tag.dylib" "${here[@]}"
  make above above.c -- "$OUT/below-$tag.dylib" "${here[@]}"
  make ordinals ordinals.c -- -undefined dynamic_lookup
  make flat flat.c -- -flat_namespace -syslibroot "$TMP/root" "$OUT/dep_base-$tag.dylib" "${here[@]}"
  dylib "$arch" "$version" "missing-$tag" umbrella umbrella.c
  make optional optional.c -- -weak_library "$OUT/umbrella-missing-$tag.dylib" "${here[@]}"
  rm "$OUT/umbrella-missing-$tag.dylib"
  make objc objc.m -- "$SRC/libobjc.tbd"
done
# Chained imports with addends of 32 and of 64 bits, and offsets of initialisers without chains.
dylib x86_64 13.0 x64-huge addend addend.c -DHUGE -- "$OUT/addend_table-x64-chained.dylib" -rpath @loader_path/.
dylib arm64 13.0 a64-huge addend addend.c -DHUGE -- "$OUT/addend_table-a64-chained.dylib" -rpath @loader_path/.
dylib x86_64 10.15 x64-offsets init init.c -- -init_offsets
# Universal files.
for name in rebase init; do
  llvm-lipo$V -create "$OUT/$name-x64-chained.dylib" "$OUT/$name-a64-chained.dylib" -output "$OUT/$name-fat.dylib"
done
llvm-lipo$V -create "$OUT/rebase-x64-old.dylib" "$OUT/rebase-a64-chained.dylib" -fat64 -output "$OUT/rebase-fat64.dylib"
chmod a-x "$OUT"/*

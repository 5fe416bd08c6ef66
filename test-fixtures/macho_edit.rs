//! Edits of Mach-O images, for what the linkers at hand do not make: other formats of chained pointers, several chains
//! a page, and rows that only other compilers emit.

/// One image, with what an edit needs to find. Offsets are of the file.
#[derive(Clone, Debug)]
pub struct MachOEdit {
    bytes: Vec<u8>,
}

/// `LC_…` numbers that edits look for.
pub mod lc {
    #![allow(missing_docs)]
    pub const DYSYMTAB: u32 = 0xb;
    pub const LOAD_DYLIB: u32 = 0xc;
    pub const SEGMENT_64: u32 = 0x19;
    pub const ROUTINES_64: u32 = 0x1a;
    pub const DYLD_INFO_ONLY: u32 = 0x8000_0022;
    pub const RPATH: u32 = 0x8000_001c;
    pub const LOAD_UPWARD_DYLIB: u32 = 0x8000_0023;
    pub const DYLD_EXPORTS_TRIE: u32 = 0x8000_0033;
    pub const DYLD_CHAINED_FIXUPS: u32 = 0x8000_0034;
    pub const ENCRYPTION_INFO_64: u32 = 0x2c;
}

const HEADER: usize = 32;
/// Offset of the page starts in `dyld_chained_starts_in_segment`.
const STARTS: usize = 22;

/// A pointer of a chain in `DYLD_CHAINED_PTR_64`.
#[derive(Clone, Copy)]
struct Pointer {
    at: usize,
    raw: u64,
}

impl MachOEdit {
    /// Takes the bytes of a file that holds one image.
    pub fn new(bytes: Vec<u8>) -> MachOEdit {
        MachOEdit { bytes }
    }

    /// What the edits made of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..at + N].try_into().expect("a slice of that size")
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    /// The word at `at`.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// Writes `value` at `at`.
    pub fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// Where the load commands are, with their kinds.
    pub fn commands(&self) -> Vec<(u32, usize)> {
        let mut at = HEADER;
        let count = self.u32(16);
        (0..count)
            .map(|_| {
                let found = (self.u32(at), at);
                at += self.u32(at + 4) as usize;
                found
            })
            .collect()
    }

    /// Where the first load command of that kind is.
    ///
    /// # Panics
    /// If there is none.
    pub fn command(&self, kind: u32) -> usize {
        self.commands().into_iter().find(|(found, _)| *found == kind).unwrap_or_else(|| panic!("no {kind:#x}")).1
    }

    fn segments(&self) -> Vec<usize> {
        self.commands().into_iter().filter(|(kind, _)| *kind == lc::SEGMENT_64).map(|(_, at)| at).collect()
    }

    /// Appends a load command behind the last one, where linkers leave room.
    pub fn add_command(&mut self, command: &[u8]) {
        let (count, size) = (self.u32(16), self.u32(20));
        let at = HEADER + size as usize;
        assert!(self.bytes[at..at + command.len()].iter().all(|&byte| byte == 0), "no room behind the load commands");
        self.put(at, command);
        self.put(16, &(count + 1).to_le_bytes());
        self.put(20, &(size + command.len() as u32).to_le_bytes());
    }

    /// Adds `LC_ROUTINES_64` with that initialiser.
    pub fn add_routine(&mut self, vm: u64) {
        let mut command = [0u8; 72];
        command[..4].copy_from_slice(&lc::ROUTINES_64.to_le_bytes());
        command[4..8].copy_from_slice(&72u32.to_le_bytes());
        command[8..16].copy_from_slice(&vm.to_le_bytes());
        self.add_command(&command);
    }

    /// Makes the need of that number, from 0, one of another kind.
    pub fn retype_need(&mut self, index: usize, kind: u32) {
        let is_need = |kind: u32| matches!(kind, lc::LOAD_DYLIB | 0x8000_0018 | 0x8000_001f | lc::LOAD_UPWARD_DYLIB);
        let needs: Vec<usize> =
            self.commands().into_iter().filter(|(kind, _)| is_need(*kind)).map(|(_, at)| at).collect();
        self.put(needs[index], &kind.to_le_bytes());
    }

    /// Gives every section of the type `from` the type `to`.
    pub fn retype_sections(&mut self, from: u8, to: u8) {
        for segment in self.segments() {
            for section in 0..self.u32(segment + 64) as usize {
                let flags = segment + 72 + section * 80 + 64;
                if self.bytes[flags] == from {
                    self.bytes[flags] = to;
                }
            }
        }
    }

    /// Says of a chained import which image defines it.
    ///
    /// # Panics
    /// If there is no such import.
    pub fn set_ordinal(&mut self, name: &str, ordinal: i8) {
        let payload = self.u32(self.command(lc::DYLD_CHAINED_FIXUPS) + 8) as usize;
        let [imports, names, count] = [8, 12, 16].map(|field| self.u32(payload + field) as usize);
        let wanted = [name.as_bytes(), &[0]].concat();
        let is_it = |row: &usize| {
            let at = payload + names + (self.u32(*row) >> 9) as usize;
            self.bytes[at..].starts_with(&wanted)
        };
        let rows = (0..count).map(|index| payload + imports + index * 4);
        let row = { rows }.find(is_it).unwrap_or_else(|| panic!("no import {name}"));
        self.put(row, &ordinal.to_le_bytes());
    }

    /// Replaces the export trie by one of the given rows: a name, and what stands in its node.
    pub fn replace_exports(&mut self, rows: &[(&str, Vec<u8>)]) {
        let trie = trie(rows);
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(&trie);
        let linkedit = *self.segments().last().expect("a segment");
        let size = (self.bytes.len() as u64) - self.u64(linkedit + 40);
        self.put(linkedit + 48, &size.to_le_bytes());
        self.put(linkedit + 32, &size.next_multiple_of(0x4000).to_le_bytes());
        let field = match self.commands().iter().find(|(kind, _)| *kind == lc::DYLD_EXPORTS_TRIE) {
            Some((_, at)) => at + 8,
            None => self.command(lc::DYLD_INFO_ONLY) + 40,
        };
        self.put(field, &(at as u32).to_le_bytes());
        self.put(field + 4, &(trie.len() as u32).to_le_bytes());
    }

    /// Makes the last segment reach to that end of the file, which the caller has to make as long.
    pub fn extend_linkedit(&mut self, end: u64) {
        let linkedit = *self.segments().last().expect("a segment");
        let size = end - self.u64(linkedit + 40);
        self.put(linkedit + 48, &size.to_le_bytes());
        self.put(linkedit + 32, &size.next_multiple_of(0x4000).to_le_bytes());
    }

    /// Rewrites all chains of `DYLD_CHAINED_PTR_64` in another format: 1, 6, 9 or 12 (the arm64e formats want pointers
    /// that are aligned to eight). Every third pointer of an arm64e format is signed. With `chains_a_page`, the pointers
    /// of a page are dealt to so many chains.
    pub fn reencode(&mut self, format: u16, chains_a_page: usize) {
        if matches!(format, 1 | 9 | 12) {
            self.put(8, &2u32.to_le_bytes());
        }
        let payload = self.u32(self.command(lc::DYLD_CHAINED_FIXUPS) + 8) as usize;
        let starts = payload + self.u32(payload + 4) as usize;
        let mut tail = Vec::new();
        for (index, segment) in self.segments().into_iter().enumerate() {
            let offset = self.u32(starts + 4 + index * 4) as usize;
            if offset == 0 {
                continue;
            }
            let moved = self.reencode_segment(starts + offset, segment, format, chains_a_page);
            if chains_a_page > 1 {
                // Longer than it was: it goes behind everything.
                tail.push((starts + 4 + index * 4, moved));
            } else {
                self.put(starts + offset, &moved);
            }
        }
        self.move_starts(payload, starts, tail);
    }

    /// Compresses the names of the chained imports, which are the end of their payload, with zlib.
    ///
    /// # Panics
    /// If they do not get shorter.
    pub fn compress_names(&mut self) {
        let (names, end) = self.names();
        let stream = miniz_oxide::deflate::compress_to_vec_zlib(&self.bytes[names..end], 9);
        assert!(stream.len() <= end - names, "{} bytes of names take {}", end - names, stream.len());
        self.bytes[names..end].fill(0);
        self.put(names, &stream);
        let payload = self.u32(self.command(lc::DYLD_CHAINED_FIXUPS) + 8) as usize;
        self.put(payload + 24, &1u32.to_le_bytes());
    }

    /// Where the names of the chained imports are.
    pub fn names(&self) -> (usize, usize) {
        let command = self.command(lc::DYLD_CHAINED_FIXUPS);
        let [payload, size] = [8, 12].map(|field| self.u32(command + field) as usize);
        (payload + self.u32(payload + 12) as usize, payload + size)
    }

    /// The new `dyld_chained_starts_in_segment`.
    fn reencode_segment(&mut self, info: usize, segment: usize, format: u16, chains: usize) -> Vec<u8> {
        let (page, count) = (usize::from(self.u16(info + 4)), usize::from(self.u16(info + 20)));
        let file = self.u64(segment + 40) as usize;
        let mut first = Vec::new();
        let mut overflow = Vec::new();
        for index in 0..count {
            let start = self.u16(info + STARTS + index * 2);
            let pointers =
                if start == 0xffff { Vec::new() } else { self.chain(file + index * page + usize::from(start)) };
            let mut dealt: Vec<Vec<Pointer>> = vec![Vec::new(); chains.min(pointers.len())];
            for (number, pointer) in pointers.into_iter().enumerate() {
                let hand = number % dealt.len();
                dealt[hand].push(pointer);
            }
            let begins: Vec<u16> = dealt.iter().map(|chain| (chain[0].at - file - index * page) as u16).collect();
            dealt.iter().for_each(|chain| self.write_chain(chain, format));
            match begins[..] {
                [] => first.push(0xffff),
                [only] => first.push(only),
                _ => {
                    first.push(0x8000 | (count + overflow.len()) as u16);
                    let last = begins.len() - 1;
                    overflow.extend(
                        begins.iter().enumerate().map(|(at, &begin)| begin | if at == last { 0x8000 } else { 0 }),
                    );
                }
            }
        }
        let mut bytes = self.bytes[info..info + STARTS].to_vec();
        bytes[6..8].copy_from_slice(&format.to_le_bytes());
        bytes.extend(first.iter().chain(&overflow).flat_map(|start| start.to_le_bytes()));
        let size = bytes.len() as u32;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn chain(&self, start: usize) -> Vec<Pointer> {
        let mut at = start;
        let mut pointers = Vec::new();
        loop {
            let raw = self.u64(at);
            pointers.push(Pointer { at, raw });
            match (raw >> 51 & 0xfff) as usize * 4 {
                0 => return pointers,
                next => at += next,
            }
        }
    }

    fn write_chain(&mut self, chain: &[Pointer], format: u16) {
        for (number, pointer) in chain.iter().enumerate() {
            let next = chain.get(number + 1).map_or(0, |next| (next.at - pointer.at) as u64);
            let raw = encode(pointer.raw, format, next, number);
            self.put(pointer.at, &raw.to_le_bytes());
        }
    }

    /// Puts what has grown, and the table that leads to it, at the end of the payload, which is the end of the file.
    fn move_starts(&mut self, payload: usize, starts: usize, tail: Vec<(usize, Vec<u8>)>) {
        if tail.is_empty() {
            return;
        }
        let mut table = self.bytes[starts..starts + 4 + self.u32(starts) as usize * 4].to_vec();
        let mut bodies = Vec::new();
        for (slot, body) in tail {
            let offset = (table.len() + bodies.len()) as u32;
            table[slot - starts..slot - starts + 4].copy_from_slice(&offset.to_le_bytes());
            bodies.extend(body);
            bodies.resize((table.len() + bodies.len()).next_multiple_of(8) - table.len(), 0);
        }
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at, 0);
        self.bytes.extend(table);
        self.bytes.extend(bodies);
        let end = self.bytes.len();
        let command = self.command(lc::DYLD_CHAINED_FIXUPS);
        self.put(payload + 4, &((at - payload) as u32).to_le_bytes());
        self.put(command + 12, &((end - payload) as u32).to_le_bytes());
        let linkedit = *self.segments().last().expect("a segment");
        let size = end as u64 - self.u64(linkedit + 40);
        self.put(linkedit + 48, &size.to_le_bytes());
        self.put(linkedit + 32, &size.next_multiple_of(0x4000).to_le_bytes());
    }
}

/// A pointer of `DYLD_CHAINED_PTR_64` in another format. The images begin at address 0, so addresses are offsets.
fn encode(raw: u64, format: u16, next: u64, number: usize) -> u64 {
    let bind = raw >> 63 == 1;
    let (target, high) = (raw & 0xf_ffff_ffff, raw >> 36 & 0xff);
    let (ordinal, addend) = (raw & 0xff_ffff, raw >> 24 & 0xff);
    if format == 6 || format == 2 {
        return raw & !(0xfff << 51) | (next / 4) << 51;
    }
    assert!(next.is_multiple_of(8), "a pointer of arm64e is aligned to eight");
    let signed = number % 3 == 2 && addend == 0 && high == 0;
    let number = number as u64;
    let auth = (number & 3) << 49 | ((number / 3) & 1) << 48 | ((0x1234 + number) & 0xffff) << 32 | 1 << 63;
    let link = (next / 8) << 51 | u64::from(bind) << 62;
    link | match (bind, signed) {
        (true, true) => ordinal | auth,
        (true, false) => ordinal | addend << 32,
        (false, true) => target & 0xffff_ffff | auth,
        (false, false) => target | high << 43,
    }
}

/// A number as ULEB128.
pub fn uleb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// What stands in the node of an export: its flags, and numbers.
pub fn export(flags: u64, numbers: &[u64]) -> Vec<u8> {
    [flags].iter().chain(numbers).flat_map(|&number| uleb(number)).collect()
}

/// What stands in the node of a re-export.
pub fn reexport(ordinal: u64, name: &str) -> Vec<u8> {
    let mut bytes = export(8, &[ordinal]);
    bytes.extend(name.bytes().chain([0]));
    bytes
}

/// A trie with one child of the root for each row; no name may begin with another one.
fn trie(rows: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let node = |content: &[u8]| [uleb(content.len() as u64), content.to_vec(), vec![0]].concat();
    // Offsets of two bytes each, so that the root's size is known beforehand.
    let root = 2 + rows.iter().map(|(name, _)| name.len() + 1 + 2).sum::<usize>();
    let mut bytes = vec![0, rows.len() as u8];
    let mut at = root;
    for (name, content) in rows {
        bytes.extend(name.bytes().chain([0]));
        bytes.extend([(at & 0x7f) as u8 | 0x80, (at >> 7) as u8]);
        at += node(content).len();
    }
    rows.iter().for_each(|(_, content)| bytes.extend(node(content)));
    bytes
}

/// The folder of the images that `macho.sh` built.
pub fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bin/macho")
}

/// All of them, by name.
///
/// # Panics
/// If one cannot be read.
pub fn images() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder()).expect("the folder of images");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        (name, std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    paths.into_iter().map(read).collect()
}

/// One of them.
///
/// # Panics
/// If there is none of that name.
pub fn image(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.dylib"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Images that no linker at hand makes, by name.
pub fn reencoded() -> Vec<(String, Vec<u8>)> {
    let edit = |name: &str, change: &dyn Fn(&mut MachOEdit)| {
        let mut edit = MachOEdit::new(image(name));
        change(&mut edit);
        edit.into_bytes()
    };
    let mut all = Vec::new();
    for format in [1, 9, 12] {
        for (name, chains) in [("rebase", 1), ("rebase", 3), ("cxx", 1), ("bind", 2), ("addend", 1)] {
            let bytes = edit(&format!("{name}-a64-chained"), &|edit| edit.reencode(format, chains));
            all.push((format!("{name}-arm64e-{format}-{chains}"), bytes));
        }
    }
    for (name, chains) in [("rebase", 1), ("rebase", 3), ("cxx", 2), ("dep", 1)] {
        let bytes = edit(&format!("{name}-x64-chained"), &|edit| edit.reencode(6, chains));
        all.push((format!("{name}-x64-6-{chains}"), bytes));
    }
    for name in ["mutex-x64", "exception-x64", "bind-a64"] {
        all.push((format!("{name}-zlib"), edit(&format!("{name}-chained"), &MachOEdit::compress_names)));
    }
    let upward = edit("dep-x64-chained", &|edit| edit.retype_need(0, lc::LOAD_UPWARD_DYLIB));
    all.push(("dep-x64-upward".into(), upward));
    let terminator = edit("init-x64-old", &|edit| edit.retype_sections(0x9, 0xa));
    all.push(("init-x64-terminators".into(), terminator));
    let exports = edit("rebase-x64-old", &|edit| {
        let rows = [
            ("_absolute", export(2, &[0x1234])),
            ("_here", export(0, &[0x400])),
            ("_other", reexport(1, "_puts")),
            ("_resolved", export(0x10, &[0x400, 0x410])),
            ("_same", reexport(1, "")),
            ("_thread", export(1, &[0x2000])),
            ("_weak", export(4, &[0x400])),
        ];
        edit.replace_exports(&rows);
    });
    all.push(("rebase-x64-exports".into(), exports));
    all
}

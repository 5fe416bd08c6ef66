//! Mach-O images from nothing, for shapes that no linker makes: as many segments, sections and tables as a test wants.

use crate::macho_edit::lc;

const PAGE: usize = 0x1000;

/// One `LC_SEGMENT_64`.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// `initprot`: 1 read, 2 write, 4 execute.
    pub prot: u32,
    /// `vmaddr`
    pub vm: u64,
    /// `vmsize`
    pub vm_size: u64,
    /// `fileoff` and `filesize`.
    pub file: (u64, u64),
    /// Sections: address, size and type.
    pub sections: Vec<(u64, u64, u8)>,
}

impl Segment {
    /// A segment of data, as long in memory as in the file.
    pub fn data(vm: u64, file: (u64, u64)) -> Segment {
        Segment { prot: 3, vm, vm_size: file.1, file, sections: Vec::new() }
    }
}

/// An x86-64 library: load commands and text first, then whatever was put into the file.
#[derive(Clone, Debug, Default)]
pub struct MachOBuild {
    commands: Vec<Vec<u8>>,
    segments: Vec<Segment>,
    body: Vec<u8>,
    header_room: usize,
}

impl MachOBuild {
    /// An empty library, with room for so many bytes of load commands.
    pub fn new(header_room: usize) -> MachOBuild {
        let header_room = header_room.next_multiple_of(PAGE);
        MachOBuild { header_room, body: vec![0; header_room], ..MachOBuild::default() }
    }

    /// Puts bytes into the file, at the beginning of a page; returns where.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.body.len().next_multiple_of(PAGE);
        self.body.resize(at, 0);
        self.body.extend_from_slice(bytes);
        at as u64
    }

    /// Adds a segment behind the text.
    pub fn segment(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// Adds a load command of those words.
    pub fn command(&mut self, kind: u32, words: &[u32]) {
        let size = (8 + words.len() * 4).next_multiple_of(8);
        let mut command: Vec<u8> =
            [kind, size as u32].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
        command.resize(size, 0);
        self.commands.push(command);
    }

    /// Adds a command that names a path behind so many words.
    pub fn path(&mut self, kind: u32, words: &[u32], path: &[u8]) {
        let start = 12 + words.len() * 4;
        let size = (start + path.len() + 1).next_multiple_of(8);
        let head = [kind, size as u32, start as u32];
        let mut command: Vec<u8> = head.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
        command.extend_from_slice(path);
        command.resize(size, 0);
        self.commands.push(command);
    }

    /// Puts a table into the file, and adds the command that says where it is.
    pub fn table(&mut self, kind: u32, table: &[u8]) {
        let at = self.put(table);
        self.command(kind, &[at as u32, table.len() as u32]);
    }

    /// Puts the five tables of `LC_DYLD_INFO_ONLY` into the file: rebases, binds, weak and lazy ones, exports.
    pub fn dyld_info(&mut self, tables: [&[u8]; 5]) {
        let words: Vec<u32> = tables.iter().flat_map(|table| [self.put(table) as u32, table.len() as u32]).collect();
        self.command(lc::DYLD_INFO_ONLY, &words);
    }

    /// The file. Its last part, the tables, is in a read-only segment of its own.
    ///
    /// # Panics
    /// If there is no room for the load commands.
    pub fn build(mut self) -> Vec<u8> {
        let end = self.body.len().next_multiple_of(PAGE);
        self.body.resize(end, 0);
        let text = Segment {
            prot: 5,
            vm_size: self.header_room as u64,
            file: (0, self.header_room as u64),
            ..Default::default()
        };
        self.segments.insert(0, text);
        let commands: Vec<Vec<u8>> = self.segments.iter().map(segment).chain(self.commands).collect();
        let size: usize = commands.iter().map(Vec::len).sum();
        let header = [0xfeed_facf, 0x0100_0007, 3, 6, commands.len() as u32, size as u32, 0x85, 0];
        let head: Vec<u8> =
            header.iter().flat_map(|word: &u32| word.to_le_bytes()).chain(commands.into_iter().flatten()).collect();
        assert!(head.len() <= self.header_room, "the load commands take {} bytes", head.len());
        self.body[..head.len()].copy_from_slice(&head);
        self.body
    }
}

fn segment(segment: &Segment) -> Vec<u8> {
    let size = 72 + 80 * segment.sections.len();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend([lc::SEGMENT_64, size as u32].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0; 16]);
    let words = [segment.vm, segment.vm_size, segment.file.0, segment.file.1];
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let words = [segment.prot, segment.prot, segment.sections.len() as u32, 0];
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    for &(vm, size, kind) in &segment.sections {
        bytes.extend([0; 32]);
        bytes.extend([vm, size].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend([0, 0, 0, 0, u32::from(kind), 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes
}

/// The payload of `LC_DYLD_CHAINED_FIXUPS`: the page starts of each segment (none for those that have no chains), in the
/// pointer format 6; and imports of format 1, as rows, with their names.
pub fn chained(starts: &[Option<usize>], tables: &[Vec<u8>], imports: &[u32], names: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    let offsets = 4 + starts.len() * 4;
    let mut places = Vec::new();
    let mut at = offsets.next_multiple_of(8);
    for table in tables {
        places.push(at as u32);
        at = (at + table.len()).next_multiple_of(8);
    }
    bytes.extend((starts.len() as u32).to_le_bytes());
    for start in starts {
        bytes.extend(start.map_or(0, |table| places[table]).to_le_bytes());
    }
    for (table, place) in tables.iter().zip(&places) {
        bytes.resize(32 + *place as usize, 0);
        bytes.extend_from_slice(table);
    }
    let rows = bytes.len().next_multiple_of(8);
    bytes.resize(rows, 0);
    bytes.extend(imports.iter().flat_map(|row| row.to_le_bytes()));
    let strings = bytes.len();
    bytes.extend_from_slice(names);
    for (field, word) in [(4, 32), (8, rows), (12, strings), (16, imports.len()), (20, 1)] {
        bytes[field..field + 4].copy_from_slice(&(word as u32).to_le_bytes());
    }
    bytes
}

/// `dyld_chained_starts_in_segment` with pages of 4 KiB.
pub fn starts(pages: &[u16]) -> Vec<u8> {
    let size = (22 + pages.len() * 2) as u32;
    let mut bytes = size.to_le_bytes().to_vec();
    bytes.extend([0x1000u16, 6].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0; 12]);
    bytes.extend((pages.len() as u16).to_le_bytes());
    bytes.extend(pages.iter().flat_map(|page| page.to_le_bytes()));
    bytes
}

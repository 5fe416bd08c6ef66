//! Where a Mach-O file keeps what loaders read, and the faults that only such files can have.

use super::{Area, BYTE, File, Form, HALF, Kind, WORD, Work, XWORD};

const HEADER: Form = Form { size: 32, fields: &[(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4)] };
const SEGMENT: Form = Form {
    size: 72,
    fields: &[(0, 4), (4, 4), (24, 8), (32, 8), (40, 8), (48, 8), (56, 4), (60, 4), (64, 4), (68, 4), (32, 8), (48, 8)],
};
const SECTION: Form =
    Form { size: 80, fields: &[(32, 8), (40, 8), (48, 4), (52, 4), (56, 4), (60, 4), (64, 4), (64, 1)] };
const SYMBOL: Form = Form { size: 16, fields: &[(0, 4), (4, 1), (5, 1), (6, 2), (8, 8)] };
/// `dyld_chained_fixups_header`, and the start of what it leads to.
const CHAINED: Form = Form { size: 28, fields: &[(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4)] };
/// `unwind_info_section_header`
const UNWIND: Form = Form { size: 28, fields: &[(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4)] };

const SEGMENT_64: u64 = 0x19;

/// Commands that a loader looks at.
const COMMANDS: &[u64] = &[
    0x2,
    0xb,
    0xc,
    0xd,
    0x19,
    0x1a,
    0x1b,
    0x22,
    0x2c,
    0x37,
    0x38,
    0x8000_0018,
    0x8000_001c,
    0x8000_001f,
    0x8000_0022,
    0x8000_0023,
    0x8000_0033,
    0x8000_0034,
    0x8000_0077,
];

/// What may be done to a copy; more often what stands here more often.
pub(super) const KINDS: &[Kind] = &[
    |work| work.change_bytes(),
    |work| work.change_bytes(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.set_field(),
    |work| work.copy_field(),
    |work| work.copy_field(),
    |work| work.exchange_records(),
    |work| work.fill(),
    |work| work.splice(),
    |work| work.splice(),
    |work| work.truncate(),
    |work| work.append_to_linkedit(),
    |work| work.retype_command(),
    |work| work.retype_section(),
    |work| work.move_macho_segment(),
    |work| work.move_macho_segment(),
    |work| work.lead_table_astray(),
    |work| work.lead_table_astray(),
];

/// The load commands of an image at `image`: kind, and offset in the file.
fn commands(file: File<'_>, image: usize) -> Option<Vec<(u64, usize)>> {
    let (count, size) = (file.number(image + 16, 4)?, file.number(image + 20, 4)? as usize);
    let mut at = image + 32;
    let mut found = Vec::new();
    for _ in 0..count.min(4096) {
        if at + 8 > image + 32 + size {
            break;
        }
        found.push((file.number(at, 4)?, at));
        at = at.checked_add((file.number(at + 4, 4)? as usize).max(8))?;
    }
    Some(found)
}

/// The parts of a Mach-O file; `None` if it is none, or has no image that could be read.
pub(super) fn areas(good: &[u8]) -> Option<Vec<Area>> {
    let file = File(good);
    let mut areas = Vec::new();
    let mut images = vec![0];
    if good.starts_with(&[0xca, 0xfe, 0xba]) {
        let big = |at: usize| file.number(at, 4).map(|number| u64::from((number as u32).swap_bytes()));
        let (entry, low) = if good.get(3) == Some(&0xbf) { (32, 12) } else { (20, 8) };
        let count = (big(4)? as usize).min(8);
        areas.push(Area { name: "universal header", range: 0..8 + count * entry, form: &WORD });
        images = (0..count).filter_map(|index| big(8 + index * entry + low)).map(|at| at as usize).collect();
    }
    for image in images {
        if good.get(image..image + 4)? != [0xcf, 0xfa, 0xed, 0xfe] {
            return None;
        }
        image_areas(file, image, &mut areas)?;
    }
    Some(areas)
}

fn image_areas(file: File<'_>, image: usize, areas: &mut Vec<Area>) -> Option<()> {
    let all = image + 32..image + 32 + file.number(image + 20, 4)? as usize;
    areas.push(Area { name: "header", range: image..image + 32, form: &HEADER });
    areas.push(Area { name: "load commands", range: all, form: &WORD });
    for (kind, at) in commands(file, image)? {
        let field = |offset: usize| file.number(at + offset, 4).map(|value| value as usize);
        let wide = |offset: usize| file.number(at + offset, 8).map(|value| value as usize);
        let table = |name, offset: usize, form| {
            let (start, size) = (field(offset)?, field(offset + 4)?);
            let start = image.saturating_add(start);
            Some(Area { name, range: start..start.saturating_add(size), form })
        };
        match kind & 0x7fff_ffff {
            SEGMENT_64 => {
                let (start, size, writable) = (wide(40)?, wide(48)?, field(60)? & 2 != 0);
                areas.push(Area { name: "segment", range: at..at + SEGMENT.size, form: &SEGMENT });
                let sections = at + 72..at + 72 + field(64)?.min(256) * SECTION.size;
                for section in sections.clone().step_by(SECTION.size) {
                    section_areas(file, image, section, areas);
                }
                areas.push(Area { name: "sections", range: sections, form: &SECTION });
                if writable && size > 0 {
                    let start = image.saturating_add(start);
                    areas.push(Area { name: "data", range: start..start.saturating_add(size), form: &XWORD });
                }
            }
            0x22 => areas.extend([
                table("rebase opcodes", 8, &BYTE)?,
                table("bind opcodes", 16, &BYTE)?,
                table("weak bind opcodes", 24, &BYTE)?,
                table("lazy bind opcodes", 32, &BYTE)?,
                table("export trie", 40, &BYTE)?,
            ]),
            0x33 => areas.push(table("export trie", 8, &BYTE)?),
            0x34 => areas.extend([
                table("chained fixups", 8, &WORD)?,
                table("page starts", 8, &HALF)?,
                table("chained header", 8, &CHAINED)?,
            ]),
            0x2 => {
                let (start, rows) = (image.saturating_add(field(8)?), field(12)?);
                let end = start.saturating_add(rows.saturating_mul(SYMBOL.size));
                areas
                    .extend([Area { name: "symbols", range: start..end, form: &SYMBOL }, table("strings", 16, &BYTE)?]);
            }
            _ => {}
        }
    }
    Some(())
}

/// Sections that a loader reads by their name.
fn section_areas(file: File<'_>, image: usize, section: usize, areas: &mut Vec<Area>) {
    const NAMES: &[(&[u8], &str, &Form)] = &[
        (b"__unwind_info\0", "unwind info", &WORD),
        (b"__unwind_info\0", "unwind info header", &UNWIND),
        (b"__eh_frame\0", "frames", &WORD),
        (b"__eh_frame\0", "bytes of frames", &BYTE),
        (b"__mod_init_func", "initialisers", &XWORD),
        (b"__init_offsets\0", "initialisers", &WORD),
        (b"__thread_vars\0", "thread variables", &XWORD),
        (b"__sideload\0", "notes", &WORD),
    ];
    let (Some(start), Some(size)) = (file.number(section + 48, 4), file.number(section + 40, 8)) else { return };
    let start = image.saturating_add(start as usize);
    for &(name, word, form) in NAMES {
        if file.0.get(section..section + name.len()) == Some(name) {
            areas.push(Area { name: word, range: start..start.saturating_add(size as usize), form });
        }
    }
}

impl Work<'_> {
    /// The load commands as they are now, or were before they were damaged.
    fn some_command(&mut self, wanted: impl Fn(u64) -> bool) -> Option<usize> {
        let header = self.hostile.areas.iter().filter(|area| area.name == "header").map(|area| area.range.start);
        let headers: Vec<usize> = header.collect();
        let image = *headers.get(self.random.below(headers.len().max(1)))?;
        let mut found = commands(File(&self.hostile.good), image)?;
        found.retain(|(kind, _)| wanted(*kind));
        let index = self.random.below(found.len().max(1));
        found.get(index).map(|&(_, at)| at)
    }

    fn retype_command(&mut self) {
        let Some(at) = self.some_command(|_| true) else { return };
        let kind = COMMANDS[self.random.below(COMMANDS.len())];
        self.write(at, 4, kind);
        self.say(format_args!("load command at {at:#x}: {kind:#x}"));
    }

    fn retype_section(&mut self) {
        let Some(area) = self.hostile.area("sections") else { return };
        let (at, kind) = (self.record(area) + 64, [0, 1, 9, 0xa, 0x11, 0x12, 0x13, 0x15, 0x16][self.random.below(9)]);
        self.write(at, 1, kind);
        self.say(format_args!("section's type at {at:#x}: {kind:#x}"));
    }

    /// Segments over one another, at the ends of the address space, or with content from elsewhere.
    fn move_macho_segment(&mut self) {
        let is_segment = |kind| kind == SEGMENT_64;
        let (Some(one), Some(other)) = (self.some_command(is_segment), self.some_command(is_segment)) else { return };
        let near = [0, 0x1000, 0x4000, 0x10_0000][self.random.below(4)];
        let (field, value) = match self.random.below(7) {
            0 => (24, self.read(other + 24, 8).wrapping_add(near)),
            1 => (24, 0u64.wrapping_sub(0x1000 + near)),
            2 => (32, 0u64.wrapping_sub(self.read(one + 24, 8)).wrapping_sub(near)),
            3 => (32, self.read(other + 24, 8).wrapping_sub(self.read(one + 24, 8)).wrapping_add(near)),
            4 => (32, 1 << (28 + self.random.below(20))),
            5 => (60, self.random.below(8) as u64),
            _ => (40, self.read(other + 40, 8)),
        };
        self.write(one + field, 8, value);
        self.say(format_args!("segment at {one:#x}: {value:#x} at {field}"));
    }

    /// A table of `__LINKEDIT` in the place of another one, or with another size.
    fn lead_table_astray(&mut self) {
        let leads = |kind: u64| matches!(kind & 0x7fff_ffff, 0x2 | 0xb | 0x22 | 0x33 | 0x34);
        let (Some(one), Some(other)) = (self.some_command(leads), self.some_command(leads)) else { return };
        let [to, from] = [one, other].map(|at| at + 8 + 4 * self.random.below(4));
        let value = if self.random.below(2) == 0 { self.read(from, 4) } else { self.trouble(self.read(to, 4)) };
        self.write(to, 4, value);
        self.say(format_args!("table at {to:#x}: {value:#x}"));
    }

    /// More bytes behind the last, and the last segment reaches over them.
    fn append_to_linkedit(&mut self) {
        let more = 1 << self.random.below(18);
        let pattern = [0u8, 0xff, 1, 0x51][self.random.below(4)];
        let length = self.bytes.len() + more;
        self.bytes.resize(length, pattern);
        let last = self.hostile.areas.iter().rfind(|area| area.name == "segment");
        if let Some(last) = last.map(|area| area.range.start) {
            for field in [last + 32, last + 48] {
                self.write(field, 8, self.read(field, 8).wrapping_add(more as u64));
            }
        }
        self.say(format_args!("{more:#x} bytes of {pattern:#x} appended"));
    }
}

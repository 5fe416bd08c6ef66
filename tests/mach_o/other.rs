//! The same lines, as the crate `object` reads the files.

use object::LittleEndian as LE;
use object::macho;
use object::read::macho::{ExportData, Fixup, FixupAuth, LoadCommandVariant, MachHeader, Segment};

/// What `object` reads of one image, sorted.
pub(crate) fn lines(image: &[u8]) -> Vec<String> {
    let mut reader = Reader { image, segments: Vec::new(), base: 0, lines: Vec::new() };
    let header = macho::MachHeader64::<LE>::parse(image, 0).expect("a header");
    let commands = || header.load_commands(LE, image, 0).expect("load commands");
    let mut all = commands();
    while let Some(command) = all.next().expect("a load command") {
        if let Some((segment, _)) = command.segment_64().expect("a segment") {
            if segment.fileoff(LE) == 0 && segment.filesize(LE) > 0 {
                reader.base = segment.vmaddr(LE);
            }
            reader.segments.push((segment.vmaddr(LE), segment.data(LE, image).expect("in the file")));
        }
    }
    let mut all = commands();
    while let Some(command) = all.next().expect("a load command") {
        match command.variant().expect("a load command") {
            LoadCommandVariant::DyldInfo(info) => reader.dyld_info(info),
            LoadCommandVariant::LinkeditData(data) if command.cmd() == macho::LC_DYLD_CHAINED_FIXUPS => {
                reader.chained(data);
            }
            LoadCommandVariant::LinkeditData(data) if command.cmd() == macho::LC_DYLD_EXPORTS_TRIE => {
                reader.exports(data.exports_trie(LE, image).expect("a trie"));
            }
            _ => {}
        }
    }
    reader.lines.sort();
    reader.lines
}

/// The same of one of our images. `object` does not inflate names: it reads the image that these were compressed in.
pub(crate) fn lines_of(name: &str, image: &[u8]) -> Vec<String> {
    let plain = name.strip_suffix("-zlib").map(|name| test_fixtures::macho_edit::image(&format!("{name}-chained")));
    lines(plain.as_deref().unwrap_or(image))
}

struct Reader<'a> {
    image: &'a [u8],
    segments: Vec<(u64, &'a [u8])>,
    base: u64,
    lines: Vec<String>,
}

fn auth_word(auth: Option<FixupAuth>) -> String {
    auth.map_or(String::new(), |auth| {
        let key = format!("{:?}", auth.key).to_uppercase();
        format!(" auth={key},{:#x},{}", auth.diversity, u8::from(auth.addr_div))
    })
}

impl<'a> Reader<'a> {
    fn push(&mut self, line: String) {
        self.lines.push(line);
    }

    fn dyld_info(&mut self, info: &'a macho::DyldInfoCommand<LE>) {
        for rebase in info.rebases(LE, self.image, 8).expect("rebase opcodes") {
            let rebase = rebase.expect("a rebase");
            let (vm, data) = self.segments[usize::from(rebase.segment_index)];
            let at = rebase.segment_offset as usize;
            let target = data.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
            self.push(format!("rebase {:#x} {target:#x}", vm + rebase.segment_offset));
        }
        let image = self.image;
        let streams = [
            ("bind", info.binds(LE, image, 8)),
            ("weak", info.weak_binds(LE, image, 8)),
            ("lazy", info.lazy_binds(LE, image, 8)),
        ];
        for (kind, binds) in streams {
            for bind in binds.expect("bind opcodes") {
                let bind = bind.expect("a bind");
                let place = self.segments[usize::from(bind.segment_index)].0 + bind.segment_offset;
                let ordinal = if kind == "weak" { "-".to_owned() } else { bind.dylib.0.to_string() };
                let (name, weak) = (String::from_utf8_lossy(bind.symbol), bind.flags.0 & 1);
                self.push(format!("bind {place:#x} {name} {ordinal} {} {weak} {kind}", bind.addend));
            }
        }
        self.exports(info.exports_trie(LE, image).expect("a trie"));
    }

    fn chained(&mut self, data: &'a macho::LinkeditDataCommand<LE>) {
        let fixups = data.chained_fixups(LE, self.image).expect("chained fixups");
        let imports: Vec<_> = fixups.imports(LE).expect("imports").map(|import| import.expect("an import")).collect();
        for segment in fixups.segments(LE).expect("segments") {
            let segment = segment.expect("a segment");
            let (vm, data) = self.segments[segment.index() as usize];
            for fixup in segment.fixups(LE, self.base, data) {
                let (at, fixup) = fixup.expect("a fixup");
                let place = vm + at;
                match fixup {
                    Fixup::Rebase(rebase) => {
                        let target = self.base + rebase.target_offset;
                        self.push(format!("rebase {place:#x} {target:#x}{}", auth_word(rebase.auth)));
                    }
                    Fixup::Bind(bind) => {
                        let import = &imports[bind.ordinal as usize];
                        let addend = import.addend + i64::from(bind.addend);
                        let name = String::from_utf8_lossy(import.name);
                        let (ordinal, weak) = (import.dylib.0, u8::from(import.weak_import));
                        let auth = auth_word(bind.auth);
                        self.push(format!("bind {place:#x} {name} {ordinal} {addend} {weak} chained{auth}"));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn exports(&mut self, trie: object::read::macho::ExportsTrieIterator<'a>) {
        for export in trie {
            let export = export.expect("an export");
            let (name, flags) = (String::from_utf8_lossy(export.name()), export.flags().0);
            let line = match export.data() {
                ExportData::Regular { address } if flags & 3 == 2 => {
                    format!("export {name} {address:#x} {flags:#x} abs")
                }
                ExportData::Regular { address } => format!("export {name} {:#x} {flags:#x}", self.base + address),
                ExportData::Reexport { dylib_ordinal, import_name } => {
                    let other = if import_name.is_empty() { export.name() } else { import_name };
                    format!("export {name} 0x0 {flags:#x} reexport={dylib_ordinal}:{}", String::from_utf8_lossy(other))
                }
                ExportData::StubAndResolver { stub_address, resolver_address } => {
                    let (stub, resolver) = (self.base + stub_address, self.base + resolver_address);
                    format!("export {name} {stub:#x} {flags:#x} resolver={resolver:#x}")
                }
            };
            self.push(line);
        }
    }
}

#[test]
fn every_image_reads_as_object_reads_it() {
    let images = crate::images();
    assert!(images.len() > 80, "only {} images", images.len());
    let mut rows = 0;
    for (name, bytes, arch) in images {
        let slices = sideload::macho::fat::slices(&bytes).expect("read before");
        let slice = slices.iter().find(|slice| slice.arch() == Some(arch)).expect("read before");
        let start = slice.file.start.0 as usize;
        let image = &bytes[start..start + slice.file.size as usize];
        let mut ours = crate::lines(&name, &bytes, arch);
        ours.sort();
        let theirs = lines_of(&name, image);
        let odd: Vec<_> = ours.iter().zip(&theirs).filter(|(one, other)| one != other).take(3).collect();
        assert_eq!(ours.len(), theirs.len(), "{name} {arch}");
        assert!(odd.is_empty(), "{name} {arch}: {odd:#?}");
        rows += ours.len();
    }
    assert!(rows > 5000, "only {rows} rows");
}

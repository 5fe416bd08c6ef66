//! What is legal but unwanted: findings, and the policy that decides which of them refuse a load.
//!
//! A finding is read from a plan and the bytes it was made of; nothing is mapped, and no foreign code has run.

use crate::addr::VmAddr;
use crate::error::ErrorKind;
use crate::plan::{Fixup, FixupKind, Leads, LoadPlan, Symbols};
use crate::render;
use crate::symbol::{Class, ImportId};
use std::fmt;
use std::str::FromStr;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something to know: what runs, and when.
    Note,
    /// A protection that other images have is missing.
    Warning,
    /// Others may make their code part of the process.
    Danger,
}

impl Severity {
    /// The word that listings print.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Danger => "danger",
        }
    }
}

/// Something that a careful loader looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A segment is writable and executable at once. Always refused.
    WritableCode,
    /// Needs are searched for in folders, or have paths, that depend on where the process happens to be.
    RelativeSearch,
    /// Relocations change read-only segments (`DT_TEXTREL`).
    TextRelocations,
    /// Asks for executable stacks, which are left as they are (`PT_GNU_STACK`).
    ExecutableStack,
    /// Addresses of functions that calls go through stay writable once they are bound: no RELRO, or only a partial one.
    UnsealedCalls,
    /// Functions of the image choose definitions while it is relocated, before any initialiser (`STT_GNU_IFUNC`,
    /// `R_X86_64_IRELATIVE`, stubs with resolvers).
    Resolvers,
    /// Functions run when it is opened.
    Initialisers,
    /// Imports functions that load further images, which no plan shows.
    LoadsMore,
    /// Asks to come first in the scope, which only a preloaded object can (`DF_1_INTERPOSE`); it is opened as any other.
    Interpose,
    /// Wants room in every thread's static thread-locals (`DF_STATIC_TLS`), of which there is little.
    StaticThreadLocals,
}

impl Rule {
    /// All rules, the gravest first.
    pub const ALL: [Rule; 10] = [
        Rule::WritableCode,
        Rule::RelativeSearch,
        Rule::TextRelocations,
        Rule::ExecutableStack,
        Rule::UnsealedCalls,
        Rule::Resolvers,
        Rule::Initialisers,
        Rule::LoadsMore,
        Rule::Interpose,
        Rule::StaticThreadLocals,
    ];

    /// Its name, in listings and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::WritableCode => "writable-code",
            Rule::RelativeSearch => "relative-search",
            Rule::TextRelocations => "text-relocations",
            Rule::ExecutableStack => "executable-stack",
            Rule::UnsealedCalls => "unsealed-calls",
            Rule::Resolvers => "resolvers",
            Rule::Initialisers => "initialisers",
            Rule::LoadsMore => "loads-more",
            Rule::Interpose => "interpose",
            Rule::StaticThreadLocals => "static-thread-locals",
        }
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Rule::WritableCode | Rule::RelativeSearch => Severity::Danger,
            Rule::TextRelocations | Rule::ExecutableStack | Rule::UnsealedCalls => Severity::Warning,
            Rule::Resolvers | Rule::Initialisers | Rule::LoadsMore | Rule::Interpose | Rule::StaticThreadLocals => {
                Severity::Note
            }
        }
    }

    /// What it is, by its name in the specification where it has one.
    pub fn what(self) -> &'static str {
        match self {
            Rule::WritableCode => "PT_LOAD: a segment is writable and executable (PF_W | PF_X)",
            Rule::RelativeSearch => "needs are searched for where the process happens to be",
            Rule::TextRelocations => "DT_TEXTREL: the object has relocations in read-only segments",
            Rule::ExecutableStack => "PT_GNU_STACK: the object asks for executable stacks",
            Rule::UnsealedCalls => "addresses that calls go through stay writable",
            Rule::Resolvers => "functions of the object choose definitions while it is relocated",
            Rule::Initialisers => "functions run when the object is opened",
            Rule::LoadsMore => "the object may load others, which no plan shows",
            Rule::Interpose => "DF_1_INTERPOSE: the object asks to come first in the scope",
            Rule::StaticThreadLocals => "DF_STATIC_TLS: the object wants room in static thread-locals",
        }
    }

    /// Looks for it: the particulars, if it is there.
    fn look(self, plan: &LoadPlan, bytes: &[u8]) -> Result<Option<String>, ErrorKind> {
        let flag = |set: bool| set.then(String::new);
        Ok(match self {
            Rule::WritableCode => writable_code(plan),
            Rule::RelativeSearch => relative_search(plan),
            Rule::TextRelocations if plan.flags.text_relocations => Some(text_relocations(plan, bytes)?),
            Rule::TextRelocations => None,
            Rule::ExecutableStack => flag(plan.flags.executable_stack),
            Rule::UnsealedCalls => unsealed_calls(plan, bytes)?,
            Rule::Resolvers => resolvers(plan, bytes)?,
            Rule::Initialisers => initialisers(plan),
            Rule::LoadsMore => loads_more(plan, bytes)?,
            Rule::Interpose => flag(plan.flags.interpose),
            Rule::StaticThreadLocals => plan.flags.static_tls.then(|| static_thread_locals(plan)),
        })
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    /// A rule by its name.
    fn from_str(name: &str) -> Result<Rule, UnknownRule> {
        Rule::ALL.into_iter().find(|rule| rule.as_str() == name).ok_or(UnknownRule)
    }
}

/// No rule has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRule;

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such rule; there are")?;
        Rule::ALL.iter().try_for_each(|rule| write!(f, " {}", rule.as_str()))
    }
}

impl std::error::Error for UnknownRule {}

/// Something about an image that a careful loader points out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub rule: Rule,
    /// Which, where and how many, addresses as the file says them; empty where the rule says it all.
    pub detail: String,
}

/// All that is to be found about one image, the gravest first. `bytes` is the file that the plan was made from.
///
/// ```
/// # fn main() -> Result<(), sideload::Error> {
/// use sideload::{Loader, audit::{self, Severity}};
/// let link = Loader::new().link("libz.so.1")?;
/// for candidate in link.candidates() {
///     let findings = audit::findings(candidate.plan(), candidate.bytes()).unwrap();
///     assert!(findings.iter().all(|finding| finding.rule.severity() < Severity::Danger));
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Tables of the image that cannot be read.
pub fn findings(plan: &LoadPlan, bytes: &[u8]) -> Result<Vec<Finding>, ErrorKind> {
    let look = |rule: Rule| Ok(rule.look(plan, bytes)?.map(|detail| Finding { rule, detail }));
    Rule::ALL.into_iter().filter_map(|rule| look(rule).transpose()).collect()
}

/// Which findings refuse a load.
///
/// ```
/// use sideload::audit::{Policy, Rule, Severity};
/// let strict = Policy::default().refuse_from(Severity::Warning).refuse(Rule::LoadsMore);
/// assert!(strict.refuses(Rule::ExecutableStack) && !strict.refuses(Rule::Initialisers));
/// assert!(!Policy::default().refuses(Rule::ExecutableStack));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A bit a rule.
    refused: u32,
    all_frames: bool,
}

impl Default for Policy {
    /// Refuses writable code, and relocations in read-only segments: those are not shared between processes, and a system
    /// that enforces where code comes from (SELinux `execmod`) refuses them. Executable stacks are not among it: the
    /// process's stacks stay as they are, and 2 in 1,000 distribution libraries only lack the marker.
    fn default() -> Policy {
        Policy { refused: 0, all_frames: false }.refuse(Rule::WritableCode).refuse(Rule::TextRelocations)
    }
}

impl Policy {
    /// Refuses what the rule finds.
    #[must_use]
    pub fn refuse(mut self, rule: Rule) -> Policy {
        self.refused |= 1 << rule as u32;
        self
    }

    /// Refuses what any rule of this severity or a higher one finds.
    #[must_use]
    pub fn refuse_from(self, severity: Severity) -> Policy {
        Rule::ALL.into_iter().filter(|rule| rule.severity() >= severity).fold(self, Policy::refuse)
    }

    /// Admits what the rule finds. Whatever a policy admits, no page is ever writable and executable at once, so
    /// [`Rule::WritableCode`] stays refused; segments with [`Rule::TextRelocations`] are writable and not executable while
    /// they are relocated.
    #[must_use]
    pub fn allow(mut self, rule: Rule) -> Policy {
        if rule != Rule::WritableCode {
            self.refused &= !(1 << rule as u32);
        }
        self
    }

    /// Checks every record of unwind tables, however large they are. Off by default: above 128 KiB only their index and
    /// their end are looked at, since the rest takes as long as a tenth to a half of all else that an open does. A table
    /// that was tampered with in between can end the process at the next exception; [`Event::Tables`] names those that
    /// were not checked whole.
    ///
    /// [`Event::Tables`]: crate::Event::Tables
    #[must_use]
    pub fn check_all_frames(mut self, all: bool) -> Policy {
        self.all_frames = all;
        self
    }

    /// Whether it refuses what the rule finds.
    pub fn refuses(&self, rule: Rule) -> bool {
        self.refused & (1 << rule as u32) != 0
    }

    pub(crate) fn checks_all_frames(&self) -> bool {
        self.all_frames
    }

    /// Whether the policy admits the image. Rules that it does not refuse are not looked at.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the first finding that it does not admit, or tables that cannot be read.
    pub fn admit(&self, plan: &LoadPlan, bytes: &[u8]) -> Result<(), ErrorKind> {
        for rule in Rule::ALL.into_iter().filter(|&rule| self.refuses(rule)) {
            if rule.look(plan, bytes)?.is_some() {
                return Err(ErrorKind::Refused { what: rule.what() });
            }
        }
        Ok(())
    }
}

fn writable_code(plan: &LoadPlan) -> Option<String> {
    let both = plan.regions.iter().filter(|region| region.prot.write && region.prot.execute);
    let places: Vec<String> = both.map(|region| format!("{}..{}", region.vm.start, region.vm.end())).collect();
    (!places.is_empty()).then(|| places.join(" "))
}

/// What the loader puts in place of a word at the start of a path does not depend on the working folder.
fn is_fixed(path: &[u8]) -> bool {
    const STARTS: [&[u8]; 6] = [b"/", b"$ORIGIN", b"${ORIGIN}", b"@rpath/", b"@loader_path", b"@executable_path"];
    STARTS.iter().any(|start| path.starts_with(start))
}

fn relative_search(plan: &LoadPlan) -> Option<String> {
    let lists = [&plan.search.rpath, &plan.search.runpath].into_iter().flatten();
    let folders =
        lists.flat_map(|list| list.split(|&byte| byte == b':')).chain(plan.search.run_paths.iter().map(Vec::as_slice));
    let paths = plan.needs.iter().map(|need| need.name.as_slice()).filter(|name| name.contains(&b'/'));
    let loose: Vec<String> = folders
        .chain(paths)
        .filter(|path| !is_fixed(path))
        .map(|path| if path.is_empty() { "(empty)".to_owned() } else { render::Word(path).to_string() })
        .collect();
    (!loose.is_empty()).then(|| loose.join(" "))
}

/// So many, and where the first one is.
#[derive(Default)]
struct Places {
    count: usize,
    first: Option<VmAddr>,
}

impl Places {
    fn add(&mut self, place: VmAddr) {
        self.count += 1;
        self.first.get_or_insert(place);
    }

    fn detail(&self, what: &str) -> Option<String> {
        self.first.map(|first| format!("{} {what}, the first at {first}", self.count))
    }
}

fn text_relocations(plan: &LoadPlan, bytes: &[u8]) -> Result<String, ErrorKind> {
    let mut places = Places::default();
    plan.fixups(bytes, |fixup: Fixup| {
        if plan.region(fixup.place, 1).is_some_and(|region| !region.prot.write) {
            places.add(fixup.place);
        }
        Ok::<_, ErrorKind>(())
    })?;
    Ok(places.detail("places").unwrap_or_default())
}

fn unsealed_calls(plan: &LoadPlan, bytes: &[u8]) -> Result<Option<String>, ErrorKind> {
    let mut places = Places::default();
    let is_sealed = |place: VmAddr| plan.seals.iter().any(|seal| seal.holds(place, 8));
    plan.fixups(bytes, |fixup: Fixup| {
        if let FixupKind::Bind { import: Some(import), .. } | FixupKind::Signed { import: Some(import), .. } =
            fixup.kind
            && import.class == Class::Plt
            && !is_sealed(fixup.place)
        {
            places.add(fixup.place);
        }
        Ok::<_, ErrorKind>(())
    })?;
    Ok(places.detail("of them"))
}

fn resolvers(plan: &LoadPlan, bytes: &[u8]) -> Result<Option<String>, ErrorKind> {
    let mut places = Places::default();
    plan.fixups(bytes, |fixup: Fixup| {
        if let FixupKind::Resolver { target } = fixup.kind {
            places.add(target);
        }
        Ok::<_, ErrorKind>(())
    })?;
    match plan.symbols(bytes)? {
        Symbols::Scoped(table) => table.resolvers().for_each(|at| places.add(at)),
        Symbols::TwoLevel(table) => table.exports(|export| {
            if let Leads::Resolver(at) = export.leads {
                places.add(at);
            }
        })?,
    }
    Ok(places.detail("calls of resolvers"))
}

fn initialisers(plan: &LoadPlan) -> Option<String> {
    let in_arrays: u64 = plan.init.arrays.iter().map(|array| array.range.size / array.form.size()).sum();
    let count = in_arrays + u64::from(plan.init.function.is_some());
    (count > 0).then(|| format!("{count} of them"))
}

fn loads_more(plan: &LoadPlan, bytes: &[u8]) -> Result<Option<String>, ErrorKind> {
    const LOADERS: [&[u8]; 5] = [b"dlopen", b"dlmopen", b"_dlopen", b"_NSLinkModule", b"__libc_dlopen_mode"];
    let symbols = plan.symbols(bytes)?;
    let mut named = [false; LOADERS.len()];
    plan.imports(bytes, |id: ImportId| {
        // Asked by name: to read every name of a hostile table could take for ever.
        let is = |name: &[u8]| match &symbols {
            Symbols::Scoped(table) => {
                table.import(id.symbol).is_some_and(|row| row.own().is_none() && row.is_named(name))
            }
            Symbols::TwoLevel(table) => table.import(id.symbol).is_some_and(|import| import.name == name),
        };
        LOADERS.iter().zip(&mut named).for_each(|(name, named)| *named |= is(name));
        Ok::<_, ErrorKind>(())
    })?;
    let names = LOADERS.iter().zip(named).filter(|(_, named)| *named).map(|(name, _)| String::from_utf8_lossy(name));
    let names: Vec<_> = names.collect();
    Ok((!names.is_empty()).then(|| format!("imports {}", names.join(" "))))
}

fn static_thread_locals(plan: &LoadPlan) -> String {
    plan.tls.map_or_else(|| "of other images".to_owned(), |tls| format!("{:#x} bytes", tls.size))
}

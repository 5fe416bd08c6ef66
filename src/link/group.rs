//! Which images a group consists of: the opened one and, breadth-first, all that it needs.

use super::{FileStamp, Finder, ImageFile, Inventory, LinkedModule, Present, Root, too_many};
use crate::darwin;
use crate::error::{Error, ErrorKind, Stage};
use crate::plan::{LoadPlan, Machine, Need, NeedKind};
use crate::symbol::{HostId, InstanceId, ModuleId, Name, Provider};
use std::path::Path;

/// Libraries of which a process can only have one: they own the heap, the threads and the loader's own state.
const HOST_ONLY: &[&[u8]] = &[
    b"libc.so.6",
    b"ld-linux-x86-64.so.2",
    b"ld-linux-aarch64.so.1",
    b"libpthread.so.0",
    b"libdl.so.2",
    b"librt.so.1",
    b"libc.so.7",
    b"libthr.so.3",
    b"libsys.so.7",
    b"ld-elf.so.1",
];

/// Since glibc 2.34 these are empty shells: what they defined is in `libc.so.6`, under the same versions.
const MERGED_INTO_LIBC: &[&[u8]] = &[b"libpthread.so.0", b"libdl.so.2", b"librt.so.1"];

/// The images of a group.
pub(super) struct Group {
    pub root: Provider,
    pub modules: Vec<LinkedModule>,
    pub files: Vec<ImageFile>,
    pub scope: Vec<Provider>,
}

/// Finds and plans all images of the group.
pub(super) fn collect(
    root: Root<'_>,
    inventory: &Inventory<'_>,
    finder: &mut dyn Finder,
    max_span: u64,
) -> Result<Group, Error> {
    let mut collector = Collector { inventory, finder, max_span, modules: Vec::new(), files: Vec::new() };
    let root = match root {
        Root::Name(name) => collector.provide_root(name)?,
        Root::File(file) => collector.take(*file, None)?,
    };
    let mut scope = vec![root];
    let mut next = 0;
    while next < scope.len() {
        let needs = collector.needs(scope[next])?;
        let filtees = collector.filtees(scope[next])?;
        let before: Vec<Provider> = filtees.into_iter().filter(|filtee| !scope.contains(filtee)).collect();
        if !before.is_empty() {
            // They take this one's place, are visited themselves, and then it is this one's turn again.
            scope.splice(next..next, before);
            continue;
        }
        for need in needs {
            if !scope.contains(&need) {
                scope.push(need);
            }
        }
        next += 1;
    }
    Ok(Group { root, modules: collector.modules, files: collector.files, scope })
}

struct Collector<'c, 'i> {
    inventory: &'c Inventory<'i>,
    finder: &'c mut dyn Finder,
    max_span: u64,
    modules: Vec<LinkedModule>,
    files: Vec<ImageFile>,
}

impl Collector<'_, '_> {
    fn needs(&mut self, provider: Provider) -> Result<Vec<Provider>, Error> {
        match provider {
            Provider::Host(id) => Ok(self.inventory.host[usize::from(id.0)].needs.to_vec()),
            Provider::Loaded(id) => Ok(self.inventory.loaded[usize::from(id.0)].needs.to_vec()),
            Provider::New(id) => {
                let asked = self.modules[usize::from(id.0)].plan.needs.clone();
                let mut needs = Vec::with_capacity(asked.len());
                for (index, need) in asked.iter().enumerate() {
                    needs.push(match self.provide_need(need, id)? {
                        Some(provider) => provider,
                        None => {
                            self.modules[usize::from(id.0)].absent.push(index);
                            provider
                        }
                    });
                }
                self.modules[usize::from(id.0)].needs.clone_from(&needs);
                Ok(needs)
            }
        }
    }

    /// What the caller asks for by name.
    fn provide_root(&mut self, name: &[u8]) -> Result<Provider, Error> {
        if let Some(provider) = self.of_dyld(name) {
            return Ok(provider);
        }
        self.provide(name, None).map_err(|error| self.or_only_in_cache(error, name))
    }

    /// What provides a need; `None` for one that is absent and may be.
    fn provide_need(&mut self, need: &Need, id: ModuleId) -> Result<Option<Provider>, Error> {
        let by_install_name = self.modules[usize::from(id.0)].plan.is_two_level();
        if by_install_name && let Some(provider) = self.of_the_system(&need.name)? {
            return Ok(Some(provider));
        }
        match self.provide(&need.name, Some(id)) {
            Ok(Provider::New(found)) if self.modules[usize::from(found.0)].plan.flags.never_needed => {
                let kind = ErrorKind::unsupported("MH_BUNDLE (a bundle) as a need of another image");
                Err(kind.at(&self.modules[usize::from(found.0)].name, Stage::Link))
            }
            Ok(provider) => Ok(Some(provider)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) && by_install_name => {
                // One that is there under this name, wherever it came from (dyld).
                match self.by_soname(&need.name) {
                    Some(provider) => Ok(Some(provider)),
                    None if need.kind == NeedKind::Optional => Ok(None),
                    None => Err(self.or_only_in_cache(error, &need.name)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The image of a macOS process that has this full path or install name, or of the system's libraries this last
    /// component. No file is looked at: those of the system have none. What `@rpath` and its kin stand for is found first.
    fn of_dyld(&self, name: &[u8]) -> Option<Provider> {
        if !self.inventory.is_two_level() || name.starts_with(b"@") {
            return None;
        }
        let base = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next() == Some(name);
        let is_it = |image: &Present<'_>| {
            image.soname.is_some_and(|soname| soname == name || darwin::is_system(soname) && base(soname))
                || image.name.as_bytes() == name
        };
        let at = self.inventory.host.iter().position(is_it)?;
        Some(Provider::Host(HostId(at as u16)))
    }

    /// The error for a file that was not found, if it is none: but a part of the system that the process lacks.
    fn or_only_in_cache(&self, error: Error, name: &[u8]) -> Error {
        let only = self.inventory.is_two_level() && darwin::is_system(name);
        match error.kind() {
            ErrorKind::NotFound { .. } if only => {
                ErrorKind::OnlyInCache { name: name.to_vec() }.at(Name(name).to_string(), Stage::Find)
            }
            _ => error,
        }
    }

    /// The host in place of a library of the system, or the host's library that has what that one exports.
    fn of_the_system(&mut self, install_name: &[u8]) -> Result<Option<Provider>, Error> {
        if self.inventory.is_two_level() {
            return Ok(self.of_dyld(install_name));
        }
        if let Some(library) = darwin::host_library(install_name) {
            match self.provide(library, None) {
                Ok(provider) => return Ok(Some(provider)),
                // What is imported from it is then missing, by name.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let host = darwin::is_system(install_name) && !self.inventory.host.is_empty();
        Ok(host.then_some(Provider::Host(HostId(0))))
    }

    /// The images that a new module is a filter for. One that need not exist may be missing, but not be broken.
    fn filtees(&mut self, provider: Provider) -> Result<Vec<Provider>, Error> {
        let Provider::New(id) = provider else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for filtee in self.modules[usize::from(id.0)].plan.filters.clone() {
            match self.provide(&filtee.name, Some(id)) {
                Ok(provider) => found.push(provider),
                Err(error) if !filtee.required && matches!(error.kind(), ErrorKind::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.modules[usize::from(id.0)].needs.extend(&found);
        Ok(found)
    }

    /// What provides `name`: an image that is there, or a new module.
    fn provide(&mut self, name: &[u8], parent: Option<ModuleId>) -> Result<Provider, Error> {
        if !name.contains(&b'/')
            && let Some(provider) = self.by_soname(name)
        {
            return Ok(provider);
        }
        let parents = chain(&self.modules, parent);
        let requester = parents.first().copied();
        let file = self
            .finder
            .find(name, requester, parents.get(1..).unwrap_or_default())
            .map_err(|kind| explain(kind, requester).at(Name(name).to_string(), Stage::Find))?;
        self.take(file, parent)
    }

    /// What a file that was found stands for: an image that is there, or a new module.
    fn take(&mut self, file: ImageFile, parent: Option<ModuleId>) -> Result<Provider, Error> {
        if let Some(provider) = self.by_stamp(&file.stamp) {
            return Ok(provider);
        }
        let text = file.path.display().to_string();
        let mut plan = crate::plan::plan(&file.bytes, &text)?;
        self.finder.edit(&text, &mut plan);
        let twin = self.host_twin(&plan, &file).map_err(|kind| kind.at(&text, Stage::Link))?;
        if let Some(provider) = twin {
            return Ok(provider);
        }
        self.check(&plan).map_err(|kind| kind.at(text.clone(), Stage::Plan))?;
        if let Some(soname) = plan.soname.as_deref().filter(|soname| HOST_ONLY.contains(soname)) {
            let host_only = || ErrorKind::HostOnly { name: soname.to_vec() }.at(text, Stage::Link);
            return self.by_soname(soname).ok_or_else(host_only);
        }
        self.add(file, text, plan, parent)
    }

    fn add(
        &mut self,
        file: ImageFile,
        name: String,
        plan: LoadPlan,
        parent: Option<ModuleId>,
    ) -> Result<Provider, Error> {
        let id = u16::try_from(self.modules.len()).map_err(|_| too_many(&name))?;
        self.modules.push(LinkedModule {
            name,
            path: file.path.clone(),
            source: file.source.clone(),
            tried: file.tried.clone(),
            stamp: file.stamp,
            plan,
            needs: Vec::new(),
            absent: Vec::new(),
            parent,
        });
        self.files.push(file);
        Ok(Provider::New(ModuleId(id)))
    }

    /// A name without a slash: the host's instance wins, then ours, then the group's.
    fn by_soname(&self, name: &[u8]) -> Option<Provider> {
        let answers = |present: &Present<'_>| match present.soname {
            Some(soname) => soname == name,
            None => Path::new(present.name).file_name().is_some_and(|base| base.as_encoded_bytes() == name),
        };
        if let Some(at) = self.inventory.host.iter().position(answers) {
            return Some(Provider::Host(HostId(at as u16)));
        }
        if let Some(provider) = self.stands_in(name) {
            return Some(provider);
        }
        if let Some(at) = self.inventory.loaded.iter().position(answers) {
            return Some(Provider::Loaded(InstanceId(at as u16)));
        }
        let at = self.modules.iter().position(|module| match &module.plan.soname {
            Some(soname) => soname == name,
            None => module.path.file_name().is_some_and(|base| base.as_encoded_bytes() == name),
        })?;
        Some(Provider::New(ModuleId(at as u16)))
    }

    /// The host image that stands in for a library which must not be loaded twice and is not there under its name.
    fn stands_in(&self, name: &[u8]) -> Option<Provider> {
        if !HOST_ONLY.contains(&name) {
            return None;
        }
        if self.inventory.static_host {
            return Some(Provider::Host(HostId(0)));
        }
        let libc = self.inventory.host.iter().position(|image| image.soname == Some(b"libc.so.6"))?;
        MERGED_INTO_LIBC.contains(&name).then_some(Provider::Host(HostId(libc as u16)))
    }

    fn by_stamp(&self, stamp: &FileStamp) -> Option<Provider> {
        if let Some(at) = self.inventory.loaded.iter().position(|image| image.stamp == Some(*stamp)) {
            return Some(Provider::Loaded(InstanceId(at as u16)));
        }
        let at = self.modules.iter().position(|module| module.stamp == *stamp)?;
        Some(Provider::New(ModuleId(at as u16)))
    }

    /// The host image that is this very file. The host's files are looked at only when the names agree, since that
    /// takes system calls and one file cannot have two sonames.
    fn host_twin(&mut self, plan: &LoadPlan, file: &ImageFile) -> Result<Option<Provider>, ErrorKind> {
        let base = file.path.file_name().map(|base| base.as_encoded_bytes());
        for (at, image) in self.inventory.host.iter().enumerate() {
            let path = Path::new(image.name);
            let same_name = match (image.soname, plan.soname.as_deref()) {
                (Some(host), Some(ours)) => host == ours,
                (None, None) => path.file_name().map(|base| base.as_encoded_bytes()) == base,
                _ => false,
            };
            if same_name && self.finder.stamp(path)? == Some(file.stamp) {
                return Ok(Some(Provider::Host(HostId(at as u16))));
            }
        }
        Ok(None)
    }

    fn check(&self, plan: &LoadPlan) -> Result<(), ErrorKind> {
        if Machine::HOST != Some(plan.machine) {
            let expected = Machine::HOST.map_or("a supported machine", Machine::as_str);
            let found = plan.machine.as_str().to_owned();
            let field = if plan.is_two_level() { "cputype" } else { "e_machine" };
            return Err(ErrorKind::WrongTarget { field, found, expected: expected.into() });
        }
        if let Some(what) = plan.foreign_runtime {
            return Err(ErrorKind::unsupported(what));
        }
        match (plan.is_two_level(), self.inventory.is_two_level()) {
            (true, true) if plan.flags.pointer_auth => {
                return Err(ErrorKind::unsupported(
                    "running arm64e images (they sign pointers, and this process does not)",
                ));
            }
            (true, false) if !darwin::HOSTED => {
                return Err(ErrorKind::unsupported("running Mach-O images on this system"));
            }
            (false, true) => return Err(ErrorKind::unsupported("running ELF images on this system")),
            _ => {}
        }
        if plan.span.size > self.max_span {
            return Err(ErrorKind::SpanTooLarge { span: plan.span.size, limit: self.max_span });
        }
        crate::check::check(plan)
    }
}

/// The requester, then who asked for it, up to the root.
fn chain(modules: &[LinkedModule], from: Option<ModuleId>) -> Vec<&LinkedModule> {
    std::iter::successors(from, |id| modules[usize::from(id.0)].parent).map(|id| &modules[usize::from(id.0)]).collect()
}

fn explain(kind: ErrorKind, requester: Option<&LinkedModule>) -> ErrorKind {
    match kind {
        ErrorKind::NotFound { tried, .. } => {
            ErrorKind::NotFound { needed_by: requester.map(|module| module.name.clone()), tried }
        }
        other => other,
    }
}

//! Where the lookups of loaded images look, and in what order.
//!
//! `RTLD_DEFAULT` answers from where the caller's own imports were resolved: the host's start-up scope, the images
//! opened as global, then the caller's group. `RTLD_NEXT` answers, as glibc does, from what follows the caller in its
//! group alone: libc stands in the host's scope before every image of ours, but in a group it stands behind those that
//! need it, and an image that wraps `malloc` asks for the one behind it.
//!
//! The group of an image is that of the object whose opening brought it in.
//!
//! Invariant: a resolver is run and a thread-local's address taken only in images that were loaded at the time of the
//! [`View`], which keeps our own mapped; the host's are looked at within the call.

use crate::addr::{Bias, RunAddr};
use crate::error::ErrorKind;
use crate::plan::{Found, Query};
use crate::registry::{Instance, Member, NeedRef, REGISTRY, Snapshot};
use crate::runtime::host::{self, HostImages};
use crate::runtime::tls::{ModuleTls, host_alias};
use crate::runtime::{image, replace};
use crate::symbol::{HostId, Provider, SymbolKind};
use crate::sync::checked;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All images of the process at one moment.
#[derive(Debug)]
pub(super) struct View {
    pub(super) host: Arc<HostImages>,
    snapshot: checked::Arc<Snapshot>,
}

impl View {
    pub(super) fn now() -> Result<View, ErrorKind> {
        Ok(View { host: host::images()?, snapshot: REGISTRY.snapshot() })
    }

    /// Every image: the host's in its order, then ours in load order.
    pub(super) fn all(&self) -> impl Iterator<Item = Member> {
        let host = self.host.images.iter().map(|image| Member::Host(Arc::clone(image)));
        host.chain(self.snapshot.instances.iter().map(|instance| Member::Ours(Arc::clone(instance))))
    }

    /// How many of ours there ever were.
    pub(super) fn ever_loaded(&self) -> u64 {
        self.snapshot.ever
    }

    /// What all images see.
    pub(super) fn global(&self) -> impl Iterator<Item = Member> {
        self.all().filter(|member| match member {
            Member::Host(image) => image.global,
            Member::Ours(instance) => instance.global.load(Ordering::Relaxed),
        })
    }

    /// An image, then all that it needs, breadth-first.
    pub(super) fn group(&self, root: &Member) -> Vec<Member> {
        let mut scope = vec![root.clone()];
        let mut next = 0;
        while next < scope.len() {
            for need in self.needs(&scope[next]) {
                if !scope.iter().any(|known| is_same(known, &need)) {
                    scope.push(need);
                }
            }
            next += 1;
        }
        scope
    }

    /// The group that `caller` was loaded with; of a host image, the start-up scope.
    pub(super) fn group_of(&self, caller: &Member) -> Vec<Member> {
        let Member::Ours(instance) = caller else { return self.global().collect() };
        let mut root = instance;
        while root.module.parent.is_some()
            && let Some(parent) = self.snapshot.instances.iter().find(|it| Some(it.serial) == root.loaded_by)
        {
            root = parent;
        }
        self.group(&Member::Ours(Arc::clone(root)))
    }

    fn needs(&self, member: &Member) -> Vec<Member> {
        let provider = |provider: &Provider| match *provider {
            Provider::Host(HostId(at)) => self.host.images.get(usize::from(at)).cloned().map(Member::Host),
            Provider::New(_) | Provider::Loaded(_) => None, // the host's images need only one another
        };
        match member {
            Member::Ours(instance) => instance.needs.iter().filter_map(|&need| self.need(need)).collect(),
            Member::Host(_) => {
                let index = self.index(member).unwrap_or(usize::MAX);
                self.host.needs(index).iter().filter_map(provider).collect()
            }
        }
    }

    fn need(&self, need: NeedRef) -> Option<Member> {
        match need {
            NeedRef::Host(dynamic) => {
                self.host.images.iter().find(|image| image.dynamic == dynamic).cloned().map(Member::Host)
            }
            NeedRef::Ours(serial) => {
                self.snapshot.instances.iter().find(|it| it.serial == serial).cloned().map(Member::Ours)
            }
        }
    }

    /// The place of a host image in the list.
    fn index(&self, member: &Member) -> Option<usize> {
        let Member::Host(image) = member else { return None };
        self.host.images.iter().position(|it| it.dynamic == image.dynamic)
    }

    /// The id for the thread-locals of an image.
    pub(super) fn thread_locals(&self, member: &Member) -> Option<u64> {
        match member {
            Member::Ours(instance) => instance.tls.as_ref().map(ModuleTls::id),
            Member::Host(_) => {
                let known = self.host.tls_of(self.index(member)?)?;
                known.module.or_else(|| known.offset.and_then(host_alias))
            }
        }
    }

    /// The one definition of a unique symbol that counts: the host's, or that of the image that was loaded first.
    fn first_unique(&self, query: &Query<'_>) -> Option<(Member, Found)> {
        self.all().find_map(|member| {
            let found = find(&member, query).filter(|found| found.unique)?;
            Some((member, found))
        })
    }

    /// The first definition in a scope.
    ///
    /// # Safety
    /// The resolver of an indirect function runs.
    pub(super) unsafe fn lookup(&self, scope: impl IntoIterator<Item = Member>, query: &Query<'_>) -> Option<RunAddr> {
        scope.into_iter().find_map(|member| {
            let found = find(&member, query)?;
            let (member, found) = if found.unique { self.first_unique(query)? } else { (member, found) };
            // An image that looks up the lookup functions must get those that it would be bound to.
            let ours = matches!(member, Member::Host(_)).then(|| replace::replacement(query.name())).flatten();
            let tls = if found.kind == SymbolKind::Tls { self.thread_locals(&member) } else { None };
            // SAFETY: the caller allows a resolver to run; the symbol is this image's, which is loaded.
            ours.or_else(|| unsafe { image::address(&found, bias(&member), tls) })
        })
    }
}

/// The image with a segment at `address`. For one of ours, the host's are not looked at.
pub(super) fn at(address: RunAddr) -> Option<Member> {
    if let Some((instance, _)) = REGISTRY.at(address) {
        return Some(Member::Ours(instance));
    }
    let host = host::images().ok()?;
    Some(Member::Host(Arc::clone(&host.images[host.at(address)?])))
}

fn find(member: &Member, query: &Query<'_>) -> Option<Found> {
    match member {
        Member::Ours(instance) => instance.symbols.find(query),
        Member::Host(image) => image.find(query),
    }
}

/// What is added to an image's addresses.
pub(super) fn bias(member: &Member) -> Bias {
    match member {
        Member::Ours(instance) => Instance::bias(instance),
        Member::Host(image) => image.bias(),
    }
}

pub(super) fn is_same(one: &Member, two: &Member) -> bool {
    match (one, two) {
        (Member::Ours(one), Member::Ours(two)) => Arc::ptr_eq(one, two),
        (Member::Host(one), Member::Host(two)) => one.dynamic == two.dynamic,
        _ => false,
    }
}

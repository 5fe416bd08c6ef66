//! The order in which a group is initialised.

use super::LinkedModule;
use crate::plan::NeedKind;
use crate::symbol::{ModuleId, Provider};

/// Needs before their users; within a cycle the module that is reached first comes last. Modules that ask for it
/// (`DF_1_INITFIRST`) come before all others.
pub(super) fn init_order(modules: &[LinkedModule]) -> Vec<ModuleId> {
    let mut order = Vec::with_capacity(modules.len());
    let mut seen = vec![false; modules.len()];
    for root in 0..modules.len() {
        visit(root, modules, &mut seen, &mut order);
    }
    // A stable sort keeps needs first among the others.
    order.sort_by_key(|id: &ModuleId| !modules[usize::from(id.0)].plan.flags.init_first);
    order
}

/// Post-order with an explicit stack: a chain of needs may be longer than a thread's stack is deep.
fn visit(root: usize, modules: &[LinkedModule], seen: &mut [bool], order: &mut Vec<ModuleId>) {
    if std::mem::replace(&mut seen[root], true) {
        return;
    }
    let mut stack = vec![(root, 0)];
    while let Some((module, next)) = stack.pop() {
        match modules[module].needs.get(next) {
            Some(Provider::New(need)) => {
                stack.push((module, next + 1));
                // It is above this one: its turn comes as that of a root.
                if modules[module].plan.needs.get(next).is_some_and(|need| need.kind == NeedKind::Upward) {
                    continue;
                }
                let need = usize::from(need.0);
                if !std::mem::replace(&mut seen[need], true) {
                    stack.push((need, 0));
                }
            }
            Some(_) => stack.push((module, next + 1)),
            None => order.push(ModuleId(module as u16)),
        }
    }
}

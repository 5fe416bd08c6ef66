//! What an audit finds: each rule in a fixture that breaks it, and nowhere else; and a policy refuses it before anything
//! is mapped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use sideload::audit::{Finding, Policy, Rule, Severity, findings};
use sideload::plan::{LoadPlan, plan};
use sideload::{ErrorKind, Loader, Stage, ledger};
use std::fs;
use test_fixtures::build;

type Edit = fn(&mut LoadPlan);

/// Rule, fixture, what is changed in its plan where no linker makes such an object, and what the detail says.
const BROKEN: &[(Rule, &str, Edit, &str)] = &[
    (Rule::WritableCode, "relative", |plan| plan.regions[0].prot.write = true, ""),
    (Rule::WritableCode, "relative", all_of_it, "0x0..0x"),
    (
        Rule::RelativeSearch,
        "relative",
        |plan| plan.search.runpath = Some(b"/usr/lib:lib:$ORIGIN:".to_vec()),
        "lib (empty)",
    ),
    (Rule::RelativeSearch, "relative", |plan| plan.search.rpath = Some(b"..".to_vec()), ".."),
    (Rule::RelativeSearch, "jump_slot_now", |plan| plan.needs[0].name = b"./libm.so".to_vec(), "./libm.so"),
    (Rule::TextRelocations, "textrel", as_is, "places, the first at 0x"),
    (Rule::ExecutableStack, "execstack", as_is, ""),
    (Rule::UnsealedCalls, "jump_slot_lazy", as_is, "of them, the first at 0x"),
    (Rule::Resolvers, "ifunc_local", as_is, "the first at 0x"),
    (Rule::Resolvers, "ifunc_exported", as_is, "the first at 0x"),
    (Rule::Initialisers, "init_array", as_is, "of them"),
    (Rule::LoadsMore, "dlclose", as_is, "imports dlopen"),
    (Rule::Interpose, "df_interpose", as_is, ""),
    (Rule::StaticThreadLocals, "tls_initial_exec", as_is, " bytes"),
];

fn as_is(_: &mut LoadPlan) {}

fn all_of_it(plan: &mut LoadPlan) {
    for region in &mut plan.regions {
        (region.prot.write, region.prot.execute) = (true, true);
    }
}

fn look(fixture: &str, edit: Edit) -> Vec<Finding> {
    let path = build(fixture).path;
    let bytes = fs::read(&path).expect("built");
    let mut plan = plan(&bytes, fixture).unwrap_or_else(|error| panic!("{error}"));
    edit(&mut plan);
    findings(&plan, &bytes).unwrap_or_else(|kind| panic!("{fixture}: {kind}"))
}

#[test]
fn each_rule_finds_what_it_is_about() {
    let found = |fixture, edit, rule| look(fixture, edit).into_iter().find(|finding| finding.rule == rule);
    for &(rule, fixture, edit, detail) in &BROKEN[1..] {
        let finding = found(fixture, edit, rule).unwrap_or_else(|| panic!("{rule:?} in {fixture}"));
        assert!(finding.detail.contains(detail), "{rule:?} in {fixture}: {finding:?}");
    }
    // Writable is one thing.
    let (rule, fixture, edit, _) = BROKEN[0];
    assert_eq!(found(fixture, edit, rule), None);
    let missing: Vec<Rule> = Rule::ALL.into_iter().filter(|rule| !BROKEN.iter().any(|row| row.0 == *rule)).collect();
    assert_eq!(missing, [], "rules without a fixture");
}

#[test]
fn what_is_all_right_is_found_nowhere() {
    let rules = |fixture| look(fixture, as_is).into_iter().map(|finding| finding.rule).collect::<Vec<_>>();
    assert_eq!(rules("jump_slot_now"), []);
    // Each of the others breaks no rule but its own, apart from those that most objects break.
    let usual = [Rule::Initialisers, Rule::UnsealedCalls];
    for &(rule, fixture, edit, _) in BROKEN.iter().filter(|row| std::ptr::fn_addr_eq(row.2, as_is as Edit)) {
        let others: Vec<Finding> = look(fixture, edit)
            .into_iter()
            .filter(|finding| finding.rule != rule && !usual.contains(&finding.rule))
            .collect();
        assert_eq!(others, [], "{fixture}");
    }
}

#[test]
fn findings_come_the_gravest_first() {
    let severities: Vec<Severity> = Rule::ALL.into_iter().map(Rule::severity).collect();
    assert!(severities.is_sorted_by(|one, next| one >= next), "{severities:?}");
    for rule in Rule::ALL {
        assert_eq!(rule.as_str().parse(), Ok(rule));
    }
    let error = "no-such".parse::<Rule>().expect_err("none").to_string();
    assert!(error.contains("loads-more"), "{error}");
}

#[test]
fn a_policy_refuses_before_anything_is_mapped() {
    let before = ledger();
    for &(rule, fixture, edit, _) in BROKEN.iter().skip(1) {
        let path = build(fixture).path;
        let root = path.clone();
        let edited = move |name: &str, plan: &mut LoadPlan| {
            if std::path::Path::new(name) == root {
                edit(plan);
            }
        };
        // All is allowed but this; a need with a slash would not be found.
        let allowed = Rule::ALL.into_iter().fold(Policy::default(), Policy::allow);
        let loader = Loader::new().policy(allowed.refuse(rule)).edit_plans(edited);
        let link = match loader.link(&path) {
            Ok(link) => link,
            Err(error) if error.stage() == Stage::Find => continue,
            Err(error) => panic!("{fixture}: {error}"),
        };
        let error = link.map().err().unwrap_or_else(|| panic!("{fixture}: {rule:?} is not refused"));
        let ErrorKind::Refused { what } = error.kind() else { panic!("{fixture}: {error}") };
        assert_eq!((*what, error.stage()), (rule.what(), Stage::Admit), "{fixture}");
    }
    assert_eq!(ledger().reservations, before.reservations);
}

#[test]
fn writable_code_cannot_be_allowed() {
    let policy = Policy::default().allow(Rule::WritableCode);
    assert!(policy.refuses(Rule::WritableCode));
    let strict = Policy::default().refuse_from(Severity::Note);
    assert!(Rule::ALL.into_iter().all(|rule| strict.refuses(rule)));
}

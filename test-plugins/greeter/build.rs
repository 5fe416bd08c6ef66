//! States what no macro can see.

fn main() {
    sideload::build_script::Facts::new().shared("shapes", "../shapes").emit();
}

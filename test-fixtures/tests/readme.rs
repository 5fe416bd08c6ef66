//! `README.md` lists every row and every fixture.

#[test]
fn the_tables_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("README.md");
    let wanted = test_fixtures::readme::update(&readme, &test_fixtures::all());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, wanted).expect("README.md can be written");
        return;
    }
    assert!(readme == wanted, "out of date: BLESS=1 cargo test -p test-fixtures --test readme");
}

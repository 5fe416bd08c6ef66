//! The broken files are all made, each once.

use std::collections::HashSet;

#[test]
fn every_malformed_file_is_made() {
    let all = test_fixtures::malformed();
    let names: HashSet<_> = all.iter().map(|malformed| malformed.name).collect();
    assert_eq!(names.len(), all.len(), "names are unique");
    for malformed in all {
        assert_eq!(malformed.path.exists(), malformed.name != "missing", "{}", malformed.name);
    }
}

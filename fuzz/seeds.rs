//! `seeds`: lays the fixtures and the malformed files into the corpus of each target.

use std::fs;
use std::path::Path;

fn main() {
    let fixtures = test_fixtures::all().into_iter().map(|fixture| fixture.path);
    let malformed = test_fixtures::malformed().into_iter().map(|file| file.path);
    let files: Vec<_> = fixtures.chain(malformed).filter(|path| path.is_file()).collect();
    for target in ["plan", "link", "lookup"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder).expect("the folder can be made");
        for file in &files {
            let to = folder.join(file.file_name().expect("a file"));
            fs::copy(file, &to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
    println!("{} files for each target", files.len());
}

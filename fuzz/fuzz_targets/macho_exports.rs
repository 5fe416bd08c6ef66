//! Any bytes as an export trie: every walk ends, and a name that is listed is found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sideload::addr::VmAddr;
use sideload::macho::exports::Trie;

fuzz_target!(|bytes: &[u8]| {
    let trie = Trie::new(bytes, VmAddr(0x1000));
    let (mut names, mut length) = (Vec::new(), 0);
    let _ = trie.each(|name, _| {
        length += name.len();
        if names.len() < 64 {
            names.push(name.to_vec());
        }
    });
    assert!(length <= bytes.len() * 1024, "{length} bytes of names");
    for name in &names {
        let whole = trie.find(&[name]);
        let (front, back) = name.split_at(name.len() / 2);
        assert_eq!(format!("{whole:?}"), format!("{:?}", trie.find(&[front, back])), "it depends on the pieces");
    }
    let _ = trie.find(&[b"_", b"answer"]);
});

//! Policies, on a real plugin: what is allowed opens, and what is not is refused with nothing mapped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use minisign::KeyPair;
use sideload::{ErrorKind, Loader, ledger};
use sideload_trust::{Policy, Trust, sha256, signature_path, trusted_comment};
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Held by each test that opens: [`refused`] counts what the whole process holds.
static ALONE: Mutex<()> = Mutex::new(());

/// A copy of a plugin, in a folder that only its owner may write.
fn plugin() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let path = folder.path().join("libplugin.so");
    fs::copy(test_fixtures::build("plugin").path, &path).expect("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    (folder, path)
}

fn trust(policy: &str) -> Trust {
    let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("{error}\n{policy}"));
    // SAFETY: the plugins are fixtures of this repository.
    unsafe { Trust::new(Loader::new(), policy) }
}

#[track_caller]
fn refused(policy: &str, path: &Path, words: &str) {
    let before = ledger();
    let error = trust(policy).open(path).expect_err(words);
    assert!(matches!(error.kind(), ErrorKind::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains(words), "no `{words}` in {error}");
    let after = ledger();
    assert_eq!((after.reservations, after.instances), (before.reservations, before.instances), "{error}");
}

fn sign(keys: &KeyPair, path: &Path, comment: &str) {
    let bytes = fs::read(path).expect("ours");
    let signature = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), Some(comment), None).expect("signed");
    fs::write(signature_path(path), signature.to_string()).expect("ours");
}

#[test]
fn the_first_rule_that_matches_decides_and_the_default_is_no() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, path) = plugin();
    let hash = sha256(&fs::read(&path).expect("ours"));
    let folder = folder.path().canonicalize().expect("ours");
    let folder = folder.display();
    refused("", &path, "no rule allows it");
    refused("[[rule]]\naction = \"allow\"\nname = \"other\"", &path, "rule 1: its name is plugin, not other");
    refused("[[rule]]\naction = \"allow\"\nfolder = \"/usr/lib\"", &path, "it does not lie in");
    refused("[[rule]]\naction = \"allow\"\nowner = 4242", &path, "not 4242");
    let zeros = "0".repeat(64);
    refused(&format!("[[rule]]\naction = \"allow\"\nsha256 = [\"{zeros}\"]"), &path, &hash);
    let deny = format!("[[rule]]\naction = \"deny\"\nsha256 = [\"{hash}\"]\n");
    let allow =
        format!("[[rule]]\naction = \"allow\"\nname = \"plug*\"\nfolder = \"{folder}\"\nonly-owner-writes = true\n");
    refused(&format!("{deny}{allow}"), &path, "rule 1 denies it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("ours");
    refused(&allow, &path, "others may write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    let plugin = trust(&format!("{allow}{deny}")).open(&path).expect("the first rule allows it");
    let add = plugin.lookup::<extern "C" fn(i32, i32) -> i32>("plugin_add").expect("exported");
    assert_eq!(add(40, 2), 42);
    // That it is loaded does not help those whom another policy refuses.
    refused(&deny, &path, "rule 1 denies it");
}

#[test]
fn a_signature_is_of_the_key_the_bytes_and_the_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_folder, path) = plugin();
    let keys = KeyPair::generate_unencrypted_keypair().expect("a key");
    let other = KeyPair::generate_unencrypted_keypair().expect("a key");
    let policy = format!("[[rule]]\naction = \"allow\"\nname = \"plugin\"\nkeys = [\"{}\"]", keys.pk.to_base64());
    refused(&policy, &path, "No such file");
    sign(&other, &path, &trusted_comment("plugin", "1.0.0"));
    refused(&policy, &path, "its signature is none of these keys'");
    sign(&keys, &path, &trusted_comment("other", "1.0.0"));
    refused(&policy, &path, "its signature is for `name:other version:1.0.0`, not for `name:plugin version:1.0.0`");
    sign(&keys, &path, &trusted_comment("plugin", "1.0.0"));
    let mut bytes = fs::read(&path).expect("ours");
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    let changed = path.with_file_name("changed.so");
    fs::write(&changed, bytes).expect("ours");
    fs::copy(signature_path(&path), signature_path(&changed)).expect("ours");
    refused(&policy, &changed, "its signature is none of these keys'");
    trust(&policy).open(&path).expect("signed for what it is");
}

#[test]
fn a_policy_that_says_nothing_or_too_much_is_an_error() {
    let cases = [
        ("[[rule]]\naction = \"allow\"", "rule 1: it names nothing"),
        ("[[rule]]\naction = \"allow\"\nnmae = \"x\"", "unknown field `nmae`"),
        ("[[rule]]\naction = \"maybe\"\nname = \"x\"", "unknown variant `maybe`"),
        ("[[rule]]\nname = \"x\"", "missing field `action`"),
        ("[[rule]]\naction = \"allow\"\nsha256 = [\"12\"]", "is not a SHA-256"),
        ("[[rule]]\naction = \"allow\"\nkeys = [\"RW\"]", "key `RW`"),
        ("[[rule]]\naction = \"allow\"\nfolder = \"plugins\"", "is not an absolute path"),
        ("default = \"allow\"", "unknown field `default`"),
    ];
    for (text, words) in cases {
        let error = Policy::parse(text).expect_err(words).to_string();
        assert!(error.contains(words), "no `{words}` in {error}");
    }
}

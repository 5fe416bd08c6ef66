//! `sign`, `verify` and `static`: the verbs for plugins.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{json, path, sideload};

/// A copy of a plugin in a folder, with a key.
fn signing() -> (tempfile::TempDir, String, String, minisign::KeyPair) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("libplugin.so");
    fs::copy(test_fixtures::build("plugin").path, &file).expect("ours");
    let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
    let key = folder.path().join("secret.key");
    fs::write(&key, keys.sk.to_box(None).expect("a key").into_string()).expect("ours");
    (folder, path(&file), path(&key), keys)
}

fn policy(folder: &Path, key: &str) -> String {
    let file = folder.join("policy.toml");
    fs::write(&file, format!("[[rule]]\naction = \"allow\"\nname = \"plugin\"\nkeys = [\"{key}\"]\n")).expect("ours");
    path(&file)
}

#[test]
fn what_is_signed_is_allowed_and_what_changed_is_not() {
    let (folder, file, key, keys) = signing();
    let run = sideload(&["sign", &file, "--key", &key]).run();
    let public = keys.pk.to_base64();
    let expected = format!("signature {file}.minisig\ncomment name:plugin version:1.0.0\nkey {public}\n");
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (0, expected.as_str(), ""));
    let policy = policy(folder.path(), &public);
    let verify = ["verify", &file, "--policy", &policy];
    let run = sideload(&verify).run();
    assert_eq!((run.status, run.stdout), (0, format!("allowed {file} rule 1 plugin 1.0.0\n")), "{}", run.stderr);
    let document = json(&["verify", &file, "--policy", &policy, "--json"]);
    assert_eq!((&document["allowed"], &document["files"][0]["rule"]), (&true.into(), &1.into()));

    // One byte that no loader looks at.
    let mut bytes = fs::read(&file).expect("ours");
    bytes.push(0);
    fs::write(&file, bytes).expect("ours");
    let run = sideload(&verify).run();
    let expected = format!("refused {file} no rule allows it\n  rule 1: its signature is none of these keys'\n");
    assert_eq!((run.status, run.stdout), (1, expected));
    let run = sideload(&verify).args(&["--json"]).run();
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one document");
    assert_eq!((run.status, &document["files"][0]["rule"]), (1, &serde_json::Value::Null));

    let document = json(&["sign", &file, "--key", &key, "--json"]);
    assert_eq!(document["key"], public);
    assert_eq!(sideload(&verify).run().status, 0);
}

/// With the tool that made the format.
#[test]
fn minisign_and_sideload_read_each_others_signatures() {
    if Command::new("minisign").arg("-v").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI installs minisign");
        eprintln!("minisign is not installed");
        return;
    }
    let (folder, file, _, _) = signing();
    let (secret, public) = (path(&folder.path().join("its.key")), path(&folder.path().join("its.pub")));
    let minisign = |arguments: &[&str]| {
        let output = Command::new("minisign").args(arguments).output().expect("it is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    minisign(&["-G", "-W", "-s", &secret, "-p", &public]);
    let run = sideload(&["sign", &file, "--key", &secret]).run();
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    minisign(&["-V", "-p", &public, "-m", &file]);

    let key = fs::read_to_string(&public).expect("made above").lines().nth(1).expect("the key").to_owned();
    let policy = policy(folder.path(), &key);
    fs::remove_file(format!("{file}.minisig")).expect("made above");
    let verify = ["verify", &file, "--policy", &policy];
    assert_eq!(sideload(&verify).run().status, 1);
    minisign(&["-S", "-W", "-s", &secret, "-m", &file, "-t", "name:plugin version:1.0.0"]);
    assert_eq!(sideload(&verify).run().status, 0);
    minisign(&["-S", "-W", "-s", &secret, "-m", &file, "-t", "name:other version:1.0.0"]);
    let run = sideload(&verify).run();
    assert!(run.stdout.contains("its signature is for `name:other version:1.0.0`"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_signed_or_verified_says_why() {
    let (folder, file, key, keys) = signing();
    let policy = policy(folder.path(), &keys.pk.to_base64());
    let other = path(&folder.path().join("other.toml"));
    fs::write(&other, "[[rule]]\naction = \"allow\"\nkey = \"misspelt\"\n").expect("ours");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["sign", &file, "--key", &file], 1, "libplugin.so: "),
        (&["sign", &file, "--key", &policy], 1, "policy.toml: "),
        (&["sign", &key, "--key", &key], 1, "secret.key: "),
        (&["sign", "/no/such.so", "--key", &key], 1, "/no/such.so: "),
        (&["sign", &file], 2, "--key"),
        (&["verify", &file, "--policy", &other], 1, "unknown field `key`"),
        (&["verify", &file, "--policy", "/no/such.toml"], 1, "/no/such.toml: "),
        (&["verify", "libz.so.1", "--policy", &policy], 1, "libz.so.1"),
        (&["verify", &file], 2, "--policy"),
        (&["static", "/no/such"], 1, "/no/such: "),
        (&["static"], 2, "<FOLDER>"),
    ];
    for (arguments, status, words) in cases {
        let run = sideload(arguments).run();
        assert_eq!((run.status, run.stdout.as_str()), (*status, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    }
    assert!(!PathBuf::from(format!("{file}.minisig")).exists());
}

#[test]
fn static_writes_the_list_for_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let plugins = path(&root.join("test-plugins"));
    let run = sideload(&["static", &plugins]).run();
    assert_eq!(run.status, 0);
    assert!(run.stderr.contains("shapes: exports nothing, left out"), "{}", run.stderr);
    let lists: Vec<&str> = run.stdout.lines().filter_map(|line| line.trim().strip_prefix('&')).collect();
    assert_eq!(lists.len(), 5, "{}", run.stdout);
    assert!(lists.iter().any(|list| list.starts_with("::starter::PLUGIN, // RAN, order")), "{}", run.stdout);
    let run = sideload(&["static", &plugins, "--dependencies-of", &path(&root.join("Cargo.toml"))]).run();
    assert_eq!(
        run.stdout,
        ["build-tier", "greeter", "stable-tier", "starter", "tier-plugin"]
            .map(|name| format!("{name} = {{ path = \"test-plugins/{}\" }}\n", name.replace('-', "_")))
            .concat()
    );
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = path(&folder.path().join("plugins.rs"));
    let run = sideload(&["static", &plugins, "--output", &file]).run();
    assert_eq!((run.status, run.stdout.as_str()), (0, ""));
    assert!(fs::read_to_string(&file).expect("written").contains("pub static PLUGINS"));
    let run = sideload(&["static", &plugins, "--json"]).run();
    let document: serde_json::Value = serde_json::from_str(&run.stdout).expect("one document");
    assert_eq!(document["plugins"][0]["list"], "PLUGIN");
}

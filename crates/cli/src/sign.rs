//! `sign`: makes the signature that a policy asks for.

use crate::failure::{Done, Failure, output};
use crate::json;
use crate::locate;
use clap::Args;
use ct_codecs::{Base64, Decoder};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use serde::Serialize;
use sideload_trust::{signature_path, trusted_comment};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Signs a plugin or a library, for policies with `keys`
///
/// Writes FILE.minisig, as `minisign -S` does; the trusted comment has the name and the version that the plugin states, so
/// that its signature is no other plugin's. Prints the public key, as a policy lists it. Keys are those of minisign:
/// `minisign -G` makes them.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// What to sign
    file: PathBuf,
    /// The secret key
    #[arg(long)]
    key: PathBuf,
    /// A file whose first line is the password of the key; without it, the terminal is asked
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Where to write the signature; FILE.minisig if not given, which is where it is looked for
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Prints:
  signature FILE
  comment name:NAME version:VERSION      both empty for what is no plugin
  key PUBLIC-KEY

Examples:
  minisign -G -W -s release.key -p release.pub
  sideload sign target/release/libgreeter.so --key release.key
  minisign -V -p release.pub -m target/release/libgreeter.so";

#[derive(Serialize)]
struct Document {
    signature: String,
    comment: String,
    key: String,
}

pub(crate) fn run(arguments: &Arguments) -> Done {
    let planned = locate::read(&arguments.file)?;
    // Whoever verifies takes a file with malformed rows for no plugin, and would find another comment.
    let facts = planned.plan.plugin_facts(&planned.bytes);
    let facts = facts.map_err(|malformed| Failure::malformed(&arguments.file, malformed))?;
    let fact = |key: &str| facts.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    let (name, version) = (fact("name"), fact("version"));
    let comment = trusted_comment(name, version);
    let secret = secret_key(&arguments.key, arguments.password_file.as_deref())?;
    let blame = |error: minisign::PError| Failure::malformed(&arguments.key, error);
    let public = PublicKey::from_secret_key(&secret).map_err(blame)?;
    let bytes = Cursor::new(&*planned.bytes);
    let signature = minisign::sign(Some(&public), &secret, bytes, Some(&comment), None).map_err(blame)?;
    let path = arguments.output.clone().unwrap_or_else(|| signature_path(&arguments.file));
    fs::write(&path, signature.into_string()).map_err(|error| Failure::file(&path, error))?;
    let document = Document { signature: path.display().to_string(), comment, key: public.to_base64() };
    if arguments.json {
        json::print(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut output = output();
    writeln!(output, "signature {}\ncomment {}\nkey {}", document.signature, document.comment, document.key)?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn secret_key(path: &Path, password: Option<&Path>) -> Result<SecretKey, Failure> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| Failure::file(path, error));
    let text = read(path)?;
    let blame = |error: minisign::PError| Failure::malformed(path, error);
    let sealed = || SecretKeyBox::from_string(&text).map_err(blame);
    if let Some(key) = open_key(&text) {
        return Ok(key);
    }
    let password = match password {
        Some(file) => read(file)?.lines().next().unwrap_or_default().to_owned(),
        None => {
            sealed()?;
            rpassword::prompt_password(format!("password of {}: ", path.display()))
                .map_err(|error| Failure::malformed(path, format!("no password: {error}")))?
        }
    };
    sealed()?.into_secret_key(Some(password)).map_err(blame)
}

/// A key without a password. `minisign -G -W` of 0.11 leaves its checksum empty, which the crate takes for damage.
fn open_key(text: &str) -> Option<SecretKey> {
    if let Ok(key) = SecretKeyBox::from_string(text).and_then(SecretKeyBox::into_unencrypted_secret_key) {
        return Some(key);
    }
    // minisign(1), "Secret key format": algorithm, key derivation, checksum algorithm, two bytes each; …; 32 of checksum.
    let bytes = Base64::decode_to_vec(text.lines().nth(1)?, None).ok()?;
    let (rest, checksum) = bytes.split_last_chunk::<32>()?;
    let is_open = rest.get(2..4) == Some(&[0, 0]) && *checksum == [0; 32];
    SecretKey::from_bytes(&bytes).ok().filter(|_| is_open)
}

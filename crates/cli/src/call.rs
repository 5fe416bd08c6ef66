//! `call`: opens a library, calls one of its functions, and prints what it returns.
//!
//! Invariant: the function is called with the arguments and the result type that the user stated; that they are its own
//! is for the user to know.

use crate::failure::{Done, Failure, output};
use crate::invoke::{Registers, Returned, call_symbol};
use crate::json;
use crate::locate;
use crate::open::{Until, open};
use crate::value::{Argument, Type};
use clap::Args;
use serde::Serialize;
use sideload::symbol::SymbolKind;
use sideload::{Defined, Library, Loader, plan};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

/// Opens a library, calls one of its functions, and prints the result.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// A path, or a name that is searched as a loader would
    lib: OsString,
    /// The function
    symbol: OsString,
    /// Its arguments: TYPE:VALUE, or VALUE
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arg: Vec<OsString>,
    /// What it returns
    #[arg(long, value_name = "TYPE", value_enum, default_value = "i32")]
    returns: Type,
    /// Opens the library though functions are missing: a call of one ends the process and names it
    #[arg(long)]
    stubs: bool,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
TYPE is i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 str ptr, and void for --returns. Without a type an
integer is i64, a decimal f64, anything else str; integers may be hexadecimal. Arguments have to fit
in registers: on x86-64 six integers and pointers and eight floating-point numbers, in any order.
Nothing checks that they are what the function takes.

Examples:
  sideload call libz.so.1 zlibVersion --returns str
  sideload call libm.so.6 cos f64:0.5 --returns f64
  sideload call libz.so.1 crc32 u64:0 str:hello u32:5 --returns u64";

pub(crate) fn run(arguments: &Arguments) -> Done {
    let parse = |argument: &OsString| Argument::parse(argument).map_err(|bad| Failure::Usage(bad.to_string()));
    let values = arguments.arg.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let registers = Registers::assign(values).map_err(Failure::Usage)?;
    let loader = Loader::new().search(locate::options()).stub_missing(arguments.stubs);
    let opened = open(&loader, &arguments.lib, Until::Initialised)?;
    if let Some(library) = &opened.library {
        let symbol = arguments.symbol.as_bytes();
        check(library, symbol)?;
        // SAFETY: by the user's word, the symbol is a function that takes these arguments and returns this type.
        let returned = unsafe { call_symbol(library, symbol, &registers, arguments.returns) }?;
        if arguments.json {
            let symbol = arguments.symbol.to_string_lossy();
            json::print(&Document { library: &opened.path, symbol: &symbol, returned: value(&returned) })?;
        } else {
            print(&returned)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses what is no code; what is not there at all is for the lookup to say.
fn check(library: &Library, symbol: &[u8]) -> Result<(), Failure> {
    let Some(found) = library.definition(symbol) else { return Ok(()) };
    let what = match found.kind {
        SymbolKind::Code | SymbolKind::Ifunc => return Ok(()),
        SymbolKind::Data if is_in_code(&found) => return Ok(()), // written in assembly, without a type
        SymbolKind::Data => "a variable",
        SymbolKind::Tls | SymbolKind::ThreadVariable => "a thread-local variable",
        SymbolKind::Absolute => "a number",
    };
    let symbol = String::from_utf8_lossy(symbol);
    Err(Failure::malformed(
        Path::new(found.path),
        format_args!("lookup: {symbol} is {what}, and only functions can be called"),
    ))
}

fn is_in_code(found: &Defined<'_>) -> bool {
    let plan = found.file.and_then(|file| plan::plan(file, found.path).ok());
    plan.and_then(|plan| Some(plan.region(found.vm, 1)?.prot.execute)).unwrap_or(false)
}

fn print(returned: &Returned) -> Result<(), Failure> {
    let mut output = output();
    match returned {
        Returned::Nothing => return Ok(()),
        Returned::Signed(value) => writeln!(output, "{value}")?,
        Returned::Unsigned(value) => writeln!(output, "{value}")?,
        Returned::Single(value) => writeln!(output, "{value}")?,
        Returned::Double(value) => writeln!(output, "{value}")?,
        Returned::Pointer(value) => writeln!(output, "{value:#x}")?,
        Returned::Text(None) => writeln!(output, "(null)")?,
        // As it is: whoever reads it may well expect bytes that are not UTF-8.
        Returned::Text(Some(text)) => {
            output.write_all(text)?;
            output.write_all(b"\n")?;
        }
    }
    Ok(output.flush()?)
}

#[derive(Serialize)]
struct Document<'a> {
    library: &'a str,
    symbol: &'a str,
    returned: serde_json::Value,
}

/// What is neither a number nor a string in JSON is null: nothing, a null string, infinities.
fn value(returned: &Returned) -> serde_json::Value {
    match returned {
        Returned::Nothing | Returned::Text(None) => serde_json::Value::Null,
        Returned::Signed(value) => (*value).into(),
        Returned::Unsigned(value) | Returned::Pointer(value) => (*value).into(),
        Returned::Single(value) => (*value).into(),
        Returned::Double(value) => (*value).into(),
        Returned::Text(Some(text)) => String::from_utf8_lossy(text).into(),
    }
}

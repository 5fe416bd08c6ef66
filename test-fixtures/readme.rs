//! The tables in `README.md`, made from the fixtures themselves.

use crate::builder::Fixture;
use crate::rows::ROWS;
use std::fmt::Write;

/// The text of `README.md` with its tables as they should be.
///
/// # Panics
/// If the marks around the tables are not there.
pub fn update(readme: &str, fixtures: &[Fixture]) -> String {
    let with_rows = replace_between(readme, "rows", &rows_table());
    replace_between(&with_rows, "fixtures", &fixtures_table(fixtures))
}

fn replace_between(text: &str, what: &str, table: &str) -> String {
    let start = format!("<!-- {what}: made by the crate's tests, BLESS=1 rewrites it -->\n");
    let end = format!("<!-- end of {what} -->");
    let (head, rest) = text.split_once(&start).expect("the line before the table");
    let (_, tail) = rest.split_once(&end).expect("the line after the table");
    format!("{head}{start}{table}{end}{tail}")
}

fn rows_table() -> String {
    let mut table = "| Row | Stands for |\n|---|---|\n".to_owned();
    for (name, meaning) in ROWS {
        writeln!(table, "| `{name}` | {meaning} |").expect("a String takes all");
    }
    table
}

fn fixtures_table(fixtures: &[Fixture]) -> String {
    let mut table = "| Fixture | Proves | Rows | Outcome |\n|---|---|---|---|\n".to_owned();
    for fixture in fixtures {
        let Fixture { name, description, .. } = fixture;
        let rows = fixture.rows.iter().map(|row| format!("`{row}`")).collect::<Vec<_>>().join(" ");
        writeln!(table, "| `{name}` | {description} | {rows} | {} |", outcome(fixture)).expect("a String takes all");
    }
    table
}

fn outcome(fixture: &Fixture) -> String {
    match (&fixture.expect_error, fixture.answer) {
        (Some(error), None) => format!("error `{error}`"),
        (Some(error), Some(answer)) => format!("error `{error}`; {answer} if allowed"),
        (None, Some(answer)) => match &fixture.at_exit {
            Some(text) => format!("{answer}, and at exit \"{text}\""),
            None => answer.to_string(),
        },
        (None, None) => "a part of others".to_owned(),
    }
}

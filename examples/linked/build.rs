//! Writes the list of plugins that the program links in.

fn main() -> Result<(), sideload_static::Error> {
    sideload_static::Plugins::find("../plugins")?.emit()
}

//! What `docs/compose.md` tells people to type, so that the test does that and not something like it.

use crate::{project, read};

/// The one command that contains `words`.
pub(crate) fn line_with(words: &str) -> String {
    let block = block_with(words);
    let line = block.lines().find(|line| line.contains(words));
    line.expect("the block has it").to_owned()
}

/// The one command in a table, between backquotes, that contains `words`.
pub(crate) fn command_with(words: &str) -> String {
    let page = read(&project().join("docs/compose.md"));
    let mut commands = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|row| {
            let (_, command) = row.split_once("| `")?;
            Some(command.split_once('`')?.0)
        });
    let command = commands.find(|command| command.contains(words));
    command
        .unwrap_or_else(|| panic!("docs/compose.md has no command with {words:?}"))
        .to_owned()
}

/// The first fenced block that contains `words`, without its fences.
pub(crate) fn block_with(words: &str) -> String {
    let page = read(&project().join("docs/compose.md"));
    // Every other piece between fences is a block; its first line names the language.
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks
        .find(|block| block.contains(words))
        .unwrap_or_else(|| panic!("docs/compose.md has no block with {words:?}"));
    let (_language, block) = block.split_once('\n').expect("a block has lines");
    block.to_owned()
}

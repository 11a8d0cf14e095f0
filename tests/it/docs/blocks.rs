//! Pages of Markdown, their blocks, and the commands in these. Knows nothing of what they mean.

use std::{
    fmt, fs,
    path::Path,
    process::{Command, Stdio},
};

/// A page.
pub(crate) struct Page {
    /// Its path from the repository's top.
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
    /// What is in between, line by line; blocks are empty lines in it.
    pub(crate) prose: Vec<String>,
}

/// What stands under one heading of a page, as far as it is typed.
pub(crate) struct Chapter<'a> {
    pub(crate) page: &'a str,
    pub(crate) heading: &'a str,
    pub(crate) blocks: Vec<&'a Block>,
}

/// A fenced block.
pub(crate) struct Block {
    page: String,
    /// The line of the fence.
    line: usize,
    heading: String,
    pub(crate) language: String,
    pub(crate) text: String,
}

/// A command, and what the page shows of its answer.
pub(crate) struct Typed {
    /// The page and the line.
    pub(crate) place: String,
    pub(crate) text: String,
    pub(crate) shown: Vec<String>,
}

impl Page {
    pub(crate) fn read(root: &Path, file: &Path) -> Self {
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        Self::of(name, &fs::read_to_string(file).expect("a page"))
    }

    /// A page with this text.
    pub(crate) fn of(name: String, text: &str) -> Self {
        let (mut blocks, mut prose) = (Vec::<Block>::new(), Vec::new());
        let mut heading = String::new();
        let mut open: Option<Block> = None;
        for (index, line) in text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            let mut said = "";
            match (&mut open, fence) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, Some(language)) => {
                    let (page, heading) = (name.clone(), heading.clone());
                    let language = language.trim().to_owned();
                    open = Some(Block { page, line: index + 1, heading, language, text: String::new() });
                }
                (None, None) => {
                    if line.starts_with('#') {
                        line.trim_start_matches('#').trim().clone_into(&mut heading);
                    }
                    said = line;
                }
            }
            prose.push(said.to_owned());
        }
        assert!(open.is_none(), "{name}: a block is not closed");
        Self { name, blocks, prose }
    }

    /// The headings under which something is typed.
    pub(crate) fn chapters(&self) -> Vec<Chapter<'_>> {
        let mut chapters: Vec<Chapter<'_>> = Vec::new();
        for block in self.blocks.iter().filter(|block| block.is_shell()) {
            match chapters.last_mut() {
                Some(chapter) if chapter.heading == block.heading => chapter.blocks.push(block),
                _ => {
                    let (page, heading) = (&*self.name, &*block.heading);
                    chapters.push(Chapter { page, heading, blocks: vec![block] });
                }
            }
        }
        chapters
    }
}

impl fmt::Display for Chapter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.page, self.heading)
    }
}

impl Block {
    /// Where the line with this index in the block is.
    pub(crate) fn place(&self, index: usize) -> String {
        format!("{}:{}", self.page, self.line + 1 + index)
    }

    fn is_shell(&self) -> bool {
        matches!(&*self.language, "sh" | "bash" | "shell" | "console")
    }

    /// Its commands. In a `console` block they follow a prompt, and answers follow them; elsewhere an
    /// answer is a comment that holds JSON, below its command.
    pub(crate) fn commands(&self) -> Result<Vec<Typed>, String> {
        let has_prompts = self.language == "console";
        let mut commands: Vec<Typed> = Vec::new();
        let mut begun: Option<Typed> = None;
        for (index, line) in self.text.lines().enumerate() {
            let typed = match (has_prompts, &begun) {
                (true, None) => line.strip_prefix("$ "),
                (true, Some(_)) => Some(line.strip_prefix("> ").unwrap_or(line)),
                (false, None) => Some(line).filter(|line| !line.trim_start().starts_with('#')),
                (false, Some(_)) => Some(line),
            };
            let Some(typed) = typed else {
                let shown = if has_prompts { Some(line) } else { answer(line) };
                if let (Some(command), Some(shown)) = (commands.last_mut(), shown) {
                    command.shown.push(shown.to_owned());
                }
                continue;
            };
            if begun.is_none() && typed.trim().is_empty() {
                continue;
            }
            let command = begun.get_or_insert_with(|| Typed {
                place: self.place(index),
                text: String::new(),
                shown: Vec::new(),
            });
            command.text.push_str(typed);
            command.text.push('\n');
            if is_whole(&command.text) {
                commands.extend(begun.take());
            }
        }
        match begun {
            Some(Typed { place, text, .. }) => Err(format!("{place}: this is not shell:\n{text}")),
            None => Ok(commands),
        }
    }
}

/// What a comment shows of an answer: JSON does, and everything else is for the reader alone.
fn answer(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("# ").filter(|text| text.starts_with(['{', '[']))
}

/// Whether nothing of a command is missing; the shell knows.
fn is_whole(text: &str) -> bool {
    if text.trim_end().ends_with('\\') || is_within_document(text) {
        return false;
    }
    let text = filled_in(text);
    let mut shell = Command::new("sh");
    let shell = shell.args(["-n", "-c", &text]).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().expect("a shell").success()
}

/// What the reader is to fill in, such as `<task_id>`, as a word: the shell would take it for files.
fn filled_in(text: &str) -> String {
    let mut pieces = text.split('<');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.split_once('>') {
            Some((name, rest))
                if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') =>
            {
                filled.push_str(name);
                filled.push_str(rest);
            }
            _ => {
                filled.push('<');
                filled.push_str(piece);
            }
        }
    }
    filled
}

/// Whether a here-document has begun and not ended: shells do not mind.
fn is_within_document(text: &str) -> bool {
    let Some((_, after)) = text.split_once("<<") else { return false };
    let first = after.lines().next().unwrap_or_default();
    let word = first.trim_start_matches('-').split_whitespace().next().unwrap_or_default();
    let word = word.trim_matches(['\'', '"']);
    !after.lines().skip(1).any(|line| line.trim() == word)
}

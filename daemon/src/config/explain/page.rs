//! Text for a terminal: headings, paragraphs, lists, broken into lines.

/// A text that grows from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// Width of a line in characters.
const WIDTH: usize = 80;

impl Page {
    /// The first line.
    pub(super) fn title(&mut self, title: &str) {
        self.text.push_str(title);
        self.text.push_str("\n\n");
    }

    /// Starts a part.
    pub(super) fn heading(&mut self, heading: &str) {
        self.text.push('\n');
        self.text.push_str(heading);
        self.text.push('\n');
    }

    /// A paragraph.
    pub(super) fn text(&mut self, text: &str) {
        self.wrap("  ", "  ", text);
    }

    /// An item of a list.
    pub(super) fn item(&mut self, sign: &str, text: &str) {
        self.wrap(&format!("    {sign:<2}"), "      ", text);
    }

    /// A line that stays as it is.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str("    ");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn wrap(&mut self, first: &str, others: &str, text: &str) {
        let mut line = first.to_owned();
        let mut empty = true;
        for word in text.split_whitespace() {
            if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.text.push_str(line.trim_end());
                self.text.push('\n');
                others.clone_into(&mut line);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_longer_than_the_width_unless_a_word_is() {
        let mut page = Page::default();
        page.text(&"word ".repeat(40));
        page.item("*", &"x".repeat(100));
        let text = page.finish();
        let (last, others) = text
            .lines()
            .collect::<Vec<_>>()
            .split_last()
            .map(|(last, others)| (last.to_owned(), others.to_vec()))
            .expect("lines");
        assert!(
            others.iter().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert_eq!(others.len(), 3, "{text}");
        assert_eq!(last, format!("    * {}", "x".repeat(100)));
    }
}

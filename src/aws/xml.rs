//! As much XML as AWS's query protocols need: elements with text or with elements, without attributes that matter.

use std::borrow::Cow;

/// How deep elements may lie in each other; EC2's answers need eight.
const MAXIMUM_DEPTH: usize = 32;
/// How many there may be: a page of 50 instances with all the tags that they can have.
const MAXIMUM_ELEMENTS: usize = 50_000;

/// An element. Attributes are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads a document, and gives its one outermost element. None if it is not well formed, is deeper or longer than answers are, or
    /// declares a document type.
    pub(super) fn parse(document: &str) -> Option<Self> {
        let mut open = vec![Self::default()];
        let mut count = 0;
        let mut rest = document;
        while let Some((text, after)) = rest.split_once('<') {
            let (tag, after) = if let Some(comment) = after.strip_prefix("!--") {
                ("?", comment.split_once("-->")?.1)
            } else if let Some(data) = after.strip_prefix("![CDATA[") {
                let (data, after) = data.split_once("]]>")?;
                open.last_mut()?.text.push_str(data);
                ("?", after)
            } else {
                after.split_once('>')?
            };
            rest = after;
            let parent = open.last_mut()?;
            parent.text.push_str(&plain(text));
            if tag.starts_with('?') {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                let closed = open.pop()?;
                if closed.name != name.trim_end() {
                    return None;
                }
                open.last_mut()?.children.push(closed);
                continue;
            }
            let (tag, is_empty) = match tag.strip_suffix('/') {
                Some(tag) => (tag, true),
                None => (tag, false),
            };
            let name = tag.split_ascii_whitespace().next()?;
            count += 1;
            if name.starts_with('!') || open.len() > MAXIMUM_DEPTH || count > MAXIMUM_ELEMENTS {
                return None;
            }
            let element = Self {
                name: name.to_owned(),
                ..Self::default()
            };
            if is_empty {
                open.last_mut()?.children.push(element);
            } else {
                open.push(element);
            }
        }
        let outside = open.pop()?;
        (open.is_empty() && outside.children.len() == 1)
            .then(|| outside.children.into_iter().next())?
    }

    /// The first child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of a name.
    pub(super) fn children(&self, name: &'static str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of a name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        Some(self.child(name)?.text.trim())
    }
}

/// The text of the first element of a name, wherever it is, in a document that need not be well formed. Such elements have neither
/// attributes, nor CDATA, nor comments; what does not look so is not found.
pub(super) fn text<'a>(document: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, after) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    (!text.contains('<')).then(|| plain(text))
}

/// Text without entities.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&#xD;", "\r"),
        ("&#xA;", "\n"),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (entity, plain)| {
        text.replace(entity, plain)
    })
    .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_elements_are_found() {
        let document = "<A><B>x</B><C>a &amp;lt; b &lt;c&gt;</C><D><E>y</E></D></A>";
        assert_eq!(text(document, "B").as_deref(), Some("x"));
        assert_eq!(text(document, "C").as_deref(), Some("a &lt; b <c>"));
        assert_eq!(text(document, "D"), None);
        assert_eq!(text(document, "E").as_deref(), Some("y"));
        assert_eq!(text(document, "F"), None);
        assert_eq!(text("<A>x", "A"), None);
    }

    #[test]
    fn elements_are_read_with_what_is_in_them() {
        let document = "<?xml version=\"1.0\"?>\n<!-- <x> -->\n<A xmlns=\"u\"><B>x</B><B>y &amp;lt;</B><C/><D a='1' \
                        /><E>\n<F>z</F>\n</E><G><![CDATA[<g>]]></G></A>\n";
        let root = Element::parse(document).unwrap();
        assert_eq!(root.name, "A");
        let all: Vec<&str> = root
            .children("B")
            .map(|child| child.text.as_str())
            .collect();
        assert_eq!(all, ["x", "y &lt;"]);
        assert_eq!(root.text("C"), Some(""));
        assert_eq!(root.text("D"), Some(""));
        assert_eq!(root.child("E").unwrap().text("F"), Some("z"));
        assert_eq!(root.text("G"), Some("<g>"));
        assert_eq!(root.text("H"), None);
    }

    #[test]
    fn what_is_not_well_formed_is_nothing() {
        let deep = "<a>".repeat(1000) + &"</a>".repeat(1000);
        let long = format!("<b>{}</b>", "<a/>".repeat(MAXIMUM_ELEMENTS));
        for bad in [
            "",
            "x",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a",
            "<>",
            "<!DOCTYPE a><a/>",
            "<a><!-- </a>",
            &deep,
            &long,
        ] {
            assert_eq!(Element::parse(bad), None, "{bad:.20}");
        }
    }

    proptest! {
        #[test]
        fn no_document_panics(document in "(<|>|/|a|<a>|</a>|<!--|-->|<!\\[CDATA\\[|\\]\\]>|&lt;|\\PC){0,60}") {
            let _ = Element::parse(&document);
        }
    }
}
